"""One toon in one pose on an empty sheet: picture, exact mask, face box, landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personae.subjects.box import Box
from personae.toons.bodies import draw_behind, draw_body, draw_held, draw_worn
from personae.toons.faces import features
from personae.toons.hair import draw_hair_behind
from personae.toons.heads import draw_head
from personae.toons.identity import Toon
from personae.toons.pen import Pen
from personae.toons.pose import Pose
from personae.toons.skulls import head_outline

__all__ = ["Figure", "draw_figure"]


@dataclass(frozen=True, eq=False)
class Figure:
    """A drawn toon on a sheet of the picture's size.

    ``rgba`` (H, W, 4) float32 in [0, 1], premultiplied: toon and what it holds; ``alpha`` (H, W)
    of the toon alone; ``face`` the box of the bare head, ``landmarks`` (5, 2) x, y, both in
    pixels and also where they lie beyond the sheet.
    """

    rgba: np.ndarray
    alpha: np.ndarray
    face: Box
    landmarks: np.ndarray


def draw_figure(
    one: Toon, pose: Pose, size: tuple[int, int], head: tuple[float, float], scale: float
) -> Figure:
    """Draw a toon whose head is centered at ``head``; ``scale`` is half a head in pixels."""
    pen = Pen.new(*size, origin=head, scale=scale)
    body, skull = pen.at(0, 0, pose.lean), pen.at(0, 0, pose.lean + pose.tilt)
    draw_behind(body, pose)
    draw_hair_behind(skull, one, pose)
    draw_body(body, one, pose)
    draw_worn(body, pose)
    draw_head(skull, one, pose)
    toon = pen.finished()
    rgba, alpha = _with_held(toon, body, pose)
    return Figure(
        rgba=rgba,
        alpha=alpha,
        face=_box(skull.places(head_outline(one))),
        landmarks=skull.places(features(one, pose).landmarks),
    )


def _with_held(toon: np.ndarray, body: Pen, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Composited with what is held before the toon, and the toon's own visible alpha."""
    if pose.action is None or not pose.action.startswith("holding"):
        return toon, toon[..., 3]
    pen = body.empty()
    draw_held(pen, pose)
    held = pen.finished()
    uncovered = 1 - held[..., 3:]
    return held + toon * uncovered, toon[..., 3] * uncovered[..., 0]


def _box(points: np.ndarray) -> Box:
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return Box(float(left), float(top), float(right), float(bottom))
