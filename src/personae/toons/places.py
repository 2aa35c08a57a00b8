"""Places: the backgrounds of scenes, never twice the same, and plain ones for references."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from personae.toons.pen import Color, Pen, ellipse, moved, shade, smooth

__all__ = ["PLACES", "draw_backdrop", "draw_place"]


def draw_place(name: str, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1]: a place of this name (one of `PLACES`), varied by ``rng``."""
    pen = Pen.new(width, height, (0.0, 0.0), height)
    _DRAW[name](pen, rng, width / height)
    picture: np.ndarray = pen.finished()[..., :3]
    return picture


def draw_backdrop(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side, 3) float32: what references stand before, a color that fades into another."""
    first, second = rng.uniform(0.35, 1.0, (2, 3))
    share = np.linspace(0, 1, side, dtype=np.float32)
    field = share[:, None] if rng.random() < 0.5 else share[None, :]
    field = np.broadcast_to(field, (side, side))[..., None]
    ground: np.ndarray = (first * (1 - field) + second * field).astype(np.float32)
    return ground


def _vary(color: Color, rng: np.random.Generator, by: float = 0.08) -> Color:
    red, green, blue = (int(np.clip(value * (1 + rng.normal(0, by)), 0, 255)) for value in color)
    return red, green, blue


def _band(pen: Pen, wide: float, top: float, bottom: float, color: Color) -> None:
    pen.fill([(0, top), (wide, top), (wide, bottom), (0, bottom)], color, None)


def _hill(pen: Pen, x: float, y: float, rx: float, ry: float, color: Color) -> None:
    pen.fill(ellipse(x, y, rx, ry), color, None)


def _somewhere(rng: np.random.Generator, wide: float, count: int) -> np.ndarray:
    """``count`` places from left to right, one in each equal part of the width."""
    return (np.arange(count) + rng.uniform(0.15, 0.85, count)) * wide / count


def _park(pen: Pen, rng: np.random.Generator, wide: float) -> None:
    _band(pen, wide, 0, 1, _vary((150, 210, 245), rng, 0.04))
    ground = float(rng.uniform(0.55, 0.68))
    green = _vary((110, 190, 90), rng)
    for x in _somewhere(rng, wide, 3):
        tall = float(rng.uniform(0.22, 0.36))
        pen.stroke([(x, ground), (x, ground - tall)], 0.045, (120, 80, 50))
        pen.disc(x, ground - tall, float(rng.uniform(0.11, 0.16)), _vary((60, 140, 65), rng), None)
    _band(pen, wide, ground, 1, green)
    _hill(pen, float(rng.uniform(0, wide)), 1.05, wide * 0.7, 0.25, shade(green, 0.9))


def _beach(pen: Pen, rng: np.random.Generator, wide: float) -> None:
    _band(pen, wide, 0, 1, _vary((170, 225, 250), rng, 0.03))
    x, y = float(rng.uniform(0.1, 0.9) * wide), float(rng.uniform(0.1, 0.2))
    pen.disc(x, y, 0.09, (255, 235, 120), None)
    sea, shore = float(rng.uniform(0.4, 0.5)), float(rng.uniform(0.62, 0.72))
    _band(pen, wide, sea, shore, _vary((45, 140, 200), rng))
    _band(pen, wide, shore - 0.03, shore, (225, 245, 250))
    _band(pen, wide, shore, 1, _vary((240, 215, 150), rng, 0.04))


def _snow(pen: Pen, rng: np.random.Generator, wide: float) -> None:
    _band(pen, wide, 0, 1, _vary((185, 200, 220), rng, 0.04))
    ground = float(rng.uniform(0.58, 0.7))
    for x in _somewhere(rng, wide, 4):
        tall = float(rng.uniform(0.25, 0.4))
        tree = [(x - 0.11, ground), (x, ground - tall), (x + 0.11, ground)]
        pen.fill(tree, _vary((50, 105, 95), rng), None)
        tip = [
            (x - 0.045, ground - tall * 0.6),
            (x, ground - tall),
            (x + 0.045, ground - tall * 0.6),
        ]
        pen.fill(tip, (250, 250, 255), None)
    _band(pen, wide, ground, 1, (240, 245, 252))
    for x, y in rng.uniform((0, 0), (wide, 0.95), (22, 2)):
        pen.disc(float(x), float(y), 0.011, (255, 255, 255), None)


def _city(pen: Pen, rng: np.random.Generator, wide: float) -> None:
    _band(pen, wide, 0, 1, _vary((215, 205, 215), rng, 0.04))
    ground, x = float(rng.uniform(0.68, 0.76)), 0.0
    while x < wide:
        broad, top = float(rng.uniform(0.16, 0.28)), float(rng.uniform(0.08, 0.38))
        wall = _vary((150, 110, 110), rng, 0.15)
        pen.fill([(x, top), (x + broad, top), (x + broad, ground), (x, ground)], wall, None)
        for row in np.arange(top + 0.05, ground - 0.05, 0.1):
            for column in np.arange(x + 0.04, x + broad - 0.03, 0.075):
                pane = [(0, 0), (0.035, 0), (0.035, 0.05), (0, 0.05)]
                pen.fill(moved(pane, column, row), (250, 230, 160), None)
        x += broad + float(rng.uniform(0, 0.03))
    _band(pen, wide, ground, 1, _vary((120, 120, 128), rng, 0.05))


def _night(pen: Pen, rng: np.random.Generator, wide: float) -> None:
    _band(pen, wide, 0, 1, _vary((32, 38, 85), rng, 0.1))
    for x, y in rng.uniform((0, 0), (wide, 0.55), (16, 2)):
        pen.disc(float(x), float(y), 0.009, (255, 250, 220), None)
    x, y = float(rng.uniform(0.15, 0.85) * wide), float(rng.uniform(0.12, 0.2))
    pen.disc(x, y, 0.085, (245, 240, 205), None)
    pen.disc(x + 0.04, y - 0.02, 0.07, (32, 38, 85), None)
    _hill(pen, float(rng.uniform(0, wide)), 1.0, wide * 0.8, 0.38, _vary((35, 60, 60), rng))
    _band(pen, wide, 0.82, 1, (28, 48, 50))


def _desert(pen: Pen, rng: np.random.Generator, wide: float) -> None:
    _band(pen, wide, 0, 1, _vary((250, 205, 160), rng, 0.03))
    ground = float(rng.uniform(0.58, 0.68))
    _hill(pen, float(rng.uniform(0, wide)), ground + 0.05, 0.4, 0.2, _vary((215, 135, 85), rng))
    _band(pen, wide, ground, 1, _vary((230, 165, 95), rng, 0.04))
    for x in _somewhere(rng, wide, 2):
        y = ground + 0.04
        pen.stroke([(x, y), (x, y - 0.3)], 0.07, (70, 140, 80))
        side = 1 if rng.random() < 0.5 else -1
        pen.stroke(
            [(x, y - 0.12), (x + side * 0.09, y - 0.12), (x + side * 0.09, y - 0.22)],
            0.045,
            (70, 140, 80),
        )


def _room(pen: Pen, rng: np.random.Generator, wide: float) -> None:
    _band(pen, wide, 0, 1, _vary((235, 200, 190), rng, 0.08))
    x, y = float(rng.uniform(0.08, 0.6) * wide), float(rng.uniform(0.06, 0.14))
    pane = moved([(0, 0), (0.36, 0), (0.36, 0.34), (0, 0.34)], x, y)
    pen.fill(pane, (190, 230, 250), None)
    for line in (
        [(x, y), (x + 0.36, y)],
        [(x, y + 0.34), (x + 0.36, y + 0.34)],
        [(x + 0.18, y), (x + 0.18, y + 0.34)],
        [(x, y), (x, y + 0.34)],
        [(x + 0.36, y), (x + 0.36, y + 0.34)],
    ):
        pen.stroke(line, 0.025, (250, 250, 250))
    floor = float(rng.uniform(0.7, 0.78))
    _band(pen, wide, floor, 1, _vary((165, 115, 75), rng))
    _band(pen, wide, floor - 0.025, floor, (245, 240, 235))


def _stage(pen: Pen, rng: np.random.Generator, wide: float) -> None:
    _band(pen, wide, 0, 1, _vary((70, 30, 55), rng))
    red = _vary((180, 30, 50), rng)
    for index, x in enumerate(np.arange(0, wide, 0.08)):
        if x < wide * 0.2 or x > wide * 0.75:
            fold = [(x, 0), (x + 0.08, 0), (x + 0.08, 0.8), (x, 0.8)]
            pen.fill(fold, red if index % 2 else shade(red, 0.8), None)
    top = [(0, 0), (wide, 0), (wide, 0.09), (wide / 2, 0.15), (0, 0.09)]
    pen.fill(smooth(top, 4), shade(red, 1.15), None)
    _band(pen, wide, 0.78, 1, _vary((200, 150, 95), rng, 0.05))


_DRAW: Mapping[str, Callable[[Pen, np.random.Generator, float], None]] = {
    "park": _park,
    "beach": _beach,
    "snow": _snow,
    "city": _city,
    "night": _night,
    "desert": _desert,
    "room": _room,
    "stage": _stage,
}

PLACES = tuple(_DRAW)
"""The places that a caption can name."""
