"""Finds: what the reference-guided detector keeps, and the settings it decides by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personae.vision.detectors.candidates import containment, iou_matrix

__all__ = ["Find", "GuidedConfig", "suppressed"]


@dataclass(frozen=True, kw_only=True)
class GuidedConfig:
    """Settings of the reference-guided detector; chosen on tuning collages (docs/numbers.md)."""

    long_side_px: int = 640
    """The picture is brought to this long side before it is looked at."""
    rehearsals: int = 8
    """Practice pictures a subject."""
    candidates: int = 8
    """Boxes a subject that are embedded."""
    threshold: float = 0.45
    """Lowest cosine to the nearest reference that counts as found."""
    leak_weight: float = 0.4
    """How much a box loses for cutting through its subject."""
    fill_weight: float = 0.2
    """How much a box gains by being full of its subject."""
    same_iou: float = 0.2
    """Two boxes of one subject that overlap more are one find."""
    same_containment: float = 0.5
    """So are two of which the smaller lies this much inside the other."""
    other_iou: float = 0.6
    """Boxes of two subjects that overlap more are one thing: the surer one."""
    seed: int = 0
    """Seed of the rehearsals."""


@dataclass(frozen=True, eq=False)
class Find:
    """A box (4,) xyxy in pixels, how sure, and whose."""

    box: np.ndarray
    score: float
    subject: str


def _clash(first: Find, second: Find, config: GuidedConfig) -> bool:
    """Whether two finds are one thing."""
    boxes = first.box[None], second.box[None]
    iou = float(iou_matrix(*boxes).item())
    if first.subject != second.subject:
        return iou > config.other_iou
    inside = float(containment(*boxes).item())
    return iou > config.same_iou or inside > config.same_containment


def suppressed(finds: Sequence[Find], config: GuidedConfig) -> list[Find]:
    """The finds that clash with no surer one, surest first."""
    kept: list[Find] = []
    for find in sorted(finds, key=lambda item: -item.score):
        if not any(_clash(find, other, config) for other in kept):
            kept.append(find)
    return kept
