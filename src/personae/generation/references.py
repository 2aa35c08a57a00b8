"""A subject's reference as the model gets it: a square of one size, the subject in it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from personae.errors import DataError
from personae.subjects.box import Box
from personae.subjects.mask import mask_box
from personae.subjects.references import load_reference
from personae.subjects.subject import Kind, Reference, Subject

__all__ = ["chosen_reference", "reference_picture"]

# Room left around a subject that its mask shows, as a share of the longer side.
_MARGIN = 0.1
_WHITE = 255
# A person whose mask is at least this much taller than wide stands; head and shoulders are then a
# square a fifth wider than the mask, a tenth of it above the head. People are known by faces, and
# in a square around the whole figure there is little of one.
_STANDING = 1.25
_SHOULDERS = 1.2


def chosen_reference(subject: Subject, index: int = 0) -> Reference:
    """The subject's reference with this index, read from its file; beyond the last, the last.

    Raises:
        DataError: it cannot be read.
    """
    if index < 0:
        raise DataError(f"subject {subject.id!r}: reference {index}; expected 0 for the first")
    return load_reference(subject.references[min(index, len(subject.references) - 1)])


def reference_picture(reference: Reference, side: int, kind: Kind = "object") -> np.ndarray:
    """The reference as a square (side, side, 3) uint8, nothing stretched.

    A photo that has this very size is taken as it is. Else the square holds the part around the
    mask with a tenth of its longer side left on each side, or without a mask the whole photo;
    what of the square lies outside the photo is white. Of a person who stands in the photo it
    holds head and shoulders.

    >>> photo = Reference(np.zeros((20, 40, 3), np.uint8))
    >>> reference_picture(photo, 40)[:, 0, 0].tolist() == [255] * 10 + [0] * 20 + [255] * 10
    True
    """
    height, width = reference.image.shape[:2]
    if (height, width) == (side, side):
        return reference.image
    if reference.mask is None:
        square = _square(Box(0, 0, width, height), 0.0)
    else:
        box = mask_box(reference.mask)
        stands = kind == "person" and box.height >= _STANDING * box.width
        square = _head(box) if stands else _square(box, _MARGIN)
        square = _inside(square, width, height)
    return _cut(reference.image, square, side)


def _square(box: Box, margin: float) -> Box:
    """The square around a box's center that holds it and the margin."""
    half = max(box.width, box.height) * (0.5 + margin)
    x, y = box.center
    return Box(x - half, y - half, x + half, y + half)


def _head(box: Box) -> Box:
    """The square around head and shoulders of somebody who stands in this box."""
    side, middle = _SHOULDERS * box.width, box.center[0]
    top = box.top - side / 10
    return Box(middle - side / 2, top, middle + side / 2, top + side)


def _inside(square: Box, width: int, height: int) -> Box:
    """The square moved, not scaled, so that as much of it as can be lies in the photo."""
    x = _shift(square.left, square.right, width)
    y = _shift(square.top, square.bottom, height)
    return Box(square.left + x, square.top + y, square.right + x, square.bottom + y)


def _shift(low: float, high: float, length: int) -> float:
    """How far to move [low, high] into [0, length]; to its middle where it is longer."""
    if high - low >= length:
        return (length - low - high) / 2
    return max(-low, 0.0) - max(high - length, 0.0)


def _cut(image: np.ndarray, square: Box, side: int) -> np.ndarray:
    """The square of a photo, white outside it, resampled to (side, side, 3)."""
    # One rounded length for both sides: rounded edges could make a square of 21 by 20.
    length = max(round(square.width), 1)
    left, top = round(square.left), round(square.top)
    right, bottom = left + length, top + length
    height, width = image.shape[:2]
    canvas = np.full((length, length, 3), _WHITE, np.uint8)
    part = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    y, x = max(-top, 0), max(-left, 0)
    canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
    scaled = Image.fromarray(canvas).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(scaled).copy()
