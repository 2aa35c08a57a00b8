"""Who is cut out to be drawn again, and seen again where that was done: faces, or things."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from personae.data.pipeline.crops import box_within, head_crop, head_region
from personae.data.pipeline.items import Item
from personae.data.pipeline.people import Face, faces_of, look
from personae.data.pipeline.step import Files
from personae.data.pipeline.things import Sight, Thing, things_of
from personae.subjects.box import Box
from personae.vision.faces import FaceEyes
from personae.vision.segmenters import GrabCut

__all__ = ["FaceFinder", "Finder", "Seen", "ThingFinder", "cut_head", "portrait_region"]

_PLAIN = (210, 215, 220)
# In widths and heights of a face's box: how far head and body reach at most, what is face for sure,
# and the ellipse and the column in which they mostly are (docs/numbers.md).
_WIDE, _ABOVE, _BELOW, _FACE = 0.95, 1.1, 2.0, 0.42
_HEAD, _HEAD_UP, _BODY, _BODY_DOWN = (0.6, 0.8), 0.15, 0.3, 1.9
_PORTRAIT = 1.9  # of a face: what a square of head and shoulders measures
_ROOM = 1.1  # of a thing: what the square around it measures


@dataclass(frozen=True, eq=False)
class Seen:
    """A find in a redrawn picture: how similar it is to its subject, where, and as JSON."""

    similarity: float
    box: Box
    told: dict[str, Any]


class Finder(Protocol):
    """Cuts a subject out, and finds it again; ``place`` counts the item's nouns."""

    def crop(self, item: Item, files: Files, place: int) -> np.ndarray | None:
        """What a single-subject model is shown, (s, s, 3) uint8; None: it cannot be had alone."""
        ...

    def seen(self, picture: np.ndarray, item: Item, place: int) -> list[Seen]:
        """What could be the subject in a picture (H, W, 3) uint8 of it alone."""
        ...

    def reference(self, picture: np.ndarray, seen: Seen) -> np.ndarray | None:
        """The redrawn picture as a reference; None: it is of no use."""
        ...


@dataclass(eq=False)
class FaceFinder:
    """People, by their faces.

    ``cut``: what a model is shown is before plain gray, else as it stands in the picture;
    ``cut_reference``: so is what becomes of it, the reference.
    """

    eyes: FaceEyes
    cut: bool = True
    cut_reference: bool = False
    cutter: GrabCut = field(default_factory=GrabCut)

    def crop(self, item: Item, files: Files, place: int) -> np.ndarray | None:
        """See `Finder`: head and shoulders."""
        boxes = [face.box for face in faces_of(item)]
        others = [box for number, box in enumerate(boxes) if number != place]
        return self.head(files.picture(item), boxes[place], others)

    def head(self, picture: np.ndarray, box: Box, others: list[Box]) -> np.ndarray | None:
        """Head and shoulders of one face, without the others."""
        if not self.cut:
            return head_crop(picture, box, others)
        return cut_head(self.cutter, picture, box, others)

    def seen(self, picture: np.ndarray, item: Item, place: int) -> list[Seen]:
        """See `Finder`: every face; ``shown`` is where it is in the reference."""
        wanted = torch.from_numpy(faces_of(item)[place].descriptor)[None]

        def seen(face: Face) -> Seen:
            own = torch.from_numpy(face.descriptor)[None]
            similarity = float(self.eyes.embedder.similarity(wanted, own)[0, 0])
            if self.cut_reference:
                region: Box | None = portrait_region(face.box)
            else:
                region = head_region((picture.shape[0], picture.shape[1]), face.box, [])
            shown = None if region is None else box_within(face.box, region)
            return Seen(similarity, face.box, {**face.as_json(), "shown": shown})

        return [seen(face) for face in look(self.eyes, picture, 1)]

    def reference(self, picture: np.ndarray, seen: Seen) -> np.ndarray | None:
        """See `Finder`: head and shoulders again."""
        if self.cut_reference:
            return cut_head(self.cutter, picture, seen.box, [])
        return head_crop(picture, seen.box, [])


