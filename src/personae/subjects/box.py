"""Boxes: where something is in a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personae.errors import DataError

__all__ = ["Box", "pairwise_iou"]


@dataclass(frozen=True)
class Box:
    """An upright box in pixels: x to the right, y down, right and bottom exclusive.

    >>> Box(0, 0, 4, 2).area
    8.0
    >>> Box(0, 0, 4, 2).center
    (2.0, 1.0)
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not (self.right > self.left and self.bottom > self.top):
            raise DataError(
                f"box {self.xyxy} is empty or inside out; "
                "expected left < right and top < bottom, in pixels"
            )

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return (self.left, self.top, self.right, self.bottom)

    @property
    def width(self) -> float:
        """Extent along x in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Extent along y in pixels."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Width times height, in square pixels."""
        return float(self.width * self.height)

    @property
    def center(self) -> tuple[float, float]:
        """Middle of the box (x, y)."""
        return ((self.left + self.right) / 2, (self.top + self.bottom) / 2)

    def scaled(self, factor: float) -> Box:
        """The same box in a picture whose sides are ``factor`` times as long."""
        return Box(*(factor * value for value in self.xyxy))

    def clipped(self, width: int, height: int) -> Box | None:
        """The part inside a picture of this size, or None where nothing is left."""
        left, top = max(0.0, self.left), max(0.0, self.top)
        right, bottom = min(float(width), self.right), min(float(height), self.bottom)
        return Box(left, top, right, bottom) if right > left and bottom > top else None

    def iou(self, other: Box) -> float:
        """Intersection over union with another box, in [0, 1].

        >>> Box(0, 0, 2, 2).iou(Box(1, 0, 3, 2))
        0.3333333333333333
        """
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        overlap = max(width, 0.0) * max(height, 0.0)
        return overlap / (self.area + other.area - overlap)


def pairwise_iou(first: list[Box], second: list[Box]) -> np.ndarray:
    """Intersection over union of every pair: (len(first), len(second)) float64 in [0, 1]."""
    return np.array([[a.iou(b) for b in second] for a in first]).reshape(len(first), len(second))
