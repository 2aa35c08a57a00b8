"""Hair: what hangs behind head and body, and what lies on the forehead."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from personae.toons.identity import COLORS, Toon
from personae.toons.pen import Pen, mix, moved, shade, smooth
from personae.toons.pose import Pose
from personae.toons.skulls import reach

__all__ = ["draw_hair", "draw_hair_behind"]


def draw_hair_behind(pen: Pen, one: Toon, pose: Pose) -> None:
    """What lies behind body and head: long hair, pony tails."""
    if one.sort != "human":
        return
    color, back = COLORS[one.hair_color], -0.10 * pose.turn
    if one.hair == "long":
        sides = [(-1.0, 0.0), (-1.1, 0.8), (-0.95, 1.5), (0, 1.6), (0.95, 1.5), (1.1, 0.8)]
        pen.fill(
            moved(smooth([(0, -1.1), (-0.85, -0.8), *sides, (1.0, 0.0), (0.85, -0.8)]), back), color
        )
    elif one.hair == "bob":
        sides = [(-1.06, 0.0), (-1.14, 0.62), (-0.7, 0.86), (0.7, 0.86), (1.14, 0.62), (1.06, 0.0)]
        pen.fill(moved(smooth([(0, -1.1), (-0.85, -0.8), *sides, (0.85, -0.8)]), back), color)
    elif one.hair == "ponytail":
        x = -1.0 if pose.turn > 0 else 1.0
        tail = [(x * 0.6, -0.7), (x * 1.3, -0.6), (x * 1.5, 0.3), (x * 1.2, 1.0), (x * 1.05, 0.2)]
        pen.fill(smooth(tail), color)
    elif one.hair == "pigtails":
        for side in (-1, 1):
            tail = [(side * 0.8, -0.35), (side * 1.3, -0.5), (side * 1.5, 0.2), (side * 1.2, 0.75)]
            pen.fill(moved(smooth([*tail, (side * 1.05, 0.1)]), back), color)
    elif one.hair == "curly":
        for angle in np.linspace(np.pi * 0.95, np.pi * 2.05, 9):
            pen.disc(1.02 * np.cos(angle) + back, 0.98 * np.sin(angle) - 0.05, 0.36, color)
    elif one.hair == "bun":
        pen.disc(back * 2, -1.2, 0.36, color)
    elif one.hair == "spiky":
        pen.fill(moved(_crown(9, 1.02, 1.42), back), color)


def _crown(spikes: int, inner: float, outer: float) -> np.ndarray:
    angles = np.linspace(np.pi * 0.98, np.pi * 2.02, 2 * spikes + 1)
    radius = np.where(np.arange(2 * spikes + 1) % 2 == 0, inner, outer)[:, None]
    return np.stack([np.cos(angles), np.sin(angles)], 1) * radius


_Curve = list[tuple[float, float]]
_FRINGES: Mapping[str, _Curve] = {
    "buzz": [
        (-0.9, -0.25),
        (-0.82, -0.85),
        (0, -1.05),
        (0.82, -0.85),
        (0.9, -0.25),
        (0.55, -0.5),
        (-0.55, -0.5),
    ],
    "short": [
        (-1.0, 0.0),
        (-0.95, -0.85),
        (0, -1.2),
        (0.95, -0.85),
        (1.0, 0.0),
        (0.78, -0.35),
        (0.3, -0.52),
        (-0.3, -0.42),
        (-0.78, -0.35),
    ],
    "parted": [
        (-1.0, 0.1),
        (-0.98, -0.85),
        (-0.1, -1.2),
        (0.95, -0.85),
        (1.0, 0.05),
        (0.82, -0.3),
        (-0.35, -0.78),
        (-0.8, -0.2),
    ],
    "bob": [
        (-1.02, 0.35),
        (-0.98, -0.8),
        (0, -1.16),
        (0.98, -0.8),
        (1.02, 0.35),
        (0.82, -0.25),
        (0.0, -0.36),
        (-0.82, -0.25),
    ],
    "long": [
        (-1.0, 0.5),
        (-0.98, -0.8),
        (0, -1.16),
        (0.98, -0.8),
        (1.0, 0.5),
        (0.84, -0.1),
        (0.1, -0.82),
        (-0.84, -0.1),
    ],
    "ponytail": [
        (-0.95, -0.1),
        (-0.9, -0.8),
        (0, -1.12),
        (0.9, -0.8),
        (0.95, -0.1),
        (0.6, -0.62),
        (-0.1, -0.7),
        (-0.7, -0.45),
    ],
    "pigtails": [
        (-0.96, -0.05),
        (-0.92, -0.8),
        (0, -1.12),
        (0.92, -0.8),
        (0.96, -0.05),
        (0.5, -0.45),
        (0.0, -0.75),
        (-0.5, -0.45),
    ],
    "bun": [
        (-0.95, -0.05),
        (-0.9, -0.8),
        (0, -1.08),
        (0.9, -0.8),
        (0.95, -0.05),
        (0.6, -0.66),
        (-0.6, -0.66),
    ],
}


def draw_hair(pen: Pen, one: Toon, pose: Pose) -> None:
    """The hair on the forehead and on top."""
    color, wide = COLORS[one.hair_color], reach(one)
    move = np.array([0.07 * pose.turn, 0.0])
    if one.hair in _FRINGES:
        fringe = smooth(_FRINGES[one.hair]) * (wide / 0.94, 1.0) + move
        pen.fill(fringe, mix(color, COLORS[one.skin], 0.25) if one.hair == "buzz" else color)
    elif one.hair == "curly":
        for angle in np.linspace(np.pi * 1.17, np.pi * 1.83, 5):
            x, y = 0.84 * np.cos(angle) * wide, 0.86 * np.sin(angle)
            pen.disc(x + move[0], y, 0.27, color, shade(color, 0.7))
    elif one.hair == "mohawk":
        ridge = [
            (-0.24, -0.6),
            (-0.3, -1.2),
            (-0.12, -1.5),
            (0.12, -1.5),
            (0.3, -1.2),
            (0.24, -0.6),
        ]
        pen.fill(smooth(ridge) + move, color)
    elif one.hair == "spiky":
        spikes = [(-0.98, -0.1), (-1.0, -0.75), (0, -1.12), (1.0, -0.75), (0.98, -0.1)]
        teeth = [
            (0.7, -0.62),
            (0.5, -0.28),
            (0.25, -0.66),
            (0, -0.28),
            (-0.25, -0.66),
            (-0.5, -0.28),
        ]
        pen.fill(np.array([*spikes, *teeth, (-0.7, -0.62)]) * (wide / 0.94, 1) + move, color)
