"""The outlines of bare heads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from personae.toons.identity import Toon
from personae.toons.pen import ellipse, smooth

__all__ = ["head_outline", "reach"]

_SHAPES: Mapping[str, tuple[float, float, float]] = {
    "round": (0.98, 0.96, 2.0),
    "oval": (0.86, 1.0, 2.0),
    "square": (0.92, 0.94, 3.4),
    "long": (0.80, 1.08, 2.3),
    "box": (0.95, 0.88, 7.0),
}
_FRAMES: Mapping[str, list[tuple[float, float]]] = {
    "heart": [
        (0, -0.96),
        (0.7, -0.82),
        (0.98, -0.2),
        (0.72, 0.5),
        (0.0, 1.06),
        (-0.72, 0.5),
        (-0.98, -0.2),
        (-0.7, -0.82),
    ],
    "dome": [
        (0, -1.0),
        (0.75, -0.72),
        (0.98, 0.0),
        (0.98, 0.86),
        (0, 0.9),
        (-0.98, 0.86),
        (-0.98, 0.0),
        (-0.75, -0.72),
    ],
    "wedge": [
        (0, -0.86),
        (0.62, -0.86),
        (0.78, -0.5),
        (1.04, 0.8),
        (0, 0.9),
        (-1.04, 0.8),
        (-0.78, -0.5),
        (-0.62, -0.86),
    ],
}


def head_outline(one: Toon) -> np.ndarray:
    """(N, 2) outline of the bare head, in units of the head."""
    if one.face in _FRAMES:
        return smooth(_FRAMES[one.face], 4)
    return ellipse(0, 0, *_SHAPES[one.face])


def reach(one: Toon) -> float:
    """Half the width of the bare head, in units of the head."""
    return float(head_outline(one)[:, 0].max())
