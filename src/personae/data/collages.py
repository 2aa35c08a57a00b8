"""Collages as training pictures: a plan of who goes where, and what it looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from personae.errors import DataError
from personae.subjects.box import Box
from personae.subjects.collage import CutOut

__all__ = ["CollagePlan", "Mixed", "Piece", "pre_scaled", "render_collage"]

# Half of a mask's 255 levels: where a subject ends.
_HALF = 128


@dataclass(frozen=True, eq=False)
class Piece:
    """A subject's cut-out, ready to be pasted."""

    subject: str
    cut: CutOut

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.cut.mask.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.cut.mask.shape[0])


@dataclass(frozen=True)
class CollagePlan:
    """Where the pieces of a collage go.

    Attributes:
        size: (width, height) of the canvas.
        boxes: (left, top, right, bottom) in pixels, one a piece, inside the canvas.
        front: in which order pieces are pasted; the last one is in front.
        mirrored: is a piece's left its right?
        background: what the canvas is.
    """

    size: tuple[int, int]
    boxes: tuple[tuple[int, int, int, int], ...]
    front: tuple[int, ...]
    mirrored: tuple[bool, ...]
    background: str = "white"


@dataclass(frozen=True, eq=False)
class Mixed:
    """A picture mixed of several subjects, and the truth about it.

    Attributes:
        image: (H, W, 3) uint8.
        masks: the visible part of each subject, (H, W) bool, in the caption's order.
        boxes: where each was put, hidden parts included, in pixels.
        prompt: its caption, ids of subjects in braces.
        negative: what to turn away from when a picture is drawn, ids in braces; None: nothing.
    """

    image: np.ndarray
    masks: Mapping[str, np.ndarray]
    boxes: Mapping[str, Box]
    prompt: str
    negative: str | None = None

    def __post_init__(self) -> None:
        if list(self.masks) != list(self.boxes) or not self.masks:
            raise DataError(f"masks of {list(self.masks)}, boxes of {list(self.boxes)}")

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool: any subject."""
        union: np.ndarray = np.logical_or.reduce(list(self.masks.values()))
        return union


def pre_scaled(piece: Piece, size: tuple[int, int], count: int = 2) -> Piece:
    """The piece no larger than the largest that Seg-Mix makes of it for this canvas.

    Done once a photo, it saves shrinking a photo of many megapixels for each collage. Pieces that
    are small enough stay as they are.
    """
    scale = min(size[0] / count / piece.width, size[1] / piece.height)
    if scale >= 1:
        return piece
    sides = (max(round(piece.width * scale), 1), max(round(piece.height * scale), 1))
    image = Image.fromarray(piece.cut.image).resize(sides, Image.Resampling.LANCZOS)
    mask = Image.fromarray(piece.cut.mask).resize(sides, Image.Resampling.BILINEAR)
    return Piece(piece.subject, CutOut(np.asarray(image), np.asarray(mask)))


def render_collage(
    plan: CollagePlan,
    pieces: Sequence[Piece],
    canvas: np.ndarray,
    prompt: str,
    feather_px: int = 0,
) -> Mixed:
    """Paste the pieces; the canvas (H, W, 3) uint8 is used up.

    A subject is opaque where its resized mask is at least half, or with ``feather_px`` fades over
    two box blurs of that radius.
    """
    picture = Image.fromarray(canvas)
    width, height = plan.size
    visible: dict[int, np.ndarray] = {}
    for place in plan.front:
        left, top, right, bottom = plan.boxes[place]
        image, alpha = _resized(
            pieces[place].cut, (right - left, bottom - top), plan.mirrored[place]
        )
        solid = np.asarray(alpha) >= _HALF
        paste = _feathered(solid, feather_px) if feather_px else Image.fromarray(solid)
        image = _extended(image, feather_px) if feather_px else image
        picture.paste(image, (left - 2 * feather_px, top - 2 * feather_px), paste)
        for other in visible.values():
            other[top:bottom, left:right] &= ~solid
        mask = np.zeros((height, width), bool)
        mask[top:bottom, left:right] = solid
        visible[place] = mask
    names = [piece.subject for piece in pieces]
    masks = {name: visible[place] for place, name in enumerate(names)}
    boxes = {name: Box(*plan.boxes[place]) for place, name in enumerate(names)}
    return Mixed(np.asarray(picture), masks, boxes, prompt)


def _resized(
    cut: CutOut, sides: tuple[int, int], mirrored: bool
) -> tuple[Image.Image, Image.Image]:
    image, mask = (cut.image[:, ::-1], cut.mask[:, ::-1]) if mirrored else (cut.image, cut.mask)
    return (
        Image.fromarray(image).resize(sides, Image.Resampling.BILINEAR),
        Image.fromarray(mask).resize(sides, Image.Resampling.BILINEAR),
    )


def _feathered(solid: np.ndarray, radius: int) -> Image.Image:
    """Alpha that fades over the edge: two box blurs, twice the radius of room around it."""
    padded = np.pad(solid.astype(np.uint8) * 255, 2 * radius)
    blur = ImageFilter.BoxBlur(radius)
    return Image.fromarray(padded).filter(blur).filter(blur)


def _extended(image: Image.Image, radius: int) -> Image.Image:
    """The picture with its border repeated, since alpha reaches over it."""
    room = 2 * radius
    return Image.fromarray(np.pad(np.asarray(image), ((room, room), (room, room), (0, 0)), "edge"))
