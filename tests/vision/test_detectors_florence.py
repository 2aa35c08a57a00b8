"""Florence-2: what its answers mean, and that it is asked and answered as the published one."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from personae.errors import DataError, WeightsError
from personae.subjects.subject import Reference
from personae.vision.detectors import Florence2
from personae.vision.detectors.florence import answered_boxes
from tests.vision.tiny_words import save_florence

RNG = np.random.default_rng(0)
FIRST, SECOND = (RNG.integers(0, 256, (60, 120, 3), dtype=np.uint8) // d for d in (1, 4))
CAST = {"a": [Reference(FIRST)], "b": [Reference(FIRST)]}
NOUNS = {"a": "corgi", "b": "chow chow"}


def places(*bins: int) -> str:
    return "".join(f"<loc_{k}>" for k in bins)


LESSONS = [
    (FIRST, "corgi", "corgi" + places(900, 100, 990, 300, 10, 20, 600, 700)),
    (FIRST, "chow chow", "chow chow" + places(500, 600, 700, 800)),
    (SECOND, "corgi", "corgi" + places(250, 350, 450, 550)),
    (SECOND, "chow chow", "chow"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_florence(tmp_path_factory.mktemp("florence"), LESSONS)


@pytest.fixture(scope="module")
def eyes(folder):
    return Florence2(folder, max_new_tokens=16)


class Told(Florence2):
    """Answers what it was told to, noun by noun, without any weights."""

    def __init__(self, answers, nms_iou=None):
        self.answers, self.nms_iou = answers, nms_iou

    def answer(self, image, noun):
        return self.answers[noun]


def slow_boxes(answer: str, width: float, height: float) -> list[list[float]]:
    """Sign by sign: words, then boxes of four places or outlines; ValueError: unreadable."""
    for frame in ("<s>", "</s>", "<pad>"):
        answer = answer.replace(frame, "")
    signs = [part for part in re.split(r"(<[^>]*>)", answer) if part.strip()]
    boxes, spoke = [], False
    while any("<" in sign for sign in signs):
        if "<" not in signs[0]:
            spoke, signs = True, signs[1:]
        elif not spoke:
            raise ValueError("a place of nothing")
        elif signs[0] == "<poly>":
            end = signs.index("</poly>")
            points = [point for part in parts(signs[1:end]) for point in pairs(part)]
            xs, ys = [x for x, _ in points], [y for _, y in points]
            boxes.append([min(xs), min(ys), max(xs), max(ys)])
            signs = signs[end + 1 :]
        else:
            (left, top), (right, bottom) = pairs(signs[:4])
            boxes.append([left, top, right, bottom])
            signs = signs[4:]
    if signs and boxes:
        raise ValueError("words without a place")
    sides = [width, height] * 2
    return [[(k + 0.5) * s / 1000 for k, s in zip(box, sides, strict=True)] for box in boxes]


def parts(signs: list[str]) -> list[list[str]]:
    """What stands between separators."""
    found: list[list[str]] = [[]]
    for sign in signs:
        if sign == "<sep>":
            found.append([])
        else:
            found[-1].append(sign)
    return found


def pairs(signs: list[str]) -> list[tuple[int, int]]:
    """Places as x and y in turn, at least one of each."""
    names = [f"<loc_{k}>" for k in range(1000)]
    bins = [names.index(sign) for sign in signs]
    if not bins or len(bins) % 2:
        raise ValueError("x without y")
    return list(zip(bins[::2], bins[1::2], strict=True))


SIGNS = st.sampled_from(
    ["corgi", " a dog ", ",", "<poly>", "</poly>", "<sep>", "</s>", "<od>", "<loc_1000>"]
    + [places(*range(k, k + n)) for k in (0, 700) for n in (1, 2, 4, 4, 4, 6, 8)]
)
POLYGON = st.sampled_from([f"<poly>{places(5, 6, 1, 9)}</poly>", "<poly></poly>"])


@given(st.lists(SIGNS | POLYGON, max_size=7), st.integers(1, 2000), st.integers(1, 2000))
def test_answers_are_read_as_sign_by_sign(signs, width, height):
    answer = "</s><s>" + "".join(signs) + "</s>"
    try:
        slow = slow_boxes(answer, width, height)
    except ValueError:
        with pytest.raises(DataError, match="cannot be read"):
            answered_boxes(answer, width, height)
    else:
        assert answered_boxes(answer, width, height) == pytest.approx(np.reshape(slow, (-1, 4)))


def test_answers_by_hand():
    one = "</s><s>a green car" + places(53, 334, 933, 774) + "</s>"
    # As the model's published example: a picture of 640 x 480, the middles of the bins.
    assert answered_boxes(one, 640, 480)[0].tolist() == pytest.approx(
        [34.24, 160.56, 597.44, 371.76]
    )
    two = "dog" + places(0, 0, 9, 9, 1, 1, 2, 2) + "cat" + places(500, 500, 999, 999)
    assert answered_boxes(two, 1000, 100).tolist() == pytest.approx(
        np.array([[0.5, 0.05, 9.5, 0.95], [1.5, 0.15, 2.5, 0.25], [500.5, 50.05, 999.5, 99.95]])
    )
    outline = f"dog<poly>{places(10, 50, 30, 20)}<sep>{places(5, 40)}</poly>"
    assert answered_boxes(outline, 1000, 1000).tolist() == [[5.5, 20.5, 30.5, 50.5]]
    # A tokenizer may put spaces between signs.
    assert len(answered_boxes("</s> <s> dog <loc_1> <loc_2> <loc_3> <loc_4> </s>", 10, 10)) == 1


@pytest.mark.parametrize("answer", ["</s><s></s>", "", "</s><s>unanswerable</s><pad>"])
def test_an_answer_without_places_found_nothing(answer):
    assert answered_boxes(answer, 10, 10).shape == (0, 4)


@pytest.mark.parametrize(
    "answer",
    [
        places(1, 2, 3, 4),
        "dog" + places(1, 2, 3),
        "dog" + places(1, 2, 3, 4, 5),
        "dog" + places(1, 2, 3, 4) + "cat",
        "dog<loc_1000><loc_1><loc_2><loc_3>",
        f"dog<poly>{places(1, 2, 3)}</poly>",
        f"dog<poly>{places(1, 2, 3, 4)}",
        "dog<box>" + places(1, 2, 3, 4),
    ],
)
def test_what_cannot_be_read_is_an_error_and_no_guess(answer):
    with pytest.raises(DataError, match="cannot be read: expected words"):
        answered_boxes(answer, 10, 10)
    with pytest.raises(DataError):
        Told({"corgi": "corgi" + places(1, 1, 9, 9), "chow chow": answer}).detect(
            FIRST, CAST, NOUNS
        )


def test_well_formed_boxes_are_the_librarys_but_for_its_rounding(eyes):
    """The library cuts to whole pixels; XVerseBench's copy of it does not."""
    answer = "</s><s>corgi" + places(53, 334, 933, 774, 0, 1, 2, 999) + "dog" + places(9, 8, 7, 6)
    library = eyes._processor
    library.post_processor.parse_task_config = {"description_with_bboxes_or_polygons": {}}
    theirs = library.post_process_generation(
        answer, task="<OPEN_VOCABULARY_DETECTION>", image_size=(641, 479)
    )["<OPEN_VOCABULARY_DETECTION>"]["bboxes"]
    assert np.trunc(answered_boxes(answer, 641, 479)).tolist() == theirs


