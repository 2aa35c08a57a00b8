"""Subjects that are not people: found by words, cut out, drawn again and known again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from personae.data.pipeline.alike_things import AlikeThings
from personae.data.pipeline.finders import ThingFinder
from personae.data.pipeline.items import Item
from personae.data.pipeline.located import Located, subject_boxes
from personae.data.pipeline.redrawn import Redrawn, Studio
from personae.data.pipeline.runner import run_pipeline
from personae.data.pipeline.step import Files
from personae.data.pipeline.things import Sight, SightChoice, Thing, things_of
from personae.errors import DataError, RequestError, WeightsError
from personae.subjects.box import Box
from personae.subjects.mask import mask_iou
from personae.vision.protocols import Detection
from personae.vision.segmenters import GrabCut
from tests.vision.tiny_words import save_dino, save_florence, save_owl, save_sam2

COLORS = {"cat": (220, 40, 40), "mug": (40, 60, 220), "kite": (240, 220, 30)}
NOUNS = {"a": "cat", "b": "mug"}


def drawn(places, size=(160, 120)) -> np.ndarray:
    """A disc of each noun's color at (x, y), of radius 22 or what is told."""
    picture = Image.new("RGB", size, (120, 160, 120))
    for noun, (x, y, *radius) in places:
        r = radius[0] if radius else 22
        ImageDraw.Draw(picture).ellipse((x - r, y - r, x + r, y + r), fill=COLORS[noun])
    return np.asarray(picture)


class ByColor:
    """Finds every disc of a noun's color, however many; its embedder is the mean color."""

    name, side_px = "by-color", 8

    def detect(self, image, cast, nouns):
        from scipy import ndimage

        found = []
        for name in cast:
            labels, _ = ndimage.label((image == COLORS[nouns[name]]).all(-1))
            for rows, columns in ndimage.find_objects(labels):
                box = Box(columns.start, rows.start, columns.stop, rows.stop)
                found.append(Detection(box, 0.5, name))
                found.append(Detection(replace(box, right=box.right + 1), 0.9, name))
        return found

    def embed(self, crops):
        return torch.nn.functional.normalize(crops.mean((2, 3)) - 0.45)

    def similarity(self, first, second):
        return first @ second.T


def sight() -> Sight:
    return Sight(ByColor(), GrabCut(), ByColor())


def item_of(tmp_path, picture, name="p", nouns=NOUNS) -> Item:
    Image.fromarray(picture).save(tmp_path / f"{name}.png")
    alone = dict.fromkeys(nouns, "on a roof")
    data = {"task": "background", "nouns": nouns, "alone": alone,
            "prompt": "{a} and {b} on a table"}  # fmt: skip
    return Item(id=name, files={"image": str(tmp_path / f"{name}.png")}, data=data)


def locate(tmp_path, picture, nouns=NOUNS, **more):
    item = item_of(tmp_path, picture, nouns=nouns)
    step = Located(by="owlv2", least_px=more.pop("least_px", 20), **more)
    return step.work(sight(), [item], Files(tmp_path, ".", tmp_path))


def test_each_subject_has_its_box_its_mask_and_its_descriptor(tmp_path) -> None:
    picture = drawn([("mug", (110, 60)), ("cat", (40, 50))])
    (item,) = locate(tmp_path, picture).items
    boxes = subject_boxes(item)
    assert boxes["a"].center == pytest.approx((40.5, 50.5), abs=1)
    assert boxes["b"].center == pytest.approx((110.5, 60.5), abs=1)
    assert all(told["score"] == 0.9 for told in item.data["things"]), "the surer of two"
    for name, noun in NOUNS.items():
        with Image.open(tmp_path / "files" / f"p/{name}-mask.png") as mask:
            truth = (picture == COLORS[noun]).all(-1)
            assert mask_iou(np.asarray(mask) > 127, truth) > 0.9
    rows = np.stack([thing.descriptor for thing in things_of(item)])
    assert np.allclose(rows, sight().describe(picture, list(boxes.values())), atol=2e-3)


TWICE = [("cat", (40, 50)), ("cat", (40, 100, 15)), ("mug", (110, 60))]
LOST = {
    "a subject is not seen": [("cat", (40, 50))],
    "a subject is seen more than once": TWICE,
    "a subject is too small": [("cat", (40, 50)), ("mug", (110, 60, 5))],
}


