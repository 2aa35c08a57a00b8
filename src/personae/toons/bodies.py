"""Everything below the head: legs, clothes, arms, what is worn and what is held."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from personae.toons.identity import COLORS, Toon
from personae.toons.pen import INK, Color, Pen, ellipse, mix, moved, shade, smooth
from personae.toons.pose import Pose

__all__ = ["draw_behind", "draw_body", "draw_held", "draw_worn"]

_TOP, _WAIST = 0.82, 1.92
_SHOULDER, _HIP = 0.50, 0.62


def _half_width(y: float) -> float:
    """Half the torso's width at height y."""
    share = (y - _TOP) / (_WAIST - _TOP)
    return _SHOULDER + (_HIP - _SHOULDER) * share


def _slice(top: float, bottom: float, inset: float = 0.0) -> list[tuple[float, float]]:
    a, b = _half_width(top) - inset, _half_width(bottom) - inset
    return [(-a, top), (a, top), (b, bottom), (-b, bottom)]


def _colors(one: Toon) -> tuple[Color, Color, Color]:
    """Of clothes, trim and skin; a robot is of metal all over."""
    return COLORS[one.clothes_color], COLORS[one.trim_color], COLORS[one.skin]


def draw_behind(pen: Pen, pose: Pose) -> None:
    """What is worn on the back."""
    if pose.wears == "cape":
        points = [(-0.4, 0.85), (0.4, 0.85), (0.85, 2.0), (0.95, 2.35), (0.3, 2.2), (0, 2.35)]
        pen.fill(smooth([*points, (-0.3, 2.2), (-0.95, 2.35), (-0.85, 2.0)]), (200, 30, 60))
    if pose.wears == "wings":
        for side in (-1, 1):
            upper = [(0.2, 1.2), (0.75, 0.62), (1.22, 0.55), (1.2, 1.1), (0.8, 1.4)]
            lower = [(0.2, 1.3), (0.8, 1.3), (1.08, 1.6), (0.8, 1.95), (0.35, 1.7)]
            for part, color in ((lower, (200, 235, 255)), (upper, (230, 246, 255))):
                pen.fill(smooth([(side * x, y) for x, y in part]), color)


def draw_body(pen: Pen, one: Toon, pose: Pose) -> None:
    """Legs, torso with its clothes, and the arms."""
    cloth, trim, skin = _colors(one)
    legs = skin if one.sort == "animal" else shade(trim, 0.75)
    for side in (-1, 1):
        pen.stroke([(side * 0.27, 1.85), (side * 0.29, 2.42)], 0.36, legs, INK)
        pen.fill(ellipse(side * 0.33, 2.52, 0.27, 0.14), shade(mix(trim, INK, 0.4), 0.7))
    if one.sort == "animal":
        _tail(pen, one)
    pen.fill(smooth(_slice(_TOP - 0.05, _WAIST), 4), cloth)
    pen.fill(_slice(_TOP + 0.1, _WAIST - 0.1), cloth, None)
    _CLOTHES[one.clothes](pen, trim)
    for side in (-1, 1):
        _arm(pen, one, pose, side)


def _tail(pen: Pen, one: Toon) -> None:
    if one.noun in {"cat", "fox", "dog"}:
        width = 0.34 if one.noun == "fox" else 0.18
        pen.stroke([(0.5, 1.8), (0.85, 1.75), (1.0, 1.45)], width, COLORS[one.skin], INK)


def _plain(pen: Pen, trim: Color) -> None:
    """Nothing on it."""


def _stripes(pen: Pen, trim: Color) -> None:
    for top in (1.06, 1.36, 1.66):
        pen.fill(_slice(top, top + 0.15), trim, None)


def _dots(pen: Pen, trim: Color) -> None:
    spots = [(-0.3, 1.1), (0.1, 1.05), (0.4, 1.25), (-0.1, 1.35), (-0.42, 1.5), (0.25, 1.6)]
    for x, y in [*spots, (-0.15, 1.75), (0.48, 1.8)]:
        pen.disc(x, y, 0.1, trim, None)


def _overalls(pen: Pen, trim: Color) -> None:
    pen.fill(_slice(1.45, _WAIST), trim, None)
    pen.fill([(-0.3, 1.15), (0.3, 1.15), (0.32, 1.5), (-0.32, 1.5)], trim, None)
    for side in (-1, 1):
        pen.stroke([(side * 0.26, 1.2), (side * 0.34, 0.86)], 0.13, trim)


