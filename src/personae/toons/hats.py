"""Hats and what else sits on a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from personae.toons.identity import COLORS, Toon
from personae.toons.pen import Color, Pen, ellipse, shade, smooth
from personae.toons.pose import Pose

__all__ = ["draw_hat"]


def draw_hat(pen: Pen, one: Toon, pose: Pose) -> None:
    """The hat of a toon, moved a little with the turn of its head."""
    if one.hat != "none":
        _HATS[one.hat](pen.at(0.06 * pose.turn, 0.0), COLORS[one.hat_color], pose)


def _cap(pen: Pen, color: Color, pose: Pose) -> None:
    side = 1 if pose.turn >= 0 else -1
    pen.fill(
        smooth(
            [(-0.98, -0.5), (-0.82, -1.08), (0, -1.34), (0.82, -1.08), (0.98, -0.5), (0, -0.62)]
        ),
        color,
    )
    brim = [(side * 0.1, -0.66), (side * 0.95, -0.66), (side * 1.45, -0.45), (side * 0.9, -0.42)]
    pen.fill(smooth(brim), shade(color, 0.75))
    pen.disc(0, -1.3, 0.09, shade(color, 0.75))


def _beanie(pen: Pen, color: Color, pose: Pose) -> None:
    pen.disc(0, -1.5, 0.22, (245, 245, 245))
    pen.fill(
        smooth([(-0.96, -0.5), (-0.86, -1.1), (0, -1.44), (0.86, -1.1), (0.96, -0.5), (0, -0.56)]),
        color,
    )
    pen.fill(ellipse(0, -0.58, 1.02, 0.19, 4.0), shade(color, 0.72))


def _top_hat(pen: Pen, color: Color, pose: Pose) -> None:
    pen.fill([(-0.62, -0.8), (-0.68, -1.62), (0.68, -1.62), (0.62, -0.8)], color)
    pen.fill(
        [(-0.63, -0.92), (-0.65, -1.12), (0.65, -1.12), (0.63, -0.92)], shade(color, 0.55), None
    )
    pen.fill(ellipse(0, -0.78, 1.08, 0.16), color)


def _sun_hat(pen: Pen, color: Color, pose: Pose) -> None:
    pen.fill(smooth([(-0.7, -0.75), (-0.6, -1.25), (0, -1.42), (0.6, -1.25), (0.7, -0.75)]), color)
    pen.fill([(-0.68, -0.8), (-0.66, -0.98), (0.66, -0.98), (0.68, -0.8)], (250, 250, 250), None)
    pen.fill(ellipse(0, -0.7, 1.42, 0.24), shade(color, 0.88))


def _bow(pen: Pen, color: Color, pose: Pose) -> None:
    for side in (-1, 1):
        wing = [(0.42, -0.98), (0.42 + side * 0.5, -1.3), (0.42 + side * 0.5, -0.68)]
        pen.fill(smooth(wing, 3), color)
    pen.disc(0.42, -0.98, 0.15, shade(color, 0.75))


def _headband(pen: Pen, color: Color, pose: Pose) -> None:
    band = [(-0.97, -0.42), (-0.86, -0.78), (0, -0.86), (0.86, -0.78), (0.97, -0.42)]
    pen.fill(smooth([*band, (0.0, -0.56)]), color)


_HATS: Mapping[str, Callable[[Pen, Color, Pose], None]] = {
    "cap": _cap,
    "beanie": _beanie,
    "top hat": _top_hat,
    "sun hat": _sun_hat,
    "bow": _bow,
    "headband": _headband,
}