def test_each_noun_is_asked_alone_and_its_boxes_are_its_own(eyes):
    """The taught answers, in pixels of a wide picture, in the order in which they were told."""
    found = eyes.detect(FIRST, CAST, NOUNS)
    assert [(one.subject, one.score) for one in found] == [("a", 1.0), ("a", 1.0), ("b", 1.0)]
    expected = [
        (900.5 * 0.12, 100.5 * 0.06, 990.5 * 0.12, 300.5 * 0.06),
        (10.5 * 0.12, 20.5 * 0.06, 600.5 * 0.12, 700.5 * 0.06),
        (500.5 * 0.12, 600.5 * 0.06, 700.5 * 0.12, 800.5 * 0.06),
    ]
    assert [one.box.xyxy for one in found] == [pytest.approx(box) for box in expected]
    assert eyes.detect(FIRST, CAST, NOUNS) == found
    turned = eyes.detect(FIRST, {"b": [], "a": []}, NOUNS)
    assert [one.subject for one in turned] == ["b", "a", "a"]
    assert {one.box for one in turned} == {one.box for one in found}
    # Alone or in company, each noun has the same boxes.
    assert eyes.detect(FIRST, {"b": []}, NOUNS) == found[2:]
    assert eyes.detect(FIRST, {}, {}) == []


