"""A model as a judge: how it is asked, told again, given up."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from personae.errors import DataError, RequestError, WorkError
from personae.vision.judges import Asking, Judgement, ModelJudge, Question, Shown
from personae.vision.language import RefusedError
from tests.vision.judged import REFERENCES, Scripted, picture, question

GOOD = '{"reasoning": "Six of them.", "score": 6}'


def shown(message) -> list[np.ndarray]:
    return [np.asarray(Image.open(BytesIO(item))) for item in message.pictures]


def test_the_picture_comes_first_then_the_references_in_order() -> None:
    model = Scripted(GOOD)
    asked = question(references=REFERENCES)
    said = ModelJudge(model).judge(asked)
    assert said == Judgement(6.0, None, "Six of them.", "scripted-1", 1)
    system, user = model.talks[0]
    assert "0 to 10" in system.content
    assert user.content.endswith("How many?")
    assert "reference 1, showing grey cat" in user.content
    assert "reference 2." in user.content
    for seen, wanted in zip(
        shown(user), [asked.picture, *(item.image for item in REFERENCES)], strict=True
    ):
        assert np.array_equal(seen, wanted)


def test_large_pictures_are_scaled_down_and_small_ones_left() -> None:
    model = Scripted(GOOD)
    large = question(picture=picture(size=(300, 100)), references=(Shown(picture(size=(20, 16))),))
    ModelJudge(model, Asking(max_side_px=150)).judge(large)
    assert [item.shape for item in shown(model.talks[0][1])] == [(150, 50, 3), (20, 16, 3)]


def test_a_bad_answer_is_told_back_with_the_complaint() -> None:
    model = Scripted("About six.", '{"score": 60}', GOOD)
    said = ModelJudge(model).judge(question())
    assert (said.value, said.tries) == (6.0, 3)
    last = model.talks[2]
    assert [message.role for message in last] == ["system", "user"] + ["assistant", "user"] * 2
    assert last[2].content == "About six."
    assert "not one JSON object" in last[3].content
    assert "less than or equal to 10; got 60" in last[5].content
    assert not last[3].pictures


def test_after_all_tries_it_is_missing_and_no_number() -> None:
    model = Scripted("Seven!", "", '{"score": 11}')
    said = ModelJudge(model).judge(question())
    assert said.value is None
    assert len(model.talks) == said.tries == 3
    assert "no answer that can be used in 3 tries" in said.reason
    assert "got 11" in said.reason
    assert model.talks[2][4].content == "(nothing)"


def test_a_refused_question_is_missing_and_the_next_one_is_asked() -> None:
    judge = ModelJudge(Scripted(RefusedError("too long"), GOOD))
    assert judge.judge(question()).reason == "too long"
    assert judge.judge(question(1)).value == 6.0


def test_a_wrong_key_stops_everything() -> None:
    with pytest.raises(RequestError, match="status 401"):
        ModelJudge(Scripted(RequestError("status 401"))).judge(question())


def test_silence_is_missing_and_after_some_in_a_row_nothing_more_is_asked() -> None:
    silent = WorkError("no answer after 4 tries")
    model = Scripted(silent, GOOD, silent, silent, GOOD)
    judge = ModelJudge(model, Asking(silences=2))
    said = [judge.judge(question(seed)) for seed in range(6)]
    assert [item.value for item in said] == [None, 6.0, None, None, None, None]
    assert len(model.talks) == 4
    assert said[4].reason.startswith("not asked: 2 questions in a row had no answer (no answer af")


def test_seeds_are_of_the_question_and_the_repeat_alone() -> None:
    model = Scripted(GOOD)
    judge = ModelJudge(model)
    for seed, repeat in ((0, 0), (0, 1), (1, 0), (0, 0)):
        judge.judge(question(seed), repeat)
    assert model.seeds[0] == model.seeds[3]
    assert len(set(model.seeds)) == 3
    assert all(0 <= seed < 2**31 for seed in model.seeds)


def test_a_schema_goes_with_the_question_where_it_is_wanted() -> None:
    model = Scripted('{"answer": "yes"}')
    assert ModelJudge(model, Asking(structured=True)).judge(question(kind="yes_no")).value == 1.0
    ModelJudge(model).judge(question(kind="yes_no"))
    assert model.schemas[0]["properties"]["answer"]["enum"] == ["yes", "no"]
    assert model.schemas[1] is None


@pytest.mark.parametrize(
    "wrong",
    [{"tries": 0}, {"temperature": -1}, {"max_side_px": 0}, {"num_threads": 0}, {"silences": 0},
     {"temperature": float("nan")}],
)  # fmt: skip
def test_asking_is_checked_at_the_door(wrong) -> None:
    with pytest.raises(RequestError, match=next(iter(wrong))):
        Asking(**wrong)


def test_questions_are_checked_at_the_door() -> None:
    with pytest.raises(DataError, match="no words"):
        question(words="  ")
    with pytest.raises(DataError, match="uint8"):
        question(picture=np.zeros((4, 4, 3)))
    with pytest.raises(DataError, match="reference of cat"):
        Shown(np.zeros((4, 4), np.uint8), "cat")
    with pytest.raises(DataError, match="mark or yes_no"):
        Question("grade", "x", "words", picture())


def test_a_judgement_is_a_value_or_a_reason() -> None:
    for value, reason in ((None, None), (1.0, "why")):
        with pytest.raises(ValueError, match="a value or a reason"):
            Judgement(value, reason)
