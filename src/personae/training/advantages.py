"""How much better a picture is than its siblings: what a policy's gradient is weighted by.

Rewards are (G, n): G groups, one a prompt, of n pictures each. NaN, or anything else that is not
finite, is a picture that could not be measured: it counts in no mean and has the advantage 0. A
group of equals, or with fewer than two measured pictures, has only zeros.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = [
    "global_advantages",
    "group_advantages",
    "group_spread",
    "per_reward_advantages",
]

_EPSILON = 1e-4  # Flow-GRPO's, for rewards of about 1


def group_advantages(rewards: Tensor, limit: float) -> Tensor:
    r"""(G, n) float32: distance to the group's mean in its own standard deviations.

    .. math:: A_i = \mathrm{clip}\Big( \frac{r_i - \mathrm{mean}_g}{\mathrm{std}_g + 10^{-4}},
              \pm \mathrm{limit} \Big)

    GRPO (arXiv 2402.03300); DanceGRPO (2505.07818) with 1e-8. Standard deviations are those of
    the pictures at hand, with n and not n - 1.

    >>> group_advantages(torch.tensor([[1.0, 3.0, torch.nan], [2.0, 2.0, 2.0]]), 5.0).round()
    tensor([[-1., 1., 0.],
            [ 0., 0., 0.]])
    """
    centered, measured = _centered(rewards)
    scale = _std(centered, measured)[:, None] + _EPSILON
    return (centered / scale).clamp(-limit, limit).float()


def global_advantages(rewards: Tensor, limit: float) -> Tensor:
    r"""(G, n) float32: distance to the group's mean in standard deviations of all rewards.

    A group whose pictures hardly differ then counts little. Flow-GRPO's default
    (arXiv 2505.05470), where ``std`` is that of the raw rewards of all groups.

    >>> global_advantages(torch.tensor([[1.0, 3.0], [2.0, 2.5]]), 5.0)
    tensor([[-1.3521,  1.3521],
            [-0.3380,  0.3380]])
    """
    centered, measured = _centered(rewards)
    held = rewards.double()[measured]
    scale = held.std(correction=0) if len(held) else held.sum()
    return (centered / (scale + _EPSILON)).clamp(-limit, limit).float()


def per_reward_advantages(
    rewards: Mapping[str, Tensor], weights: Mapping[str, float], measured: Tensor, limit: float
) -> Tensor:
    r"""(G, n) float32: each reward in its group's standard deviations, weighted, summed, whitened.

    .. math:: z_{k,i} = \frac{r_{k,i} - \mathrm{mean}_g}{\mathrm{std}_g + 10^{-4}}, \quad
              S_i = \sum_k w_k z_{k,i}, \quad A_i = \frac{S_i}{\mathrm{std}(S) + 10^{-4}}

    so that a reward counts by its weight and not by its scale (GDPO, arXiv 2601.05242). The mean
    of S over the batch, which GDPO takes off, is 0 as each z has mean 0 in each group.

    Args:
        rewards: (G, n) by name; NaN where this reward says nothing of a picture.
        weights: of each.
        measured: (G, n) bool, the pictures that count.
        limit: of the absolute value.
    """
    total = torch.zeros(measured.shape, dtype=torch.float64, device=measured.device)
    for name, values in rewards.items():
        centered, held = _centered(values.masked_fill(~measured, torch.nan))
        total += weights[name] * centered / (_std(centered, held)[:, None] + _EPSILON)
    held = total[measured]
    scale = held.square().mean().sqrt() if len(held) else held.sum()
    return (total / (scale + _EPSILON)).clamp(-limit, limit).float()


def group_spread(rewards: Tensor) -> Tensor:
    """(G,) standard deviation in each group, NaN where fewer than two pictures were measured."""
    centered, measured = _centered(rewards)
    return _std(centered, measured).masked_fill(measured.sum(1) < 2, torch.nan)


def _centered(rewards: Tensor) -> tuple[Tensor, Tensor]:
    """(G, n) float64 less the group's mean, exactly 0 where it says nothing; who was measured."""
    measured = rewards.isfinite()
    held = rewards.double().masked_fill(~measured, 0)
    mean = held.sum(1, keepdim=True) / measured.sum(1, keepdim=True).clamp_min(1)
    first = held.gather(1, measured.int().argmax(1, keepdim=True))
    equal = ((held == first) | ~measured).all(1, keepdim=True)
    return (held - mean).masked_fill(~measured | equal, 0), measured


def _std(centered: Tensor, measured: Tensor) -> Tensor:
    """(G,) of deviations from the group's mean."""
    return (centered.square().sum(1) / measured.sum(1).clamp_min(1)).sqrt()