def test_the_picture_is_looked_at(eyes):
    (found,) = eyes.detect(SECOND, CAST, NOUNS)
    assert found.subject == "a"
    assert found.box.xyxy == pytest.approx((250.5 * 0.12, 350.5 * 0.06, 450.5 * 0.12, 550.5 * 0.06))


def test_greedy_search_is_a_setting(folder, eyes):
    seen = {}
    greedy = Florence2(folder, num_beams=1, max_new_tokens=16)
    for one in (eyes, greedy):
        network = one._network
        generate = network.generate
        network.generate = lambda generate=generate, **told: seen.update(told) or generate(**told)
        answer = one.answer(FIRST, "corgi")
        network.generate = generate
        assert seen["num_beams"] == one.num_beams and seen["do_sample"] is False
        assert "".join(answer.split()) == "</s><s>" + LESSONS[0][2] + "</s>"
    assert (eyes.num_beams, greedy.num_beams) == (3, 1)


def test_the_model_is_shown_the_whole_picture_squeezed_and_asked_in_its_words(eyes):
    """Against Pillow and NumPy: bicubic to a square, each side by itself, ImageNet's mean."""
    inputs = eyes._processor(
        text="<OPEN_VOCABULARY_DETECTION>chow chow", images=FIRST, return_tensors="pt"
    )
    small = np.asarray(Image.fromarray(FIRST).resize((32, 32), Image.Resampling.BICUBIC))
    slow = (small / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert inputs["pixel_values"][0].permute(1, 2, 0).numpy() == pytest.approx(slow, abs=1e-5)
    text = eyes._processor.tokenizer.decode(inputs["input_ids"][0])
    assert text == "<image> " * 17 + "<s> Locate chow chow in the image . </s>"


def test_an_answer_that_is_not_done_is_an_error(folder):
    with pytest.raises(DataError, match=r"'corgi': the answer is not done in 5 tokens"):
        Florence2(folder, max_new_tokens=5).detect(FIRST, CAST, NOUNS)


def test_no_more_is_asked_than_there_are_positions(folder):
    longest = Florence2(folder)
    assert longest.max_new_tokens == 64
    assert longest.answer(FIRST, "corgi") == Florence2(folder, max_new_tokens=20).answer(
        FIRST, "corgi"
    )
    with pytest.raises(DataError, match="too many words"):
        longest.answer(FIRST, "corgi " * 60)


def test_order_is_kept_where_duplicates_go_and_empty_boxes_are_nothing():
    answer = "corgi" + places(500, 500, 600, 600, 0, 0, 400, 400, 0, 0, 410, 400, 9, 9, 9, 99)
    sides = [(60.06, 72.06), (0.06, 48.06), (0.06, 49.26)]
    for nms, kept in ((None, sides), (0.5, sides[:2])):
        found = Told({"corgi": answer}, nms).detect(FIRST, {"a": []}, NOUNS)
        assert [(one.box.left, one.box.right) for one in found] == [pytest.approx(s) for s in kept]


def test_a_noun_of_two_subjects_names_neither():
    told = Told({"corgi": "corgi" + places(1, 1, 500, 500)})
    (found,) = told.detect(FIRST, CAST, {"a": "corgi", "b": "corgi"})
    assert found.subject is None


def test_weights_of_half_precision_and_settings_of_the_older_form_are_read(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    told = json.loads((folder / "processor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told.pop("image_processor")))
    (tmp_path / "processor_config.json").write_text(json.dumps(told))
    half = {k: v.half() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(half, tmp_path / "model.safetensors", {"format": "pt"})
    eyes = Florence2(tmp_path, max_new_tokens=16)
    assert {value.dtype for value in eyes._network.parameters()} == {torch.float32}
    assert len(eyes.detect(FIRST, CAST, NOUNS)) == 3


def test_weights_of_another_form_are_refused_and_not_made_up(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    held = load_file(folder / "model.safetensors")
    old = {key.replace("model.language_model", "language_model.model"): held[key] for key in held}
    save_file(old, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"weights of Florence-2 are missing .*florence-comm"):
        Florence2(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        Florence2(tmp_path)
