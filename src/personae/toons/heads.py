"""Heads: ears, an animal's pattern, a robot's fittings, and everything in its order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from personae.toons.faces import draw_features, features
from personae.toons.hair import draw_hair
from personae.toons.hats import draw_hat
from personae.toons.identity import COLORS, Toon
from personae.toons.pen import INK, Pen, ellipse, mix, moved, shade, smooth, turned
from personae.toons.pose import Pose
from personae.toons.skulls import head_outline, reach

__all__ = ["draw_head"]


def draw_head(pen: Pen, one: Toon, pose: Pose) -> None:
    """The head before the body: ears, skull, pattern, features, hair, hat."""
    _EARS[one.sort](pen, one, pose)
    pen.fill(head_outline(one), COLORS[one.skin])
    if one.sort == "animal":
        _pattern(pen, one, pose)
    draw_features(pen, one, pose, features(one, pose))
    if one.sort == "human":
        draw_hair(pen, one, pose)
    draw_hat(pen, one, pose)


def _human_ears(pen: Pen, one: Toon, pose: Pose) -> None:
    skin, wide = COLORS[one.skin], reach(one)
    for side in (-1, 1):
        if side * pose.turn < 0.55:
            x = side * wide - 0.08 * pose.turn
            pen.disc(x, 0.1, 0.19, skin)
            pen.disc(x, 0.1, 0.08, shade(skin, 0.8), None)


def _animal_ears(pen: Pen, one: Toon, pose: Pose) -> None:
    outer, inner = COLORS[one.skin], mix(COLORS[one.skin], (255, 150, 160), 0.55)
    if one.noun == "panda":
        outer = inner = COLORS["black"]
    for side in (-1, 1):
        points, hollow = _ear(one.noun)
        move = np.array([-0.06 * pose.turn, 0.0])
        pen.fill(points * (side, 1) + move, outer)
        if len(hollow):
            pen.fill(hollow * (side, 1) + move, inner, None)


def _ear(noun: str) -> tuple[np.ndarray, np.ndarray]:
    """Right ear of an animal and the hollow in it."""
    if noun in {"cat", "fox"}:
        tall = 1.5 if noun == "fox" else 1.35
        outer = np.array([(0.15, -0.85), (0.82, -tall), (0.95, -0.35)])
        return outer, (outer - outer.mean(0)) * 0.55 + outer.mean(0)
    if noun == "rabbit":
        outer = ellipse(0.42, -1.3, 0.23, 0.62, angle=0.16)
        return outer, ellipse(0.42, -1.28, 0.11, 0.42, angle=0.16)
    if noun == "dog":
        return smooth(
            [(0.7, -0.75), (1.05, -0.62), (1.28, 0.2), (1.05, 0.55), (0.86, 0.1)]
        ), np.empty(0)
    return ellipse(0.72, -0.76, 0.34, 0.34), ellipse(0.72, -0.76, 0.18, 0.18)


def _robot_ears(pen: Pen, one: Toon, pose: Pose) -> None:
    metal, lamp = shade(COLORS[one.skin], 0.75), COLORS[one.hair_color]
    for side in (-1, 1):
        x = side * (reach(one) + 0.06)
        pen.fill(ellipse(x, 0.08, 0.16, 0.26, 4.0), metal)
    if one.hair == "antenna":
        pen.stroke([(0, -0.8), (0, -1.3)], 0.1, INK)
        pen.disc(0, -1.36, 0.17, lamp)
    elif one.hair == "antennas":
        for side in (-1, 1):
            pen.stroke([(side * 0.4, -0.75), (side * 0.66, -1.25)], 0.09, INK)
            pen.disc(side * 0.68, -1.28, 0.15, lamp)
    elif one.hair == "dish":
        pen.stroke([(0.1, -0.8), (0.2, -1.15)], 0.1, INK)
        pen.fill(moved(turned(ellipse(0, 0, 0.42, 0.17), -0.5), 0.26, -1.24), lamp)
    elif one.hair == "fin":
        pen.fill([(-0.3, -0.75), (-0.12, -1.4), (0.12, -1.4), (0.3, -0.75)], lamp)
    elif one.hair == "coil":
        turns = [(0.16 * (-1) ** i, -0.8 - 0.11 * i) for i in range(6)]
        pen.stroke(turns, 0.1, lamp, INK)


_EARS: Mapping[str, Callable[[Pen, Toon, Pose], None]] = {
    "human": _human_ears,
    "animal": _animal_ears,
    "robot": _robot_ears,
}


def _pattern(pen: Pen, one: Toon, pose: Pose) -> None:
    color, move = COLORS[one.hair_color], np.array([0.26 * pose.turn, 0.0])
    (left, y), (right, _) = features(one, pose).eyes
    if one.hair == "mask":
        for x in (left, right):
            pen.fill(ellipse(x, y, 0.30, 0.34), color, None)
    elif one.hair == "patch":
        pen.fill(ellipse(right, y - 0.02, 0.36, 0.40), color, None)
    elif one.hair == "stripes":
        for x in (-0.28, 0.0, 0.28):
            wedge = [(x - 0.09, -0.82), (x + 0.09, -0.82), (x * 0.8, -0.36)]
            pen.fill(np.array(wedge) + move, color, None)
    elif one.hair == "tuft":
        tuft = [(-0.32, -0.8), (-0.2, -1.2), (0.0, -0.98), (0.2, -1.2), (0.32, -0.8), (0, -0.55)]
        pen.fill(np.array(tuft) + move / 2, color)
