"""The features of a face: eyes, brows, nose, mouth, beard, marks, glasses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personae.toons.identity import COLORS, Toon
from personae.toons.pen import INK, Color, Pen, ellipse, mix, shade, smooth
from personae.toons.pose import Pose

__all__ = ["Features", "draw_features", "features"]

_WHITE: Color = (255, 255, 255)
_DARK: Color = (38, 30, 40)


@dataclass(frozen=True)
class Features:
    """Where a turned head has its features, in units of the head: each an (x, y)."""

    eyes: tuple[tuple[float, float], tuple[float, float]]
    nose: tuple[float, float]
    mouth: tuple[float, float]
    width: float

    @property
    def landmarks(self) -> np.ndarray:
        """(5, 2): eye left of the picture, eye right, nose, mouth corner left, corner right."""
        x, y = self.mouth
        corners = [(x - 0.24 * self.width, y), (x + 0.24 * self.width, y)]
        return np.array([*self.eyes, self.nose, *corners])


def features(one: Toon, pose: Pose) -> Features:
    """The face of a head turned to the side: all features move, those far out a little less."""
    shift, width = 0.30 * pose.turn, 1 - 0.12 * abs(pose.turn)
    apart = (0.40 if one.sort == "robot" else 0.37) * width
    level = {"long": -0.02, "wedge": -0.05}.get(one.face, 0.06)
    muzzle = 0.04 if one.sort == "animal" else 0.0
    return Features(
        eyes=((shift - apart, level), (shift + apart, level)),
        nose=(shift * 1.2, level + 0.26 + muzzle),
        mouth=(shift * 1.1, level + 0.52 + muzzle),
        width=width,
    )


def draw_features(pen: Pen, one: Toon, pose: Pose, at: Features) -> None:
    """Everything in a face, from the marks on the skin to the glasses before the eyes."""
    if one.sort == "animal":
        x, y = at.nose
        light = mix(COLORS[one.skin], _WHITE, 0.55)
        pen.fill(ellipse(x, y + 0.14, 0.36, 0.26), light, None)
    _marks(pen, one, at)
    _beard(pen, one, at)
    _mouth(pen, one, pose, at)
    _nose(pen, one, at)
    for index, place in enumerate(at.eyes):
        _eye(pen, one, pose, place, at.width)
        _brow(pen, one, pose, place, -1 if index == 0 else 1)
    _glasses(pen, one, at)


def _eye(pen: Pen, one: Toon, pose: Pose, at: tuple[float, float], width: float) -> None:
    x, y = at
    if pose.blink:
        pen.stroke([(x - 0.14, y), (x, y + 0.05), (x + 0.14, y)], 0.06, _DARK)
        return
    if one.eyes == "dots":
        pen.disc(x + 0.03 * pose.gaze[0], y + 0.02 * pose.gaze[1], 0.105, _DARK, None)
        pen.disc(x + 0.03 * pose.gaze[0] - 0.03, y - 0.04, 0.03, _WHITE, None)
        return
    rx, ry = {
        "round": (0.19, 0.19),
        "tall": (0.15, 0.25),
        "narrow": (0.21, 0.11),
        "visor": (0.27, 0.13),
        "screen": (0.20, 0.20),
    }[one.eyes]
    boxy = 4.0 if one.sort == "robot" and one.eyes != "round" else 2.0
    color = COLORS[one.eye_color]
    glowing = one.sort == "robot"
    pen.fill(ellipse(x, y, rx * width, ry, boxy), _DARK if glowing else _WHITE)
    px, py = x + 0.07 * pose.gaze[0], y + 0.05 * pose.gaze[1]
    inner = min(rx, ry) * (0.6 if glowing else 0.72)
    pen.disc(px, py, inner, mix(color, _WHITE, 0.35) if glowing else color, None)
    if not glowing:
        pen.disc(px, py, inner * 0.55, _DARK, None)
        pen.disc(px - 0.04, py - 0.05, 0.035, _WHITE, None)


def _brow(pen: Pen, one: Toon, pose: Pose, at: tuple[float, float], side: int) -> None:
    if one.brows == "none":
        return
    x, y = at
    y -= 0.33 if one.eyes == "tall" else 0.29
    y -= {"surprise": 0.07, "laugh": 0.03}.get(pose.expression, 0.0)
    slope = {"slanted": 0.09}.get(one.brows, -0.02)
    slope -= 0.09 if pose.expression == "sad" else 0.0
    thickness = {"thin": 0.055, "thick": 0.12, "slanted": 0.09}[one.brows]
    color = _DARK if one.sort == "robot" else shade(COLORS[one.hair_color], 0.7)
    inner, outer = (x - side * 0.16, y + slope), (x + side * 0.16, y - slope)
    pen.stroke([inner, (x, y - 0.02), outer], thickness, color)


def _nose(pen: Pen, one: Toon, at: Features) -> None:
    x, y = at.nose
    skin = COLORS[one.skin]
    color = mix(shade(skin, 0.72), (200, 60, 60), 0.25)
    if one.sort == "animal":
        rx = {"dot": 0.09, "button": 0.14, "wide": 0.2}[one.nose]
        pen.fill(ellipse(x, y, rx, 0.1), _DARK, None)
    elif one.nose == "dot":
        pen.disc(x, y, 0.06, color, None)
    elif one.nose == "button":
        pen.disc(x, y, 0.12, color, shade(color, 0.6))
    elif one.nose == "long":
        pen.fill(
            [(x - 0.05, y - 0.22), (x + 0.06, y - 0.22), (x + 0.13, y + 0.1), (x - 0.1, y + 0.1)],
            color,
            None,
        )
    elif one.nose == "wide":
        pen.fill(ellipse(x, y + 0.02, 0.2, 0.09), color, None)


def _mouth(pen: Pen, one: Toon, pose: Pose, at: Features) -> None:
    x, y = at.mouth
    half = 0.24 * at.width
    lip = _DARK if one.sort == "robot" else (120, 30, 45)
    if pose.expression == "laugh":
        open_ = [
            (x - half, y - 0.04),
            (x + half, y - 0.04),
            (x + half * 0.6, y + 0.15),
            (x - half * 0.6, y + 0.15),
        ]
        pen.fill(smooth(open_, 3), (150, 35, 50))
        pen.fill(ellipse(x, y + 0.0, half * 0.75, 0.05), _WHITE, None)
    elif pose.expression == "surprise":
        pen.fill(ellipse(x, y + 0.04, 0.1, 0.13), (120, 30, 45))
    else:
        bend = {"smile": 0.11, "neutral": 0.0, "sad": -0.10}[pose.expression]
        points = [(x + half * t, y + bend * (1 - t * t) - bend / 2) for t in (-1, -0.5, 0, 0.5, 1)]
        pen.stroke(points, 0.065, lip)


def _beard(pen: Pen, one: Toon, at: Features) -> None:
    color = COLORS[one.hair_color]
    x, y = at.mouth
    if one.beard == "full":
        chin = [(x * 0.4 - 0.86, 0.15), (-0.62, y - 0.1), (x, y - 0.2), (0.62, y - 0.1)]
        pen.fill(
            smooth([*chin, (x * 0.4 + 0.86, 0.15), (0.7, 0.8), (x * 0.6, 1.14), (-0.7, 0.8)]), color
        )
    elif one.beard == "goatee":
        pen.fill(
            smooth(
                [(x - 0.22, y + 0.1), (x + 0.22, y + 0.1), (x + 0.16, y + 0.5), (x - 0.16, y + 0.5)]
            ),
            color,
        )
    elif one.beard == "mustache":
        curl = [(x - 0.42, y - 0.06), (x, y - 0.2), (x + 0.42, y - 0.06), (x + 0.2, y - 0.02)]
        pen.fill(smooth([*curl, (x, y - 0.07), (x - 0.2, y - 0.02)]), color)


def _marks(pen: Pen, one: Toon, at: Features) -> None:
    (left, y), (right, _) = at.eyes
    skin = COLORS[one.skin]
    if one.mark == "blush":
        for x in (left - 0.1, right + 0.1):
            pen.fill(ellipse(x, y + 0.36, 0.17, 0.11), mix(skin, (255, 70, 100), 0.5), None)
    elif one.mark == "freckles":
        for x in (left, right):
            for dx, dy in ((-0.14, 0.32), (0.02, 0.38), (0.14, 0.3)):
                pen.disc(x + dx, y + dy, 0.042, shade(skin, 0.62), None)
    elif one.mark == "mole":
        pen.disc(right + 0.02, y + 0.44, 0.07, (60, 35, 30), None)
    elif one.mark == "whiskers":
        for x, side in ((left, -1), (right, 1)):
            for dy in (0.3, 0.42):
                pen.stroke([(x, y + dy), (x + side * 0.5, y + dy - 0.05)], 0.035, _DARK)
    elif one.mark == "bolts":
        for side in (-1, 1):
            pen.disc(side * 0.68, 0.66, 0.09, shade(skin, 0.5), None)
    elif one.mark == "plate":
        pen.fill(
            [(0.25, -0.75), (0.75, -0.75), (0.75, -0.4), (0.25, -0.4)], shade(skin, 0.65), None
        )


def _glasses(pen: Pen, one: Toon, at: Features) -> None:
    if one.glasses == "none":
        return
    (left, y), (right, _) = at.eyes
    power = 2.0 if one.glasses == "round" else 5.0
    for x in (left, right):
        rim = ellipse(x, y, 0.30, 0.27 if one.glasses != "shades" else 0.2, power)
        if one.glasses == "shades":
            pen.fill(rim, _DARK)
            pen.stroke([(x - 0.16, y + 0.06), (x - 0.06, y - 0.09)], 0.05, (150, 150, 170))
        else:
            closed = np.concatenate([rim, rim[:1]])
            pen.stroke(closed, 0.075, INK if one.glasses == "square" else (190, 60, 40))
    pen.stroke([(left + 0.28, y - 0.03), (right - 0.28, y - 0.03)], 0.07, INK)
