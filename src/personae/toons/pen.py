"""Vector drawing: anti-aliased shapes on a transparent sheet, in units of the thing drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from PIL import Image, ImageDraw

__all__ = [
    "INK",
    "Color",
    "Pen",
    "Points",
    "ellipse",
    "mix",
    "moved",
    "shade",
    "smooth",
    "turned",
]

Color = tuple[int, int, int]
Points = Sequence[tuple[float, float]] | np.ndarray

INK: Color = (44, 34, 48)
"""What outlines are drawn with."""

_SUPERSAMPLE = 4
_ROUND = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_ROUND), np.sin(_ROUND)], 1)


def moved(points: Points, x: float, y: float = 0.0) -> np.ndarray:
    """The points, shifted: (N, 2) -> (N, 2) float64."""
    shifted: np.ndarray = np.asarray(points, np.float64) + np.array((x, y))
    return shifted


def shade(color: Color, factor: float) -> Color:
    """Darker (factor below 1) or lighter (above 1), clipped to [0, 255].

    >>> shade((100, 200, 10), 0.5)
    (50, 100, 5)
    """
    red, green, blue = (min(255, round(value * factor)) for value in color)
    return red, green, blue


def mix(first: Color, second: Color, share: float) -> Color:
    """``share`` of the second color in the first, in [0, 1].

    >>> mix((0, 0, 0), (100, 200, 50), 0.5)
    (50, 100, 25)
    """
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def ellipse(
    x: float, y: float, rx: float, ry: float, power: float = 2.0, angle: float = 0.0
) -> np.ndarray:
    """(28, 2) points of a superellipse |x/rx|^p + |y/ry|^p = 1; power above 2 is boxier."""
    points = _superellipse(power) * (rx, ry)
    return moved(turned(points, angle) if angle else points, x, y)


@lru_cache(maxsize=16)
def _superellipse(power: float) -> np.ndarray:
    points: np.ndarray = np.sign(_CIRCLE) * np.abs(_CIRCLE) ** (2 / power)
    return points


def smooth(points: Points, steps: int = 5) -> np.ndarray:
    """A closed Catmull-Rom curve through the points: (N, 2) -> (N * steps, 2)."""
    p = np.asarray(points, np.float64)
    ring = np.concatenate([p[-1:], p, p[:2]])[:, None]
    a, b, c, d = ring[:-3], ring[1:-2], ring[2:-1], ring[3:]
    t = (np.arange(steps) / steps)[None, :, None]
    curve = b + (c - a) * t / 2 + (a - 2.5 * b + 2 * c - d / 2) * t**2
    curve = curve + (-a + 3 * b - 3 * c + d) * t**3 / 2
    closed: np.ndarray = curve.reshape(-1, 2)
    return closed


def turned(points: Points, angle: float) -> np.ndarray:
    """Rotated about the origin by ``angle`` radians, clockwise on the screen."""
    cos, sin = np.cos(angle), np.sin(angle)
    rotated: np.ndarray = np.asarray(points, np.float64) @ np.array([[cos, sin], [-sin, cos]])
    return rotated


def _outset(points: np.ndarray, by: float) -> np.ndarray:
    """A polygon grown by ``by`` along the normals of its corners."""
    ring = np.concatenate([points[-1:], points, points[:1]])  # quicker than np.roll
    along = ring[2:] - ring[:-2]
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    normal = np.stack([along[:, 1], -along[:, 0]], 1) / length
    following = ring[2:]
    area = float((points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum())
    grown: np.ndarray = points + normal * (by if area > 0 else -by)
    return grown


def _sheet(size: tuple[int, int]) -> Image.Image:
    """Four channels, all 0: red, green, blue and alpha.

    The mode is called CMYK because Pillow averages its channels one by one, where RGBA would be
    multiplied by alpha first; what is drawn here is so already (a color or nothing), and half of
    the time is saved.
    """
    return Image.new("CMYK", size, (0, 0, 0, 0))


@dataclass(frozen=True, eq=False)
class Pen:
    """A sheet, and where the origin of what is drawn lies on it.

    ``sheet`` is supersampled; ``origin`` in its pixels, ``scale`` its pixels a unit, ``angle``
    in radians. `at` gives a pen for a part (a head on a body) on the same sheet.
    """

    sheet: Image.Image
    draw: ImageDraw.ImageDraw
    origin: tuple[float, float]
    scale: float
    angle: float = 0.0
    outline: float = 0.055

    @classmethod
    def new(cls, width: int, height: int, origin: tuple[float, float], scale: float) -> Pen:
        """An empty sheet of width x height pixels; origin and scale in those pixels."""
        size = (width * _SUPERSAMPLE, height * _SUPERSAMPLE)
        sheet = _sheet(size)
        place = (origin[0] * _SUPERSAMPLE, origin[1] * _SUPERSAMPLE)
        return cls(sheet, ImageDraw.Draw(sheet), place, scale * _SUPERSAMPLE)

    def empty(self) -> Pen:
        """The same place on an empty sheet of the same size."""
        sheet = _sheet(self.sheet.size)
        return replace(self, sheet=sheet, draw=ImageDraw.Draw(sheet))

    def at(self, x: float, y: float, angle: float = 0.0) -> Pen:
        """A pen whose origin is (x, y) of this one, turned by ``angle``."""
        spot = self._pixels([(x, y)])[0]
        return replace(self, origin=(spot[0], spot[1]), angle=self.angle + angle)

    def places(self, points: Points) -> np.ndarray:
        """(N, 2) pixels of the finished picture where these points come to lie."""
        return self._pixels(points) / _SUPERSAMPLE

    def fill(self, points: Points, color: Color, outline: Color | None = INK) -> None:
        """A filled polygon, with an outline around it unless ``outline`` is None."""
        corners = self._pixels(points)
        if outline is not None:
            grown = _outset(corners, self.outline * self.scale)
            self.draw.polygon(grown.ravel().tolist(), fill=(*outline, 255))
        self.draw.polygon(corners.ravel().tolist(), fill=(*color, 255))

    def disc(
        self, x: float, y: float, radius: float, color: Color, outline: Color | None = INK
    ) -> None:
        """A filled circle."""
        self.fill(ellipse(x, y, radius, radius), color, outline)

    def stroke(
        self, points: Points, width: float, color: Color, outline: Color | None = None
    ) -> None:
        """A line with round ends and joints, ``width`` units thick."""
        if outline is not None:
            self.stroke(points, width + 2 * self.outline, outline)
        pixels, radius = self._pixels(points), width * self.scale / 2
        ink = (*color, 255)
        self.draw.line(pixels.ravel().tolist(), fill=ink, width=max(round(2 * radius), 1))
        for x, y in pixels.tolist():
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)

    def finished(self) -> np.ndarray:
        """(H, W, 4) float32 in [0, 1], colors premultiplied by alpha."""
        return np.asarray(self.sheet.reduce(_SUPERSAMPLE), np.float32) / np.float32(255)

    def _pixels(self, points: Points) -> np.ndarray:
        pixels: np.ndarray = np.asarray(points, np.float64) @ self._linear + self.origin
        return pixels

    @cached_property
    def _linear(self) -> np.ndarray:
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.array([[cos, sin], [-sin, cos]]) * self.scale
