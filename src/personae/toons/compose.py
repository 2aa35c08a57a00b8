"""Composing: where the toons of a scene stand, and what of each remains to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personae.toons.figure import Figure, draw_figure
from personae.toons.identity import Toon
from personae.toons.pen import Pen
from personae.toons.pose import Pose

__all__ = ["Staged", "compose", "stage"]

# Half a head in pixels, by the number of toons: as large as they fit side by side.
_SCALES = {1: (23, 30), 2: (20, 25), 3: (16, 19), 4: (18, 21), 5: (15.5, 18)}
_FEET = 2.62
_HAT = 1.45
_MIN_FACE_SEEN = 0.7


@dataclass(frozen=True, eq=False)
class Staged:
    """A drawn toon and its place; ``depth`` orders them, the highest in front."""

    toon: Toon
    pose: Pose
    figure: Figure
    head: tuple[float, float]
    scale: float
    depth: float
    raised: bool = False


@dataclass(frozen=True)
class _Spot:
    head: tuple[float, float]
    scale: float
    depth: float
    raised: bool = False


def stage(
    rng: np.random.Generator, cast: Sequence[Toon], poses: Sequence[Pose], size: tuple[int, int]
) -> list[Staged]:
    """Draw each toon at its spot; spots are drawn again while a face is mostly hidden.

    Which member stands where is at random, so the order of the names says nothing.
    """
    above = len(cast) == 2 and rng.random() < 0.15
    spots: list[_Spot] = []
    for _ in range(20):
        spots = _stacked(rng, size) if above else _row(rng, len(cast), size)
        if _seen(spots):
            break
    order = rng.permutation(len(cast))
    return [
        Staged(
            toon=cast[i],
            pose=poses[i],
            figure=draw_figure(cast[i], poses[i], size, spots[j].head, spots[j].scale),
            head=spots[j].head,
            scale=spots[j].scale,
            depth=spots[j].depth,
            raised=spots[j].raised,
        )
        for i, j in enumerate(order)
    ]


def _row(rng: np.random.Generator, count: int, size: tuple[int, int]) -> list[_Spot]:
    width, height = size
    slot = width / count
    squeeze = float(rng.uniform(0.72, 0.85)) if count > 1 and rng.random() < 0.25 else 1.0
    spots = []
    for index in range(count):
        scale = float(rng.uniform(*_SCALES[count]))
        x = (index + 0.5 + float(rng.uniform(-0.12, 0.12))) * slot
        x = width / 2 + (x - width / 2) * squeeze
        feet = height * float(rng.uniform(0.93, 1.02))
        y = max(feet - _FEET * scale, _HAT * scale)
        spots.append(_Spot((x, y), scale, depth=feet + float(rng.uniform(-6, 6))))
    return spots


def _stacked(rng: np.random.Generator, size: tuple[int, int]) -> list[_Spot]:
    """One on a plank, one below it; the lower one is in front."""
    width, height = size
    scale = float(rng.uniform(14.5, 15.5))
    high = (width * float(rng.uniform(0.3, 0.7)), height * 0.5 - _FEET * scale)
    low = (width * float(rng.uniform(0.3, 0.7)), height * 0.53 + _HAT * scale)
    return [_Spot(high, scale, 0.0, raised=True), _Spot(low, scale, 1.0)]


def _seen(spots: Sequence[_Spot]) -> bool:
    """Whether enough of every head remains beside the heads before it (as circles)."""
    for spot in spots:
        for other in spots:
            if other.depth > spot.depth:
                apart = float(np.hypot(spot.head[0] - other.head[0], spot.head[1] - other.head[1]))
                if apart < _MIN_FACE_SEEN * (spot.scale + other.scale):
                    return False
    return True


def compose(ground: np.ndarray, staged: Sequence[Staged]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Toons on a background (H, W, 3) float, far ones first.

    Returns the picture (H, W, 3) float in [0, 1] and, in the order of ``staged``, the masks
    (H, W) bool of what of each toon can be seen.
    """
    picture = ground.copy()
    height, width = ground.shape[:2]
    shares = [np.zeros((height, width), np.float32) for _ in staged]
    for index in sorted(range(len(staged)), key=lambda i: staged[i].depth):
        item = staged[index]
        picture = _shadow(picture, item)
        rest = 1 - item.figure.rgba[..., 3]
        picture = picture * rest[..., None] + item.figure.rgba[..., :3]
        shares = [share * rest for share in shares]
        shares[index] = item.figure.alpha
    return picture, [share >= 0.5 for share in shares]


def _shadow(picture: np.ndarray, item: Staged) -> np.ndarray:
    """A soft shadow under the feet; under raised ones, the plank they stand on."""
    x, y = item.head[0], item.head[1] + _FEET * item.scale
    height, width = picture.shape[:2]
    if item.raised:
        return _plank(picture, x, y, item.scale)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    far = ((columns - x) / (0.95 * item.scale)) ** 2 + ((rows - y) / (0.22 * item.scale)) ** 2
    dark = 0.3 * np.clip(1.5 - far, 0, 1)[..., None]
    return (picture * (1 - dark)).astype(np.float32)


def _plank(picture: np.ndarray, x: float, y: float, scale: float) -> np.ndarray:
    height, width = picture.shape[:2]
    pen = Pen.new(width, height, (x, y), scale)
    pen.fill([(-1.9, -0.05), (1.9, -0.05), (1.9, 0.28), (-1.9, 0.28)], (150, 105, 65))
    pen.stroke([(-1.8, 0.1), (1.8, 0.1)], 0.06, (120, 82, 50))
    plank = pen.finished()
    laid: np.ndarray = picture * (1 - plank[..., 3:]) + plank[..., :3]
    return laid
