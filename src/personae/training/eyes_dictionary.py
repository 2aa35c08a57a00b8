"""Fitting a `Dictionary`: whitened patches and their centers, from crops alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from personae.vision.toons.networks import Dictionary

__all__ = ["fit_dictionary", "k_means", "patches_of"]

_EVEN = 0.003  # added to the variance of every direction, so that faint ones are not blown up


def patches_of(crops: Tensor, side: int, count: int, rng: np.random.Generator) -> Tensor:
    """(count, 3 * side * side): patches at random places of (B, 3, H, W) crops in [0, 1]."""
    which = rng.integers(len(crops), size=count)
    tops, lefts = (rng.integers(extent - side + 1, size=count) for extent in crops.shape[2:])
    parts = [
        crops[i, :, top : top + side, left : left + side].flatten()
        for i, top, left in zip(which, tops, lefts, strict=True)
    ]
    return torch.stack(parts)


def k_means(points: Tensor, count: int, rng: np.random.Generator, rounds: int = 12) -> Tensor:
    """(count, D) centers of (N, D) points by Lloyd's rounds from points drawn at random."""
    centers = points[torch.from_numpy(rng.permutation(len(points))[:count])].clone()
    for _ in range(rounds):
        nearest = (points @ centers.T - centers.square().sum(1) / 2).argmax(1)
        sums = torch.zeros_like(centers).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)[:, None]
        centers = torch.where(sizes > 0, sums / sizes.clamp(min=1), centers)
    return centers


def fit_dictionary(
    dictionary: Dictionary, crops: Tensor, seed: int, num_patches: int = 40_000
) -> None:
    r"""Set filters and offsets, so that a plain convolution gives what the card of it says.

    With patches x, mean m, covariance :math:`U \Lambda U^T`, whitened
    :math:`z = W (x - m),\ W = (\Lambda + \epsilon)^{-1/2} U^T`, and centers c: filters
    :math:`c^T W` with offsets :math:`-c^T W m - |c|^2 / 2`, which is :math:`-d^2 / 2` but for
    what all centers share, and the rows of W that vary most, with :math:`-W m`.
    """
    rng = np.random.default_rng([seed, 7])
    filters, offsets = dictionary.get_buffer("filters"), dictionary.get_buffer("offsets")
    points = patches_of(crops, filters.shape[-1], num_patches, rng).double()
    mean = points.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(points.T))
    whiten = (vectors / (values + _EVEN).sqrt()).T
    centers = k_means((points - mean) @ whiten.T, dictionary.centers, rng)
    linear = whiten.flip(0)[: len(offsets) - dictionary.centers]
    rows = torch.cat([centers @ whiten, linear])
    shift = -(rows @ mean)
    shift[: len(centers)] -= centers.square().sum(1) / 2
    filters.copy_(rows.view_as(filters))
    offsets.copy_(shift)
