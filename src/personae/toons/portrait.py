"""Portraits: the pictures by which a toon is known, never in the pose that is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personae.subjects.box import Box
from personae.subjects.subject import Reference
from personae.toons.figure import draw_figure
from personae.toons.identity import Toon
from personae.toons.places import draw_backdrop
from personae.toons.pose import Pose, another_pose, pose

__all__ = ["Portrait", "lit", "portrait"]

_SALT = 20_261


@dataclass(frozen=True, eq=False)
class Portrait:
    """Head and chest of a toon before a plain backdrop.

    ``image`` (side, side, 3) uint8, ``mask`` (side, side) bool, ``face`` the box of the bare
    head, ``landmarks`` (5, 2) float64 x, y in pixels: eye left of the picture, eye right, nose,
    mouth corner left, mouth corner right.
    """

    toon: Toon
    image: np.ndarray
    mask: np.ndarray
    face: Box
    landmarks: np.ndarray
    pose: Pose

    @property
    def reference(self) -> Reference:
        """As a reference of a subject."""
        return Reference(self.image, self.mask, f"(toon {self.toon.seed})")


def portrait(one: Toon, seed: int, side: int = 64, than: Pose | None = None) -> Portrait:
    """A portrait of a toon, a pure function of its arguments.

    ``than`` is a pose that the portrait must not show: it then has another expression and its
    head turned visibly otherwise (`personae.toons.pose.another_pose`).

    >>> from personae.toons.identity import toon
    >>> portrait(toon(5), seed=1).image.shape
    (64, 64, 3)
    """
    rng = np.random.default_rng([_SALT, one.seed, seed])
    chosen = pose(rng) if than is None else another_pose(rng, than)
    scale = side * float(rng.uniform(0.255, 0.30))
    head = (side * float(rng.uniform(0.45, 0.55)), side * float(rng.uniform(0.48, 0.56)))
    figure = draw_figure(one, chosen, (side, side), head, scale)
    ground = draw_backdrop(rng, side)
    picture = figure.rgba[..., :3] + ground * (1 - figure.rgba[..., 3:])
    return Portrait(
        toon=one,
        image=lit(picture, rng),
        mask=figure.alpha >= 0.5,
        face=figure.face,
        landmarks=figure.landmarks,
        pose=chosen,
    )


def lit(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light on a picture (H, W, 3) float in [0, 1] -> uint8: its strength, tint and side vary."""
    height, width = picture.shape[:2]
    strength = rng.uniform(0.85, 1.04) * rng.uniform(0.96, 1.04, 3)
    across = np.linspace(-1, 1, width)[None, :, None] * rng.uniform(-0.08, 0.08)
    down = np.linspace(-1, 1, height)[:, None, None] * rng.uniform(-0.05, 0.05)
    light = (strength * (1 + across + down)).astype(np.float32)
    return (np.clip(picture * light, 0, 1) * 255 + 0.5).astype(np.uint8)
