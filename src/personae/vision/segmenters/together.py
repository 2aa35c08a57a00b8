"""Cutting one subject out of all its photos together, with no mask and no word to start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.subjects.box import Box
from personae.subjects.mask import mask_iou
from personae.vision.detectors.foreground import likely_places
from personae.vision.detectors.heads import Evidence, fit_heads, gather_evidence, posterior
from personae.vision.protocols import Segmenter
from personae.vision.segmenters.grabcut import main_part

__all__ = ["TogetherConfig", "segmented_together"]


@dataclass(frozen=True, kw_only=True)
class TogetherConfig:
    """Settings of `segmented_together`; chosen on twenty photos (docs/numbers.md)."""

    long_side_px: int = 480
    """The photos are brought to this long side before the backbone looks at them."""
    rounds: int = 4
    """How often the photos teach each other, at most; the last time with the good segmenter."""
    margin: float = 0.1
    """The subject is first looked for in a box that leaves this share of the photo on each side."""
    settled: float = 0.99
    """Rounds end when no mask's overlap with the one before is lower."""
    peak: float = 0.97
    """The quantile of a map that counts as certain."""


def segmented_together(
    images: Sequence[np.ndarray],
    dense: Callable[[np.ndarray], Tensor],
    segmenter: Segmenter,
    middles: Sequence[np.ndarray | None] | None = None,
    known: Sequence[np.ndarray | None] | None = None,
    drafter: Segmenter | None = None,
    config: TogetherConfig | None = None,
) -> list[np.ndarray]:
    """Masks (H, W) bool of one subject in its photos (H, W, 3) uint8; all False where none is.

    A mask may have several parts; only its main one (`main_part`) teaches the other photos.

    The first masks are cut in a box around the photo's middle, or where ``middles`` say more, from
    what tells those from the borders (`likely_places`). Then, round after round, where the subject
    is in a photo is told by a ridge head that was fitted to the masks of the *other* photos, and
    the segmenter cuts again: an error that one photo makes is not made by the others, and goes. A
    single photo teaches itself.

    Args:
        images: the photos.
        dense: makes a photo's feature map (C, h, w).
        segmenter: cuts, from a map of how likely each place is.
        middles: where the subject is for sure, (H, W) bool a photo, in every round; None: the
            middle, and only to begin with.
        known: masks (H, W) bool that are given and stay; None: to be found.
        drafter: cuts, faster, in all rounds but the last; None: the segmenter.
        config: settings.
    """
    chosen = config or TogetherConfig()
    maps = [dense(image) for image in images]
    fixed = list(known or [None] * len(maps))
    told = [
        mask if mask is not None else middle
        for mask, middle in zip(fixed, middles or [None] * len(maps), strict=True)
    ]
    starts = [
        None if mask is None else _covered(mask, places) > 0.5
        for mask, places in zip(told, maps, strict=True)
    ]
    sure = [start if mask is None else None for start, mask in zip(starts, fixed, strict=True)]
    masks = _first_masks(images, maps, starts, fixed, drafter or segmenter, chosen.margin)
    for _ in range(chosen.rounds - 1):
        before = masks
        likely = _with_sure(_taught_by_others(maps, before, chosen.peak), sure)
        masks = _cut(images, likely, drafter or segmenter, fixed)
        if min(mask_iou(a, b) for a, b in zip(before, masks, strict=True)) >= chosen.settled:
            break
    likely = _with_sure(_taught_by_others(maps, masks, chosen.peak), sure)
    return _cut(images, likely, segmenter, fixed)


def _with_sure(likely: Sequence[Tensor], sure: Sequence[Tensor | None]) -> list[Tensor]:
    """The maps (h, w), 1 where (h, w) bool says that the subject is there for sure."""
    return [
        places if there is None else torch.where(there, torch.ones_like(places), places)
        for places, there in zip(likely, sure, strict=True)
    ]


def _first_masks(
    images: Sequence[np.ndarray],
    maps: Sequence[Tensor],
    starts: Sequence[Tensor | None],
    fixed: Sequence[np.ndarray | None],
    segmenter: Segmenter,
    margin: float,
) -> list[np.ndarray]:
    told = [start is not None for start in starts]
    likely = _with_sure(likely_places(maps, starts), starts) if any(told) else list(maps)
    wheres: list[Box | np.ndarray] = [
        np.asarray(places.cpu().numpy()) if here else _middle_box(image, margin)
        for image, places, here in zip(images, likely, told, strict=True)
    ]
    return [
        segmenter.segment(image, where) if mask is None else mask
        for image, where, mask in zip(images, wheres, fixed, strict=True)
    ]


def _middle_box(image: np.ndarray, margin: float) -> Box:
    height, width = image.shape[:2]
    across, down = margin * width, margin * height
    return Box(across, down, width - across, height - down)


def _cut(
    images: Sequence[np.ndarray],
    likely: Sequence[Tensor],
    segmenter: Segmenter,
    fixed: Sequence[np.ndarray | None],
) -> list[np.ndarray]:
    return [
        segmenter.segment(image, np.asarray(places.cpu().numpy())) if mask is None else mask
        for image, places, mask in zip(images, likely, fixed, strict=True)
    ]


def _covered(mask: np.ndarray, dense: Tensor) -> Tensor:
    """How much of each place of a map (C, h, w) a mask (H, W) covers: (h, w) in [0, 1]."""
    cover = torch.from_numpy(mask.astype(np.float32)).to(dense.device)
    return F.adaptive_avg_pool2d(cover[None], (dense.shape[-2], dense.shape[-1]))[0]


def _taught_by_others(
    maps: Sequence[Tensor], masks: Sequence[np.ndarray], peak: float
) -> list[Tensor]:
    """How likely each place is of the subject, by the masks of all photos but its own."""
    evidence = [
        gather_evidence([dense], [_covered(main_part(mask), dense)])
        for dense, mask in zip(maps, masks, strict=True)
    ]
    likely = []
    for index, dense in enumerate(maps):
        others = evidence[:index] + evidence[index + 1 :] or evidence
        raw = posterior(dense, fit_heads([_sum(others)]))[0]
        likely.append((raw / raw.flatten().quantile(peak).clamp(min=1e-3)).clamp(0, 1))
    return likely


def _sum(evidence: Sequence[Evidence]) -> Evidence:
    return Evidence(
        torch.stack([item.gram for item in evidence]).sum(0),
        torch.stack([item.toward for item in evidence]).sum(0),
        sum(item.weight for item in evidence),
    )
