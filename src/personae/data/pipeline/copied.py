"""Whether a face is a copy of another one: pasted, scaled, mirrored, brightened or saved again."""

from __future__ import annotations

import cv2
import numpy as np

from personae.subjects.box import Box

__all__ = ["copied"]

_SIDE_PX, _WIDER = 40, 1.6
_REACH = 0.9  # of a face's box; a larger part misses faces that were cut out and pasted elsewhere
# Boxes of the same face found twice differ by so much.
_SCALES = (0.7, 0.77, 0.84, 0.92, 1.0, 1.09, 1.19, 1.3, 1.42)


def copied(first: np.ndarray, box: Box, second: np.ndarray, other: Box) -> float:
    """How much the face in a box of ``second`` is that in a box of ``first``: pixels, not people.

    The highest normalized correlation, in [0, 1], of one face of 40 pixels, as it is or mirrored,
    with the surroundings of the other at nine scales: what detectors' boxes differ by, and how
    bright a picture is, does not matter; another pose, expression or light from the side does.

    Source: normalized cross-correlation, as in J. P. Lewis, Fast template matching (1995).

    >>> patches = np.random.default_rng(0).integers(0, 255, (6, 6, 3), np.uint8)
    >>> picture = patches.repeat(10, 0).repeat(10, 1)
    >>> round(copied(picture, Box(20, 20, 40, 40), picture, Box(20, 20, 40, 40)), 2)
    1.0
    """
    face = _patch(second, other, _REACH, _SIDE_PX)
    faces = (face, np.ascontiguousarray(face[:, ::-1]))
    if _is_flat(face):
        return 0.0
    best = 0.0
    for scale in _SCALES:
        wide = _patch(first, box, _REACH * _WIDER * scale, round(_SIDE_PX * _WIDER))
        if _is_flat(wide):
            continue
        for one in faces:
            found = cv2.matchTemplate(wide, one, cv2.TM_CCOEFF_NORMED)
            best = max(best, float(found[np.isfinite(found)].max(initial=0.0)))
    return min(best, 1.0)


def _is_flat(patch: np.ndarray) -> bool:
    """One color correlates with nothing, and with everything."""
    return float(patch.std((0, 1)).max()) < 1


def _patch(picture: np.ndarray, box: Box, reach: float, side_px: int) -> np.ndarray:
    """A square around the box, ``reach`` times as large, at one size; edges go on beyond edges."""
    middle = np.array(box.center)
    half = max(box.width, box.height) * reach / 2
    left, top = np.floor(middle - half).astype(int)
    right, bottom = np.ceil(middle + half).astype(int)
    height, width = picture.shape[:2]
    rows = np.clip(np.arange(top, max(bottom, top + 1)), 0, height - 1)
    columns = np.clip(np.arange(left, max(right, left + 1)), 0, width - 1)
    region = np.ascontiguousarray(picture[rows[:, None], columns])
    return np.asarray(cv2.resize(region, (side_px, side_px), interpolation=cv2.INTER_AREA))
