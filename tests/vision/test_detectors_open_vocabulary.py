import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.errors import WeightsError
from personae.subjects.subject import Reference
from personae.vision.detectors import GroundingDino, Owlv2
from personae.vision.detectors.open_vocabulary import (
    caption_and_spans,
    fitted_size,
    non_maximum,
    pixel_boxes,
)
from tests.vision.tiny_words import save_dino, save_owl

PICTURE = np.random.default_rng(0).integers(0, 256, (120, 60, 3), dtype=np.uint8)
TRUE_BOX = (10.0, 30.0, 40.0, 90.0)
CAST = {"a": [Reference(PICTURE)], "b": [Reference(PICTURE)]}
NOUNS = {"a": "corgi", "b": "chow chow"}


@pytest.fixture(scope="module")
def owl_folder(tmp_path_factory):
    return save_owl(tmp_path_factory.mktemp("owl"))


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    return save_dino(tmp_path_factory.mktemp("dino"))


class Told:
    """The real network, whose answer is then replaced by a given one."""

    def __init__(self, network, boxes, logits):
        self.network, self.boxes, self.logits, self.seen = network, boxes, logits, {}
        self.config = network.config

    def __call__(self, **inputs):
        outputs = self.network(**inputs)
        self.seen = inputs
        assert outputs.logits.isfinite().any() and outputs.pred_boxes.isfinite().all()
        outputs.pred_boxes[0, : len(self.boxes)] = torch.tensor(self.boxes)
        outputs.logits[:] = -20.0
        for (row, column), value in self.logits.items():
            outputs.logits[0, row, column] = value
        return outputs


def centered(box, width, height):
    left, top, right, bottom = box
    values = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return [v / s for v, s in zip(values, (width, height, width, height), strict=True)]


def test_owl_box_comes_back_at_its_pixels_on_a_tall_picture(owl_folder):
    eyes = Owlv2(owl_folder)
    # OWLv2 sees the picture padded to 120 x 120, so fractions are of 120 in both directions.
    eyes._network = Told(eyes._network, [centered(TRUE_BOX, 120, 120)], {(0, 1): 2.0})
    (found,) = eyes.detect(PICTURE, CAST, NOUNS)
    assert found.box.xyxy == pytest.approx(TRUE_BOX, abs=1e-4)
    assert found.subject == "b"
    assert found.score == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_owl_pads_below_and_to_the_right(owl_folder):
    eyes = Owlv2(owl_folder)
    white = np.full((120, 60, 3), 255, np.uint8)
    pixels = eyes._pixels(white)
    assert pixels.shape == (1, 3, 64, 64)
    assert (pixels[..., :30] > 1).all() and (pixels[..., 34:] < -1).all()


def test_dino_box_comes_back_at_its_pixels_on_a_tall_picture(dino_folder):
    eyes = GroundingDino(dino_folder)
    # [CLS] corgi . chow chow . [SEP]: token 3 is the first "chow".
    eyes._network = Told(eyes._network, [centered(TRUE_BOX, 60, 120)], {(0, 3): 0.0})
    (found,) = eyes.detect(PICTURE, CAST, NOUNS)
    assert found.box.xyxy == pytest.approx(TRUE_BOX, abs=1e-4)
    assert (found.subject, found.score) == ("b", pytest.approx(0.5))
    assert eyes._network.seen["pixel_values"].shape == (1, 3, 1333, 666)


def test_dino_thresholds_are_on_the_box_and_on_the_words(dino_folder):
    eyes = GroundingDino(dino_folder)
    eyes.short_px = 64
    boxes = [centered(TRUE_BOX, 60, 120)] * 3
    # Row 0: below 0.35. Row 1: sure of the full stop alone. Row 2: sure, and of "corgi".
    told = {(0, 1): -0.7, (1, 2): 3.0, (2, 1): 0.0, (2, 2): 1.0}
    eyes._network = Told(eyes._network, boxes, told)
    (found,) = eyes.detect(PICTURE, CAST, NOUNS)
    assert found.subject == "a" and found.score == pytest.approx(1 / (1 + np.exp(-1.0)))


@pytest.mark.parametrize("kind", [Owlv2, GroundingDino])
def test_duplicates_stay_unless_thinning_is_asked_for(kind, owl_folder, dino_folder):
    folder = owl_folder if kind is Owlv2 else dino_folder
    for nms, count in ((None, 2), (0.5, 1)):
        eyes = kind(folder, nms_iou=nms)
        eyes.short_px = 64
        box = centered(TRUE_BOX, 120 if kind is Owlv2 else 60, 120)
        eyes._network = Told(eyes._network, [box, box], {(0, 1): 1.0, (1, 1): 2.0})
        found = eyes.detect(PICTURE, CAST, NOUNS)
        assert len(found) == count
        assert [item.score for item in found] == sorted((i.score for i in found), reverse=True)
        assert found[0].score == pytest.approx(1 / (1 + np.exp(-2.0)))


@pytest.mark.parametrize("kind", [Owlv2, GroundingDino])
def test_random_weights_give_boxes_inside_the_picture(kind, owl_folder, dino_folder):
    folder = owl_folder if kind is Owlv2 else dino_folder
    options = {"threshold": 0.0} if kind is Owlv2 else {"box_threshold": 0.0, "text_threshold": 0.0}
    eyes = kind(folder, **options)
    eyes.short_px = 64
    found = eyes.detect(PICTURE, CAST, NOUNS)
    assert found
    for item in found:
        left, top, right, bottom = item.box.xyxy
        assert 0 <= left < right <= 60 and 0 <= top < bottom <= 120
        assert item.subject in CAST
    assert eyes.detect(PICTURE, {}, {}) == []


def test_a_noun_of_two_subjects_names_neither(owl_folder):
    eyes = Owlv2(owl_folder)
    eyes._network = Told(eyes._network, [centered(TRUE_BOX, 120, 120)], {(0, 0): 2.0})
    (found,) = eyes.detect(PICTURE, CAST, {"a": "corgi", "b": "corgi"})
    assert found.subject is None


def test_missing_weights_say_what_to_do(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "owlv2"}))
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        Owlv2(tmp_path)


@given(st.lists(st.text("abc ", min_size=1).filter(str.strip), min_size=1, max_size=4))
def test_spans_point_at_their_words(words):
    caption, spans = caption_and_spans(words)
    assert [caption[a:b] for a, b in spans] == [word.strip().lower() for word in words]
    assert caption.endswith(".")


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_fitted_size_keeps_within_both_limits(height, width):
    fitted = fitted_size(height, width)
    assert max(fitted) <= 1333 and min(fitted) <= 800
    assert max(fitted) == 1333 or min(fitted) == 800


def test_non_maximum_keeps_the_surest_of_each_heap():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10.0]])
    assert non_maximum(boxes, np.array([0.5, 0.9, 0.7]), 0.5) == [1, 2]


def test_pixel_boxes_of_a_wide_frame():
    box = pixel_boxes(torch.tensor([[0.25, 0.5, 0.5, 1.0]]), 200, 100)
    assert box.tolist() == [[0.0, 0.0, 100.0, 100.0]]