@dataclass(eq=False)
class ThingFinder:
    """Things, by the masks that `Located` cut; ``cut`` as for faces."""

    sight: Sight
    cut: bool = True

    def crop(self, item: Item, files: Files, place: int) -> np.ndarray | None:
        """See `Finder`: a square around the box, with a little room."""
        box = things_of(item)[place].box
        picture = files.picture(item)
        name = list(item.data["nouns"])[place]
        mask = files.picture(item, f"mask-{name}")[..., 0] > 127
        shown = _on_plain(picture, mask) if self.cut else picture
        region = _around(box, max(int(_ROOM * _side(box)), 16))
        return _square(shown, region) if mask.any() else None

    def seen(self, picture: np.ndarray, item: Item, place: int) -> list[Seen]:
        """See `Finder`: what answers to the subject's noun."""
        name = list(item.data["nouns"])[place]
        found = self.sight.find(picture, {name: item.data["nouns"][name]})
        if not found:
            return []
        rows = self.sight.describe(picture, [one.box for one in found])
        similar = self.sight.similarity(things_of(item)[place].descriptor[None], rows)[0]
        return [
            Seen(float(value), one.box, Thing(one.box, one.score, row).as_json())
            for one, row, value in zip(found, rows, similar, strict=True)
        ]

    def reference(self, picture: np.ndarray, seen: Seen) -> np.ndarray | None:
        """See `Finder`: all of it, in its other place."""
        return picture


def cut_head(
    cutter: GrabCut, picture: np.ndarray, box: Box, others: Sequence[Box]
) -> np.ndarray | None:
    """The `portrait_region` of a face, (s, s, 3) uint8, what is not theirs made plain gray.

    None where nothing of the picture (H, W, 3) uint8 seems to be theirs; ``others`` are the boxes
    of other faces.
    """
    mask = cutter.segment(picture, _likely(picture.shape[:2], box, others))
    return _square(_on_plain(picture, mask), portrait_region(box)) if mask.any() else None


def portrait_region(box: Box) -> Box:
    """The square of head and shoulders around a face's box; it may leave the picture."""
    return _around(box, max(int(_PORTRAIT * _side(box)), 16))


def _around(box: Box, side: int) -> Box:
    # Beyond the left and the top a picture goes on as plain as beyond the others: floor, not int.
    left, top = (math.floor(middle - side / 2) for middle in box.center)
    return Box(left, top, left + side, top + side)


def _side(box: Box) -> float:
    return max(box.width, box.height)


def _on_plain(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], picture, np.array(_PLAIN, np.uint8))


def _square(plain: np.ndarray, region: Box) -> np.ndarray:
    """What is in a region, (s, s, 3) uint8, plain where it leaves the picture."""
    side = int(region.width)
    canvas = np.empty((plain.shape[0] + 2 * side, plain.shape[1] + 2 * side, 3), np.uint8)
    canvas[:] = _PLAIN
    canvas[side:-side, side:-side] = plain
    left, top = int(region.left) + side, int(region.top) + side
    return np.ascontiguousarray(canvas[top : top + side, left : left + side])


def _likely(shape: tuple[int, int], box: Box, others: Sequence[Box]) -> np.ndarray:
    """How likely each place (H, W) is of whose face this is: face, hair and hat, and what hangs on.

    Where another face is nearer, nothing is theirs.
    """
    y, x = (grid + 0.5 for grid in np.mgrid[: shape[0], : shape[1]])

    def far(one: Box) -> np.ndarray:
        middle = one.center
        return np.asarray(np.hypot((x - middle[0]) / one.width, (y - middle[1]) / one.height))

    across = np.abs(x - box.center[0]) / box.width
    down = (y - box.center[1]) / box.height
    figure = (across < _WIDE) & (down > -_ABOVE) & (down < _BELOW)
    head = np.hypot(across / _HEAD[0], (down + _HEAD_UP) / _HEAD[1]) < 1
    body = (across < _BODY) & (down > 0) & (down < _BODY_DOWN)
    likely = np.where(figure, np.where(head | body, 0.6, 0.3), 0.0)
    likely[far(box) < _FACE] = 0.97
    for other in others:
        likely[far(other) < far(box)] = 0.0
    return np.asarray(likely, np.float32)
