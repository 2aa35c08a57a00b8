"""Cutting heads out of pictures, as squares with nobody else in the middle of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from personae.subjects.box import Box

__all__ = ["box_within", "cut_out", "head_crop", "head_region"]

_REACH = (2.6, 2.0, 1.5)  # of a face's box: head and shoulders, as far as nobody else is in it
_DOWN = 0.15


def head_region(shape: tuple[int, int], box: Box, others: Sequence[Box]) -> Box | None:
    """Head and shoulders around a face's box: a square on whole pixels, inside (height, width).

    As large as it can be without the middle of another face in it; None where even the smallest
    holds one, or is not inside the picture.
    """
    height, width = shape
    for reach in _REACH:
        side = int(min(reach * max(box.width, box.height), height, width))
        x, y = box.center
        left = int(min(max(x - side / 2, 0), width - side))
        top = int(min(max(y + _DOWN * side - side / 2, 0), height - side))
        inside = Box(left, top, left + side, top + side) if side >= 16 else None
        if inside is None or not _holds(inside, box):
            return None
        if not any(_holds(inside, other) for other in others):
            return inside
    return None


def head_crop(picture: np.ndarray, box: Box, others: Sequence[Box]) -> np.ndarray | None:
    """What is in the `head_region` of a picture (H, W, 3) uint8, (s, s, 3); None likewise."""
    region = head_region((picture.shape[0], picture.shape[1]), box, others)
    return None if region is None else cut_out(picture, region)


def box_within(box: Box, region: Box) -> list[float] | None:
    """A box in the pixels of a region that was cut out; None where nothing of it is there.

    >>> box_within(Box(10, 10, 30, 30), Box(20, 0, 60, 40))
    [0, 10, 10, 30]
    """
    sides = (box.left - region.left, box.top - region.top)
    left, top = (max(side, 0) for side in sides)
    right = min(box.right - region.left, region.width)
    bottom = min(box.bottom - region.top, region.height)
    return (
        [round(v, 2) for v in (left, top, right, bottom)] if right > left and bottom > top else None
    )


def cut_out(picture: np.ndarray, box: Box) -> np.ndarray:
    """The part of a picture in a box, on whole pixels; gray-black where nothing of it is there."""
    inside = box.clipped(picture.shape[1], picture.shape[0])
    if inside is None:
        return np.zeros((16, 16, 3), np.uint8)
    left, top = int(inside.left), int(inside.top)
    bottom, right = max(int(inside.bottom), top + 1), max(int(inside.right), left + 1)
    return np.ascontiguousarray(picture[top:bottom, left:right])


def _holds(box: Box, other: Box) -> bool:
    x, y = other.center
    return box.left <= x <= box.right and box.top <= y <= box.bottom
