"""GrabCut behind the `Segmenter` protocol: colors and edges, no weights."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from personae.errors import RequestError
from personae.subjects.box import Box

__all__ = ["GrabCut", "GrabCutConfig", "main_part", "resized_map"]

_MODEL_SHAPE = (1, 65)


@dataclass(frozen=True, kw_only=True)
class GrabCutConfig:
    """How GrabCut starts and how long it goes on; chosen on twenty photos (docs/numbers.md)."""

    long_side_px: int = 400
    """The photo is brought to this long side, and the mask back to the photo's size."""
    background: float = 0.05
    """Places less likely than this are background for sure."""
    likely: float = 0.5
    """Places likelier than this start as the subject."""
    sure: float = 0.95
    """Places likelier than this are the subject for sure."""
    iterations: int = 5
    """Turns between the color models and the cut."""
    seed: int = 0
    """Of the clustering that the color models start from."""

    def __post_init__(self) -> None:
        if not 0 <= self.background <= self.likely <= self.sure <= 1:
            raise RequestError(
                "GrabCut: expected 0 <= background <= likely <= sure <= 1; got "
                f"{self.background}, {self.likely}, {self.sure}"
            )


def main_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask (H, W) bool, its holes filled.

    >>> main_part(np.array([[1, 0, 1, 1]], dtype=bool)).tolist()
    [[False, False, True, True]]
    """
    labels, count = ndimage.label(mask)
    if not count:
        return np.zeros_like(mask, dtype=bool)
    largest = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    return np.asarray(ndimage.binary_fill_holes(largest), dtype=bool)


def resized_map(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map (h, w) of any kind at another shape (H, W): float32, bilinear; shrinking averages."""
    shrinks = shape[0] < values.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values.astype(np.float32), shape[::-1], interpolation=how))


class GrabCut:
    """GrabCut (Rother et al. 2004) by OpenCV: two color models and a cut along edges.

    Works at a bounded size. Deterministic: OpenCV's generator is seeded before each cut. The mask
    may have several parts: `main_part` picks one.

    Args:
        config: settings.
    """

    name = "grabcut"

    def __init__(self, config: GrabCutConfig | None = None) -> None:
        self.config = config or GrabCutConfig()

    def segment(self, image: np.ndarray, where: Box | np.ndarray) -> np.ndarray:
        """See `Segmenter`; in a box all is the subject at first, outside it nothing ever is."""
        height, width = image.shape[:2]
        factor = min(1.0, self.config.long_side_px / max(height, width))
        size = (max(round(width * factor), 1), max(round(height * factor), 1))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        start = self._start(where, (height, width), (size[1], size[0]))
        mask = self._cut(np.ascontiguousarray(small[..., ::-1]), start)
        return np.asarray(resized_map(mask, (height, width)) > 0.5)

    def _start(
        self, where: Box | np.ndarray, full: tuple[int, int], small: tuple[int, int]
    ) -> np.ndarray:
        """What each pixel (h, w) uint8 starts as, in OpenCV's four classes."""
        start = np.full(small, cv2.GC_BGD, np.uint8)
        if isinstance(where, Box):
            across, down = small[1] / full[1], small[0] / full[0]
            left, right = round(where.left * across), round(where.right * across)
            top, bottom = round(where.top * down), round(where.bottom * down)
            start[max(top, 0) : bottom, max(left, 0) : right] = cv2.GC_PR_FGD
            return start
        likely = resized_map(where, small)
        start[likely > self.config.background] = cv2.GC_PR_BGD
        start[likely > self.config.likely] = cv2.GC_PR_FGD
        start[likely > self.config.sure] = cv2.GC_FGD
        return start

    def _cut(self, small: np.ndarray, start: np.ndarray) -> np.ndarray:
        inside = (start == cv2.GC_FGD) | (start == cv2.GC_PR_FGD)
        # Its color models need pixels on both sides, and more than they have parts.
        if min(inside.sum(), (~inside).sum()) < 16:
            return np.asarray(inside)
        cv2.setRNGSeed(self.config.seed)
        models = np.zeros(_MODEL_SHAPE), np.zeros(_MODEL_SHAPE)
        state, *_ = cv2.grabCut(
            small, start, (0, 0, 1, 1), *models, self.config.iterations, cv2.GC_INIT_WITH_MASK
        )
        return np.asarray((state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD))
