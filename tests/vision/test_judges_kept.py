"""Judgements on disk: what is found again, and what is asked again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from personae.errors import WorkError
from personae.subjects.scene import Claim
from personae.vision.judges import Asking, KeptJudge, ModelJudge, Shown, judgement_key
from tests.vision.judged import REFERENCES, Counting, Scripted, picture, question

GOOD = '{"reasoning": "Six.", "score": 6}'


def test_what_was_answered_is_read_back_whole(tmp_path) -> None:
    first = KeptJudge(ModelJudge(Scripted("six", GOOD)), tmp_path).judge(question())
    silent = Scripted(AssertionError("asked again"))
    assert KeptJudge(ModelJudge(silent), tmp_path).judge(question()) == first
    assert (first.value, first.reasoning, first.served, first.tries) == (
        6.0, "Six.", "scripted-1", 2,
    )  # fmt: skip


def test_every_part_of_a_question_and_of_a_judge_makes_another_key() -> None:
    model = Scripted(GOOD)
    judge = ModelJudge(model)
    shown = (Shown(picture(3), "a", "cat"),)
    asked = [
        question(), question(1), question(kind="yes_no"), question(criterion="other"),
        question(words="Who?"), question(references=REFERENCES),
        question(references=REFERENCES[::-1]), question(references=shown),
        question(references=(Shown(picture(3), "a", "dog"),)),
        question(references=(Shown(picture(3), "b", "cat"),)),
        question(claims=(Claim("place", None, "park"),)),
        question(picture=picture(0).reshape(30, 40, 3)),
    ]  # fmt: skip
    keys = [judgement_key(judge, item, 0) for item in asked]
    keys.append(judgement_key(judge, question(), 1))
    changes = ({"tries": 2}, {"max_side_px": 99}, {"structured": True})
    for change in changes:
        keys.append(judgement_key(ModelJudge(model, Asking(**change)), question(), 0))
    for name, value in (("name", "other"), ("temperature", 0.2), ("max_tokens", 5)):
        other = Scripted(GOOD)
        setattr(other, name, value)
        keys.append(judgement_key(ModelJudge(other), question(), 0))
    assert len(set(keys)) == len(keys)
    assert judgement_key(ModelJudge(Scripted("x")), question(), 0) == keys[0]
    patient = ModelJudge(model, Asking(num_threads=3, silences=9))
    assert judgement_key(patient, question(), 0) == keys[0]


def test_repeats_are_answers_of_their_own(tmp_path) -> None:
    inner = Counting()
    judge = KeptJudge(inner, tmp_path)
    said = [judge.judge(question(), repeat) for repeat in (0, 1, 0, 1)]
    assert [item.reasoning for item in said] == ["the 0-th time", "the 1-th time"] * 2
    assert len(inner.asked) == 2


def test_what_could_not_be_judged_is_asked_again(tmp_path) -> None:
    judge = KeptJudge(ModelJudge(Scripted("", "", "", GOOD)), tmp_path)
    assert judge.judge(question()).value is None
    assert judge.judge(question()).value == 6.0


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: None,
        lambda kept: [],
        lambda kept: {**kept, "value": 11.0},
        lambda kept: {**kept, "value": None},
        lambda kept: {**kept, "value": "6"},
        lambda kept: {**kept, "key": "0" * 64},
        lambda kept: {**kept, "format": 2},
        lambda kept: {key: item for key, item in kept.items() if key != "reasoning"},
    ],
)
def test_a_damaged_file_is_asked_again_and_mended(tmp_path, change) -> None:
    KeptJudge(ModelJudge(Scripted(GOOD)), tmp_path).judge(question())
    (path,) = tmp_path.rglob("*.json")
    good = path.read_bytes()
    path.write_text(json.dumps(change(json.loads(good))))
    inner = Scripted(GOOD)
    assert KeptJudge(ModelJudge(inner), tmp_path).judge(question()).value == 6.0
    assert len(inner.talks) == 1
    assert path.read_bytes() == good


def test_a_torn_file_is_asked_again(tmp_path) -> None:
    KeptJudge(ModelJudge(Scripted(GOOD)), tmp_path).judge(question())
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(path.read_bytes()[:40])
    assert KeptJudge(ModelJudge(Scripted(GOOD)), tmp_path).judge(question()).value == 6.0


def test_half_a_character_in_an_answer_does_not_spoil_its_file(tmp_path) -> None:
    odd = '{"reasoning": "half \\ud83d of it", "score": 6}'
    first = KeptJudge(ModelJudge(Scripted(odd)), tmp_path).judge(question())
    again = KeptJudge(ModelJudge(Scripted(AssertionError("asked"))), tmp_path).judge(question())
    assert first == again
    assert first.reasoning == "half ? of it"


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match="cannot make this folder"):
        KeptJudge(Counting(), tmp_path / "file")
    judge = KeptJudge(Counting(), tmp_path / "folder")
    key = judgement_key(Counting(), question(), 0)
    (tmp_path / "folder" / key[:2]).write_text("in the way")
    with pytest.raises(WorkError):
        judge.judge(question())


def test_threads_may_ask_the_same_at_once(tmp_path) -> None:
    judge = KeptJudge(Counting(), tmp_path)
    said: list[float | None] = []
    threads = [
        threading.Thread(
            target=lambda: said.extend(judge.judge(question(s)).value for s in range(9))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [float(picture(s)[0, 0, 0] % 11) for s in range(9)]
    assert sorted(said) == sorted(expected * 8)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_processes_may_share_a_folder(tmp_path) -> None:
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from personae.vision.judges import KeptJudge
        from tests.vision.judged import Counting, question
        judge = KeptJudge(Counting(), Path(sys.argv[1]))
        for _ in range(20):
            for seed in range(20):
                said = judge.judge(question(seed))
                assert said.value == float(question(seed).picture[0, 0, 0] % 11)
        """
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, env=dict(os.environ)) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(list(tmp_path.rglob("*.json"))) == 20
    assert not list(tmp_path.rglob("*.part"))
