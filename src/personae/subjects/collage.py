"""Collages: cut-outs pasted on a canvas, with the boxes where they landed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from personae.errors import DataError
from personae.subjects.box import Box
from personae.subjects.mask import mask_box

__all__ = ["CutOut", "Placed", "cut_out", "paste"]


@dataclass(frozen=True, eq=False)
class CutOut:
    """A subject cut out of its photo: image (h, w, 3) uint8 and mask (h, w) uint8, both tight."""

    image: np.ndarray
    mask: np.ndarray

    def __post_init__(self) -> None:
        if self.mask.shape != self.image.shape[:2]:
            raise DataError(f"mask {self.mask.shape} does not fit picture {self.image.shape[:2]}")

    def mirrored(self) -> CutOut:
        """Left and right exchanged."""
        return CutOut(self.image[:, ::-1].copy(), self.mask[:, ::-1].copy())


@dataclass(frozen=True, eq=False)
class Placed:
    """A cut-out and the box, in pixels of the canvas, that it has to fill."""

    cut: CutOut
    box: Box


def cut_out(image: np.ndarray, mask: np.ndarray) -> CutOut:
    """The part of a photo (H, W, 3) uint8 under its mask (H, W) bool, tightly cropped."""
    box = mask_box(mask)
    left, top, right, bottom = (int(value) for value in box.xyxy)
    part = mask[top:bottom, left:right]
    return CutOut(image[top:bottom, left:right].copy(), part.astype(np.uint8) * 255)


def paste(canvas: np.ndarray, placed: Sequence[Placed], feather_px: float = 0.0) -> np.ndarray:
    """Paste cut-outs on a canvas (H, W, 3) uint8, the last one in front; the canvas stays as it is.

    ``feather_px`` is the radius over which edges fade into the canvas.
    """
    picture = Image.fromarray(canvas)
    for item in placed:
        left, top, right, bottom = (round(value) for value in item.box.xyxy)
        size = (max(right - left, 1), max(bottom - top, 1))
        cut = Image.fromarray(item.cut.image).resize(size, Image.Resampling.LANCZOS)
        mask = Image.fromarray(item.cut.mask).resize(size, Image.Resampling.BILINEAR)
        if feather_px:
            mask = mask.filter(ImageFilter.GaussianBlur(feather_px))
        picture.paste(cut, (left, top), mask)
    return np.asarray(picture).copy()
