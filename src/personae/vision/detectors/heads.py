"""Heads: where in a dense map each subject is, by ridge regression in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Evidence", "fit_heads", "gather_evidence", "posterior"]

# Background places are many and alike: each weighs less than a place of the subject.
_BACKGROUND_WEIGHT = 0.6


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one subject's rehearsals say; evidence of several subjects adds up.

    ``gram`` (C + 1, C + 1) is the weighted sum of x x^T over the places' features x (with a 1
    appended), ``toward`` (C + 1,) that of x y with y the share of the place that the subject
    covers, ``weight`` the sum of the weights.
    """

    gram: Tensor
    toward: Tensor
    weight: float


def _with_one(dense: Tensor) -> Tensor:
    """(C, h, w) -> (h w, C + 1), the last column 1."""
    flat = dense.flatten(1).T
    return torch.cat([flat, flat.new_ones(len(flat), 1)], dim=1)


def gather_evidence(maps: Sequence[Tensor], masks: Sequence[Tensor]) -> Evidence:
    """Evidence from dense maps (C, h, w) and the subject's masks (h s, w s) float in [0, 1]."""
    gram, toward, weight = torch.zeros(()), torch.zeros(()), 0.0
    for dense, mask in zip(maps, masks, strict=True):
        cover = F.adaptive_avg_pool2d(mask[None], (dense.shape[-2], dense.shape[-1])).flatten()
        row_weight = torch.where(cover > 0.05, 1.0, _BACKGROUND_WEIGHT)
        rows = _with_one(dense)
        weighted = rows * row_weight[:, None]
        gram, toward = gram + weighted.T @ rows, toward + weighted.T @ cover
        weight += float(row_weight.sum())
    return Evidence(gram, toward, weight)


def fit_heads(evidence: Sequence[Evidence], ridge: float = 0.1) -> Tensor:
    r"""One linear head a subject: (C + 1, K).

    .. math:: W = \left(\sum_k G_k + \rho n I\right)^{-1} [t_1, \dots, t_K]

    The gram is summed over all subjects of the cast, so each one's places tell the others'
    heads where *not* to fire: that keeps two touching subjects apart.
    """
    gram = torch.stack([item.gram for item in evidence]).sum(0).double()
    weight = sum(item.weight for item in evidence)
    toward = torch.stack([item.toward for item in evidence], dim=1).double()
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    heads: Tensor = torch.linalg.solve(gram + ridge * weight * identity, toward)
    return heads.float()


def posterior(dense: Tensor, heads: Tensor) -> Tensor:
    """(C, h, w) and (C + 1, K) -> (K, h, w) in [0, 1]: how much each place is of each subject."""
    values = _with_one(dense) @ heads
    return values.T.reshape(-1, *dense.shape[-2:]).clamp(0.0, 1.0)
