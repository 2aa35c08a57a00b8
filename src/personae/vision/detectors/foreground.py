"""Where the subject is in references that have no masks: their middles against their borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from personae.vision.detectors.heads import fit_heads, gather_evidence, posterior

__all__ = ["estimated_masks", "likely_places"]

_ROUNDS = 3
# Of the middle's own height; of 0.3, 0.4 and 0.5 the one nearest to the masks of 22 photos.
_LEVEL = 0.3


def _middle_and_border(height: int, width: int) -> tuple[Tensor, Tensor]:
    """An ellipse half as wide as the map, and the outermost tenth: (h, w) bool each."""
    y = (torch.arange(height) + 0.5)[:, None] / height * 2 - 1
    x = (torch.arange(width) + 0.5)[None] / width * 2 - 1
    return torch.hypot(x, y) < 0.5, torch.maximum(x.abs(), y.abs()) > 0.8


def likely_places(
    maps: Sequence[Tensor], middles: Sequence[Tensor | None] | None = None
) -> list[Tensor]:
    """How likely each place of each photo is the subject: (h, w) in [0, 1], from (C, h, w).

    A ridge head first tells the middle from the border, over all photos at once, then is fitted
    again to its own opinion of the rest. ``middles``, (h, w) bool, say where the subject is for
    sure; None, for all or for one: an ellipse half as wide as the photo.
    """
    told = middles or [None] * len(maps)
    zones = [
        (ellipse if middle is None else middle, border)
        for (ellipse, border), middle in zip(
            (_middle_and_border(*dense.shape[-2:]) for dense in maps), told, strict=True
        )
    ]
    guesses = [middle.float() for middle, _ in zones]
    for _ in range(_ROUNDS):
        heads = fit_heads([gather_evidence(maps, guesses)])
        raw = [posterior(dense, heads)[0] for dense in maps]
        peaks = [
            guess[zone[0]].quantile(0.8).clamp(min=1e-3)
            for guess, zone in zip(raw, zones, strict=True)
        ]
        guesses = [
            (guess / peak).clamp(0, 1) * ~(zone[1] & ~zone[0])
            for guess, peak, zone in zip(raw, peaks, zones, strict=True)
        ]
    return guesses


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    if not count:
        return np.ones_like(mask)
    return np.asarray(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax()))


def estimated_masks(
    images: Sequence[np.ndarray], dense: Callable[[np.ndarray], Tensor]
) -> list[np.ndarray]:
    """Masks (H, W) bool for photos (H, W, 3) uint8 of one subject; the whole photo at worst.

    ``dense`` makes a photo's feature map (C, h, w).
    """
    masks = []
    for image, guess in zip(images, likely_places([dense(image) for image in images]), strict=True):
        full = F.interpolate(guess[None, None], image.shape[:2], mode="bilinear")[0, 0]
        masks.append(_largest(full.cpu().numpy() > _LEVEL))
    return masks
