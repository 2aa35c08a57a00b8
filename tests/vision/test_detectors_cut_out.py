"""Things cut out of their boxes before they are compared, as XVerseBench's IP-Sim does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from personae.errors import RequestError
from personae.metrics.evidence import Witness
from personae.metrics.eyes import ThingsEyes
from personae.metrics.witnesses import EyesChoice, build_witnesses
from personae.subjects.box import Box
from personae.subjects.subject import Reference
from personae.vision.detectors import ThingEyes
from personae.vision.protocols import Detection
from personae.vision.segmenters import GrabCut, Sam2
from tests.vision.tiny_words import save_sam2

SIDE = 24


class Fixed:
    """Finds these boxes, whatever it sees."""

    name = "fixed"

    def __init__(self, *boxes: Box) -> None:
        self.boxes = boxes

    def detect(self, image, cast, nouns):
        return [Detection(box, 0.9, next(iter(cast), None)) for box in self.boxes]


class Plain:
    """Describes a crop by its pixels, and remembers what it was given."""

    name, side_px, commercial, official_uses_cosine = "plain", SIDE, True, True

    def __init__(self) -> None:
        self.seen = torch.zeros(0)

    def embed(self, crops):
        self.seen = crops
        return F.normalize(crops.flatten(1) + 1e-6, dim=1)

    def cosine(self, first, second):
        return first @ second.T

    similarity = cosine


class Disk:
    """The disk around the middle of a box; nothing left of pixel 20."""

    name = "disk"

    def segment(self, image, where):
        down, across = np.mgrid[: image.shape[0], : image.shape[1]]
        x, y = where.center
        return ((down - y) ** 2 + (across - x) ** 2 < 100) & (across >= 20)


def noise(height=60, width=80, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def slow_cut(image: np.ndarray, mask: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Pixel by pixel: white where there is no mask, then the box on a white square."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    square = np.full((side, side, 3), 255, np.uint8)
    down, across = (side - (bottom - top)) // 2, (side - (right - left)) // 2
    for y in range(top, bottom):
        for x in range(left, right):
            if mask[y, x]:
                square[y - top + down, x - left + across] = image[y, x]
    return square


def test_what_is_not_the_thing_is_white() -> None:
    image, box = noise(), Box(40, 20, 64, 40)
    embedder = Plain()
    eyes = ThingEyes(Fixed(box), embedder, segmenter=Disk())
    _, seen = eyes.things(image, {"mug": ()}, {"mug": "mug"})
    wanted = slow_cut(image, Disk().segment(image, box), (40, 20, 64, 40))
    assert seen.shape == (1, SIDE * SIDE * 3)
    assert np.array_equal((embedder.seen[0].permute(1, 2, 0) * 255).round().numpy(), wanted)
    assert (wanted == 255).all(-1).sum() > 100 and eyes.name == "fixed+disk+plain"
    bare = ThingEyes(Fixed(box), embedder)
    bare.things(image, {"mug": ()}, {"mug": "mug"})
    assert bare.name == "fixed+plain" and (embedder.seen[0] == 1).all(0).sum() < 100


def test_a_box_in_which_nothing_is_cut_keeps_its_background() -> None:
    image, embedder = noise(), Plain()
    eyes = ThingEyes(Fixed(Box(0, 0, 12, 12), Box(40, 20, 64, 40)), embedder, segmenter=Disk())
    found, seen = eyes.things(image, {"mug": ()}, {"mug": "mug"})
    assert len(found) == len(seen) == 2
    assert torch.allclose(
        embedder.seen[0],
        F.interpolate(
            torch.from_numpy(image[:12, :12].copy()).permute(2, 0, 1)[None] / 255,
            (SIDE, SIDE),
            mode="bilinear",
            antialias=True,
        )[0],
    )
    none, nothing = ThingEyes(Fixed(), embedder, segmenter=Disk()).things(image, {}, {})
    assert none == [] and nothing.shape == (0, SIDE * SIDE * 3)


def test_references_are_cut_by_their_own_mask_or_by_the_segmenter_or_not_described() -> None:
    image, embedder = noise(60, 60), Plain()
    eyes = ThingEyes(Fixed(), embedder, segmenter=Disk())
    mask = np.zeros((60, 60), dtype=bool)
    mask[10:34, 10:34] = True
    mask[12, 12] = False
    eyes.reference_descriptors([Reference(image, mask)])
    given = (embedder.seen[0].permute(1, 2, 0) * 255).round().numpy()
    assert np.array_equal(given, slow_cut(image, mask, (10, 10, 34, 34)))
    eyes.reference_descriptors([Reference(image, None)])
    white = (embedder.seen[0] == 1).all(0).float().mean()
    assert 0.1 < white < 0.35  # the corners around a disk
    blind = noise(20, 18)
    assert eyes.reference_descriptors([Reference(blind, None)]).shape == (0, SIDE * SIDE * 3)
    both = eyes.reference_descriptors([Reference(blind, None), Reference(image, mask)])
    assert len(both) == 1


def test_sam2_is_prompted_with_the_box_itself(tmp_path) -> None:
    choice = EyesChoice(segmenter=f"sam2:{save_sam2(tmp_path)}", cache=None)
    eyes = build_witnesses(choice, ("thing",))["thing"].eyes
    assert eyes.things.segmenter.margin == 0
    assert eyes.name == "guided+sam2-margin-0+efficientnet-lite0"
    assert Sam2(tmp_path).name == "sam2"


def mug(background: tuple[int, int, int], seed: int) -> np.ndarray:
    """A red and yellow disk on a plain, slightly noisy background."""
    image = np.full((96, 96, 3), background, np.int64)
    image += np.random.default_rng(seed).integers(-6, 7, image.shape)
    down, across = np.mgrid[:96, :96]
    disk = (down - 48) ** 2 + (across - 48) ** 2 < 28**2
    image[disk] = (200, 30, 30)
    image[disk & (across > 48)] = (230, 210, 40)
    return image.clip(0, 255).astype(np.uint8)


def test_with_grabcut_the_background_no_longer_counts() -> None:
    box = Box(14, 14, 82, 82)
    likeness = {}
    for segmenter in (None, GrabCut()):
        eyes = ThingEyes(Fixed(box), Plain(), segmenter=segmenter)
        reference = eyes.reference_descriptors([Reference(mug((40, 160, 60), 1), None)])
        _, seen = eyes.things(mug((30, 40, 190), 2), {"mug": ()}, {"mug": "mug"})
        _, twin = eyes.things(mug((40, 160, 60), 3), {"mug": ()}, {"mug": "mug"})
        likeness[segmenter] = (seen @ twin.T).item(), (seen @ reference.T).item()
    bare, cut = likeness.values()
    assert cut[0] > 0.99 and bare[0] < 0.95
    assert cut[1] > bare[1]


def test_rows_say_who_cut_and_references_are_known_apart(tmp_path) -> None:
    kept = {}
    for name in ("none", "grabcut"):
        choice = EyesChoice(segmenter=name, cache=tmp_path)
        witness = build_witnesses(choice, ["thing"])["thing"]
        assert isinstance(witness, Witness) and isinstance(witness.eyes, ThingsEyes)
        kept[name] = witness.eyes.name
    assert kept == {
        "none": "guided+efficientnet-lite0",
        "grabcut": "guided+grabcut+efficientnet-lite0",
    }
    with pytest.raises(RequestError, match="expected none, grabcut or sam2"):
        build_witnesses(EyesChoice(segmenter="scissors", cache=None), ["thing"])