@pytest.mark.parametrize("reason", LOST)
def test_not_exactly_one_find_a_subject_ends_the_picture(tmp_path, reason) -> None:
    made = locate(tmp_path, drawn(LOST[reason]))
    assert not made.items and [one.reason for one in made.lost] == [reason]
    assert not made.lost[0].failed


def test_one_noun_for_two_or_one_place_for_two_ends_it_too(tmp_path) -> None:
    picture = drawn([("cat", (40, 50)), ("mug", (110, 60))])
    (lost,) = locate(tmp_path, picture, {"a": "cat", "b": "cat"}).lost
    assert "two subjects have one noun" in lost.reason
    (lost,) = locate(tmp_path, drawn([("cat", (40, 50, 22)), ("mug", (42, 50, 17))])).lost
    assert lost.reason == "two subjects are in one place"
    blind = replace(sight(), segmenter=SimpleNamespace(segment=lambda image, box: np.zeros((1, 1))))
    item = item_of(tmp_path, picture)
    (lost,) = Located(by="owlv2").work(blind, [item], Files(tmp_path, ".", tmp_path)).lost
    assert lost.reason == "a subject cannot be cut out"


def test_a_cut_out_is_the_thing_alone_before_plain_gray(tmp_path) -> None:
    picture = drawn([("cat", (40, 50)), ("mug", (80, 50))])
    (item,) = locate(tmp_path, picture).items
    files = Files(tmp_path, ".", tmp_path)
    crop = ThingFinder(sight()).crop(item, files, 0)
    assert crop.shape[0] == crop.shape[1] == int(1.1 * 45)
    colors = Counter(map(tuple, crop.reshape(-1, 3).tolist()))
    assert colors[COLORS["cat"]] > 1400 and colors[COLORS["mug"]] == 0
    plain = ThingFinder(sight(), cut=False).crop(item, files, 0)
    assert (plain == (120, 160, 120)).all(-1).sum() > 300


@dataclass(frozen=True, kw_only=True)
class Painter(Redrawn):
    """A single-subject model that paints the noun's disc elsewhere."""

    def build(self):
        return Studio(None, ThingFinder(sight()))

    def _draw(self, backbone, item, name, crop):
        return [self._painted(item, name, number) for number in range(self.tries)]

    def _painted(self, item, name, number):
        if item.id == "gone":
            return drawn([])
        noun, x = item.data["nouns"][name], 30 + 40 * number
        return drawn([(noun, (x, 80, 15 + 10 * number))], (128, 128))


@dataclass(frozen=True, kw_only=True)
class Placed(Located):
    def build(self):
        return sight()


@dataclass(frozen=True, kw_only=True)
class Known(AlikeThings):
    def build(self):
        return ByColor()


def run(tmp_path, pictures, **more):
    items = [item_of(tmp_path, picture, name) for name, picture in pictures.items()]
    steps = [Placed(by="owlv2"), Painter(), Known(**more)]
    return run_pipeline(items, steps, tmp_path / "out")


def test_things_go_all_the_way_and_what_is_not_seen_again_does_not(tmp_path) -> None:
    picture = drawn([("cat", (40, 50)), ("mug", (110, 60))])
    account = run(tmp_path, {"good": picture, "gone": picture})
    (item,) = account.items()
    assert item.id == "good"
    assert account.steps[1].dropped == {"nobody is seen where somebody was drawn again": 1}
    for told, name in zip(item.data["people"], NOUNS, strict=True):
        assert told["name"] == name and told["similarity"] > 0.9
        with Image.open(tmp_path / "out" / item.files[f"reference-{name}"]) as reference:
            assert reference.size == (128, 128), "all of the picture, place included"


def test_references_of_others_and_copies_are_dropped(tmp_path) -> None:
    picture = drawn([("cat", (40, 50)), ("mug", (110, 60))])
    for more, reason in (
        ({"same": 1.01}, "a reference is not its thing"),
        ({"different": -0.9}, "a reference resembles another thing too"),
        ({"least_bits": 65}, "a reference could be copied"),
    ):
        account = run(tmp_path, {"good": picture}, **more)
        assert account.steps[-1].dropped == {reason: 1}


