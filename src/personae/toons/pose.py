"""Poses: everything about a toon that may change while it stays itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["ACTIONS", "EXPRESSIONS", "WORN", "Pose", "another_pose", "pose"]

EXPRESSIONS = ("smile", "laugh", "neutral", "surprise", "sad")
ACTIONS = ("waving", "cheering", "holding a balloon", "holding a flag")
WORN = ("scarf", "cape", "wings", "medal")


@dataclass(frozen=True)
class Pose:
    """How a toon holds itself for one picture.

    ``turn`` of the head in [-1, 1] (-1: to the left of the picture), ``tilt`` of the head and
    ``lean`` of the body in radians, ``gaze`` x and y in [-1, 1], ``arms`` a small change of both
    arms in radians, ``side`` the arm that acts (-1 left of the picture, 1 right).
    """

    expression: str = "smile"
    turn: float = 0.0
    tilt: float = 0.0
    lean: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    blink: bool = False
    arms: float = 0.0
    side: int = 1
    action: str | None = None
    wears: str | None = None


def pose(rng: np.random.Generator, action: str | None = None, wears: str | None = None) -> Pose:
    """A pose at random; action and worn thing as asked for."""
    return Pose(
        expression=EXPRESSIONS[int(rng.integers(len(EXPRESSIONS)))],
        turn=float(rng.uniform(-1, 1)),
        tilt=float(rng.normal(0, 0.10)),
        lean=float(rng.normal(0, 0.03)),
        gaze=(float(rng.uniform(-1, 1)), float(rng.uniform(-0.6, 0.6))),
        blink=bool(rng.random() < 0.05),
        arms=float(rng.uniform(-0.25, 0.35)),
        side=1 if rng.random() < 0.5 else -1,
        action=action,
        wears=wears,
    )


def another_pose(rng: np.random.Generator, than: Pose) -> Pose:
    """A pose for a reference: another expression, the head turned visibly otherwise.

    So a model that copies the reference into its picture has not drawn what was asked for.

    >>> first = Pose(turn=0.5)
    >>> other = another_pose(np.random.default_rng(0), first)
    >>> other.expression != first.expression and abs(other.turn - first.turn) >= 0.5
    True
    """
    while True:
        other = pose(rng)
        if other.expression != than.expression and abs(other.turn - than.turn) >= 0.5:
            return other