def _jacket(pen: Pen, trim: Color) -> None:
    pen.fill([(-0.2, 0.8), (0.2, 0.8), (0.13, _WAIST), (-0.13, _WAIST)], trim, None)
    for side in (-1, 1):
        pen.stroke([(side * 0.2, 0.84), (side * 0.14, _WAIST)], 0.05, INK)


def _star(pen: Pen, trim: Color) -> None:
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 0.36, 0.16)[:, None]
    pen.fill(moved(np.stack([np.cos(angles), np.sin(angles)], 1) * radius, 0, 1.4), trim, None)


def _sash(pen: Pen, trim: Color) -> None:
    pen.fill([(-0.48, 0.86), (-0.2, 0.82), (0.6, 1.72), (0.6, 1.92), (0.45, 1.92)], trim, None)


def _halves(pen: Pen, trim: Color) -> None:
    pen.fill([(0, 0.84), (_SHOULDER, 0.84), (_HIP, _WAIST), (0, _WAIST)], trim, None)


_CLOTHES: Mapping[str, Callable[[Pen, Color], None]] = {
    "plain": _plain,
    "stripes": _stripes,
    "dots": _dots,
    "overalls": _overalls,
    "jacket": _jacket,
    "star": _star,
    "sash": _sash,
    "halves": _halves,
}


def _hand(pose: Pose, side: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Elbow and hand of the arm on this side of the picture."""
    raised = pose.action == "cheering" or (pose.action is not None and side == pose.side)
    if raised:
        return (side * 0.92, 1.02 - pose.arms / 3), (side * (1.1 + pose.arms / 4), 0.48)
    swing = pose.arms * 0.5
    return (side * (0.70 + swing / 3), 1.35), (side * (0.74 + swing), 1.72)


def _arm(pen: Pen, one: Toon, pose: Pose, side: int) -> None:
    cloth, _, skin = _colors(one)
    elbow, hand = _hand(pose, side)
    sleeve = skin if one.sort == "robot" else shade(cloth, 0.92)
    pen.stroke([(side * 0.46, 0.98), elbow, hand], 0.24, sleeve, INK)
    pen.disc(*hand, 0.17, skin)


def draw_worn(pen: Pen, pose: Pose) -> None:
    """What is worn in front, below the head."""
    if pose.wears == "scarf":
        pen.fill([(0.14, 0.95), (0.42, 0.95), (0.46, 1.5), (0.2, 1.5)], (225, 40, 50))
        pen.stroke([(-0.44, 0.9), (0, 1.02), (0.44, 0.9)], 0.26, (225, 40, 50), INK)
    if pose.wears == "medal":
        for side in (-1, 1):
            pen.stroke([(side * 0.3, 0.86), (0, 1.3)], 0.09, (40, 90, 200))
        pen.disc(0, 1.42, 0.21, (250, 200, 40))
        pen.disc(0, 1.42, 0.1, (255, 232, 130), None)
    if pose.wears == "cape":
        pen.stroke([(-0.4, 0.9), (0, 1.0), (0.4, 0.9)], 0.12, (200, 30, 60), INK)


def draw_held(pen: Pen, pose: Pose) -> None:
    """What is held: drawn apart, because it is not the toon."""
    if pose.action == "holding a balloon":
        x, y = _hand(pose, pose.side)[1]
        pen.stroke([(x, y), (x + 0.05 * pose.side, -0.45)], 0.04, INK)
        pen.fill(ellipse(x + 0.05 * pose.side, -0.85, 0.36, 0.43), (235, 60, 90))
        pen.fill(ellipse(x + 0.05 * pose.side - 0.12, -1.0, 0.08, 0.12), (250, 170, 185), None)
    if pose.action == "holding a flag":
        x, y = _hand(pose, pose.side)[1]
        pen.stroke([(x, y + 0.25), (x, -0.75)], 0.07, (120, 80, 45))
        flag = [(x, -0.75), (x + 0.6 * pose.side, -0.68), (x + 0.6 * pose.side, -0.28)]
        pen.fill([*flag, (x, -0.32)], (60, 175, 90))
