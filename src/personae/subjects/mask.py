"""Masks: which pixels of a picture belong to a subject."""

from __future__ import annotations

import numpy as np

from personae.errors import DataError
from personae.subjects.box import Box

__all__ = ["mask_box", "mask_iou"]


def mask_box(mask: np.ndarray) -> Box:
    """The tight box around a mask (H, W) bool.

    >>> mask_box(np.eye(4, dtype=bool)[1:3]).xyxy
    (1.0, 0.0, 3.0, 2.0)

    Raises:
        DataError: the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise DataError("the mask is empty; expected True on the subject")
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return Box(float(left), float(top), float(right), float(bottom))


def mask_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two masks of one shape, in [0, 1]; 1 where both are empty."""
    union = int(np.logical_or(first, second).sum())
    return float(np.logical_and(first, second).sum() / union) if union else 1.0
