"""Masks of photos that carry a rotation: turned as their photo is."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from personae.errors import DataError
from personae.subjects.picture import read_mask

__all__ = ["upright_mask"]

_ORIENTATION = 274
_SIDEWAYS = {5, 6, 7, 8}


def upright_mask(mask: Path, photo: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a mask for a photo that was turned upright to ``shape``: (H, W) bool.

    Cameras store a photo lying down, and say so in its EXIF. A mask of the shape that the photo
    is stored in was made without looking at that, and is turned with it; one of the upright
    shape is right as it is. (Of a square photo, or one upside down, both shapes are the same:
    the mask is taken as it is.)

    Raises:
        DataError: see `read_mask`; or it fits neither way.
    """
    turn = _orientation(photo)
    try:
        return read_mask(mask, shape)
    except DataError:
        if turn not in _SIDEWAYS:
            raise
    stored = Image.fromarray(read_mask(mask, shape[::-1])).convert("L")
    return np.asarray(_turned(stored, turn)) > 127


def _turned(image: Image.Image, turn: int) -> Image.Image:
    """As `ImageOps.exif_transpose` turns a photo of this orientation."""
    stream = BytesIO()
    exif = Image.Exif()
    exif[_ORIENTATION] = turn
    image.save(stream, "PNG", exif=exif)
    return ImageOps.exif_transpose(Image.open(stream))


def _orientation(photo: Path) -> int:
    with Image.open(photo) as image:
        return int(image.getexif().get(_ORIENTATION, 1))