@pytest.mark.parametrize("save, name", [(save_owl, "owlv2"), (save_dino, "grounding-dino")])
def test_tiny_models_of_the_true_classes_look_and_cut(tmp_path, save, name) -> None:
    """Random weights find something or nothing; whatever it is, no picture is made up."""
    save(tmp_path / "eyes")
    save_sam2(tmp_path / "sam")
    choice = SightChoice(
        detector=f"{name}:{tmp_path / 'eyes'}",
        segmenter=f"sam2:{tmp_path / 'sam'}",
        threshold=0.0,
        device="cpu",
    )
    eyes = choice.build()
    if name == "grounding-dino":
        eyes.detector.short_px, eyes.detector.text_threshold = 64, 0.0
    picture = drawn([("cat", (40, 50)), ("mug", (110, 60))])
    nouns = {"a": "corgi", "b": "chow chow"}
    found = eyes.find(picture, nouns)
    assert found and {one.subject for one in found} <= set(nouns)
    for one in found:
        twins = [two for two in found if two.subject == one.subject and two is not one]
        assert all(one.box.iou(two.box) <= 0.5 for two in twins)
    mask = eyes.segmenter.segment(picture, found[0].box)
    assert mask.shape == picture.shape[:2]
    rows = eyes.describe(picture, [one.box for one in found])
    assert np.allclose(np.diag(eyes.similarity(rows, rows)), 1, atol=0.05)
    item = item_of(tmp_path, picture, nouns=nouns)
    made = Located(by=name).work(eyes, [item], Files(tmp_path, ".", tmp_path))
    assert len(made.items) + len(made.lost) == 1


def test_florence_finds_what_is_asked_for_and_what_it_garbles_is_lost(tmp_path) -> None:
    picture = drawn([("cat", (40, 50)), ("mug", (110, 60))])
    disc, other = "<loc_112><loc_233><loc_387><loc_600>", "<loc_550><loc_316><loc_825><loc_683>"
    again = "<loc_113><loc_234><loc_388><loc_601>"
    lessons = [(picture, "corgi", f"corgi{disc}{again}"), (picture, "chow", f"chow{other}")]
    save_florence(tmp_path / "eyes", lessons)
    choice = SightChoice(detector=f"florence-2:{tmp_path / 'eyes'}", device="cpu")
    eyes = choice.build()
    item = item_of(tmp_path, picture, nouns={"a": "corgi", "b": "chow"})
    (made,) = Located(by=choice.detector).work(eyes, [item], Files(tmp_path, ".", tmp_path)).items
    assert [thing.box.xyxy for thing in things_of(made)] == [
        pytest.approx((18, 28.02, 62, 72.06)), pytest.approx((88.08, 37.98, 132.08, 82.02))
    ]  # fmt: skip
    assert [thing.score for thing in things_of(made)] == [1.0, 1.0]
    eyes.detector.max_new_tokens = 5
    (lost,) = Located(by="florence-2").work(eyes, [item], Files(tmp_path, ".", tmp_path)).lost
    assert lost.reason == "the detector's answer cannot be read"
    assert "not done in 5 tokens" in lost.detail
    with pytest.raises(RequestError, match="florence-2 gives no scores; leave it out"):
        SightChoice(detector="florence-2", threshold=0.3)


def test_things_come_back_from_json() -> None:
    thing = Thing(Box(1, 2, 3, 4), 0.25, np.linspace(-1, 1, 5, dtype=np.float32))
    back = Thing.of_json(json.loads(json.dumps(thing.as_json())))
    assert (back.box, back.score) == (thing.box, 0.25)
    assert np.allclose(back.descriptor, thing.descriptor, atol=1e-3)
    with pytest.raises(DataError, match="locate them first"):
        things_of(Item(id="p"))


def test_names_that_are_not_known(tmp_path) -> None:
    with pytest.raises(RequestError, match=r"expected faces, owlv2\[:PATH\]"):
        Located(by="guided").build()
    with pytest.raises(WeightsError):
        Located(by=f"owlv2:{tmp_path}", device="cpu").build()
