"""Trials: how well eyes find faces and tell identities apart, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from personae.subjects.box import Box, pairwise_iou
from personae.training.eyes_album import Album
from personae.vision.calibration import Calibration
from personae.vision.embedders.crops import image_tensor
from personae.vision.faces.align import FaceTemplate, aligned_crops
from personae.vision.faces.embed import FaceEmbedder
from personae.vision.protocols import Detection, FaceDetector

__all__ = [
    "Pairs",
    "Sightings",
    "Verification",
    "auc",
    "calibrated",
    "descriptors",
    "matched",
    "sightings",
    "verification",
    "verification_pairs",
]

_RESAMPLES = 500


@dataclass(frozen=True, eq=False)
class Pairs:
    """K pairs of faces of an album: a scene's against a portrait's.

    ``first`` and ``second`` (K,) face indices; ``kind`` (K,) 0 the same identity, 1 a look-alike,
    2 a stranger; ``family`` (K,) the first one's family, by which intervals are resampled.
    """

    first: np.ndarray
    second: np.ndarray
    kind: np.ndarray
    family: np.ndarray


@dataclass(frozen=True)
class Verification:
    """Areas under the curve, same against others, each (value, low, high), and how many pairs."""

    strangers: tuple[float, float, float]
    look_alikes: tuple[float, float, float]
    num_same: int
    num_look_alikes: int
    num_strangers: int


@dataclass(frozen=True, eq=False)
class Sightings:
    """A picture each: how many faces there are, how many were found, how many finds are faces."""

    true: np.ndarray
    hit: np.ndarray
    found: np.ndarray

    def recall(self, seed: int = 0) -> tuple[float, float, float]:
        """Share of the faces that were found; 95% interval over pictures."""
        return _ratio(self.hit, self.true, seed)

    def precision(self, seed: int = 0) -> tuple[float, float, float]:
        """Share of the finds that are faces; 95% interval over pictures."""
        return _ratio(self.hit, self.found, seed)


def auc(same: np.ndarray, different: np.ndarray) -> float:
    """Share of (same, different) in the right order, ties counted half; in [0, 1].

    >>> auc(np.array([0.9, 0.4]), np.array([0.1, 0.5]))
    0.75
    """
    everything = np.concatenate([same, different])
    _, codes, counts = np.unique(everything, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[codes]
    above = ranks[: len(same)].sum() - len(same) * (len(same) + 1) / 2
    return float(above / (len(same) * len(different)))


def calibrated(same: np.ndarray, strangers: np.ndarray, source: str) -> Calibration:
    r"""Halfway between the 5th percentile of the same and the 95th of strangers; the rest from it.

    The median of the same comes to 0.95. With eyes that hardly ever err, halfway between medians
    (`fit_calibration`) would let one stranger in twenty pass for present.

    >>> made = calibrated(np.linspace(0.6, 1, 101), np.linspace(-0.2, 0.2, 101), "made up")
    >>> round(made.midpoint, 3), round(made.width, 3)
    (0.4, 0.136)
    """
    low, high = float(np.percentile(same, 5)), float(np.percentile(strangers, 95))
    midpoint = (low + high) / 2
    width = (float(np.median(same)) - midpoint) / np.log(19)
    return Calibration(round(midpoint, 3), round(float(width), 3), source)


def verification_pairs(album: Album, strangers: int = 10, seed: int = 0) -> Pairs:
    """Every face in a scene with all portraits of itself, of its look-alikes, and of strangers."""
    rng = np.random.default_rng(seed)
    in_scene = album.place[album.picture] >= 0
    known = np.flatnonzero(~in_scene)
    rows = []
    for face in np.flatnonzero(in_scene):
        who = album.who[face]
        family = album.family[who]
        near = known[album.family[album.who[known]] == family]
        far = rng.choice(known, 2 * strangers, replace=False)
        far = far[album.family[album.who[far]] != family][:strangers]
        rows += [(face, other, int(album.who[other] != who), family) for other in near]
        rows += [(face, other, 2, family) for other in far]
    first, second, kind, families = np.array(rows).T
    return Pairs(first, second, kind, families)


def verification(scores: np.ndarray, pairs: Pairs, seed: int = 0) -> Verification:
    """Areas under the curve of (K,) scores; intervals over families. NaN scores are left out."""
    there = np.isfinite(scores)
    return Verification(
        strangers=_area(scores, pairs, there, 2, seed),
        look_alikes=_area(scores, pairs, there, 1, seed),
        num_same=int((there & (pairs.kind == 0)).sum()),
        num_look_alikes=int((there & (pairs.kind == 1)).sum()),
        num_strangers=int((there & (pairs.kind == 2)).sum()),
    )


def _area(
    scores: np.ndarray, pairs: Pairs, there: np.ndarray, other: int, seed: int
) -> tuple[float, float, float]:
    same, different = there & (pairs.kind == 0), there & (pairs.kind == other)
    rng, families = np.random.default_rng(seed), np.unique(pairs.family)
    by_same = [scores[same & (pairs.family == one)] for one in families]
    by_other = [scores[different & (pairs.family == one)] for one in families]
    drawn = []
    for _ in range(_RESAMPLES):
        chosen = rng.integers(len(families), size=len(families))
        resampled = [np.concatenate([part[i] for i in chosen]) for part in (by_same, by_other)]
        if len(resampled[0]) and len(resampled[1]):
            drawn.append(auc(*resampled))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return auc(scores[same], scores[different]), float(low), float(high)


def _ratio(part: np.ndarray, whole: np.ndarray, seed: int) -> tuple[float, float, float]:
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(part), size=(_RESAMPLES, len(part)))
    shares = part[chosen].sum(1) / np.maximum(whole[chosen].sum(1), 1)
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(part.sum() / max(int(whole.sum()), 1)), float(low), float(high)


def matched(found: Sequence[Box], true: Sequence[Box], least_iou: float = 0.5) -> dict[int, int]:
    """Which find is which true box, one-to-one, best overlap first: true index -> found index."""
    pairs: dict[int, int] = {}
    if not (found and true):
        return pairs
    overlap = pairwise_iou(list(true), list(found))
    while overlap.max() >= least_iou:
        line, column = np.unravel_index(overlap.argmax(), overlap.shape)
        pairs[int(line)] = int(column)
        overlap[line], overlap[:, column] = -1, -1
    return pairs


def sightings(
    detector: FaceDetector, images: Sequence[np.ndarray], true: Sequence[Sequence[Box]]
) -> tuple[Sightings, list[list[Detection]]]:
    """Look at every picture, told how many faces to expect; what was found against the truth."""
    seen = [detector.detect(image, len(boxes)) for image, boxes in zip(images, true, strict=True)]
    hits = [
        len(matched([item.box for item in found], boxes))
        for found, boxes in zip(seen, true, strict=True)
    ]
    counts = [np.array([len(item) for item in part]) for part in (true, seen)]
    return Sightings(counts[0], np.array(hits), counts[1]), seen


@torch.no_grad()
def descriptors(
    embedder: FaceEmbedder,
    album: Album,
    landmarks: np.ndarray | None = None,
    batch: int = 64,
) -> Tensor:
    """(V, D): every face of an album, cut out by its true landmarks or by other (V, 5, 2) ones."""
    points = album.row[:, 4:].reshape(-1, 5, 2) if landmarks is None else landmarks
    rows = [
        embedder.embed(
            _crops(album, range(start, min(start + batch, len(points))), points, embedder.template)
        )
        for start in range(0, len(points), batch)
    ]
    return torch.cat(rows)


def _crops(
    album: Album, faces: Sequence[int], points: np.ndarray, template: FaceTemplate
) -> Tensor:
    images = [image_tensor(album.image(int(album.picture[face]))) for face in faces]
    return aligned_crops(
        images, [points[face][None].astype(np.float64) for face in faces], template
    )
