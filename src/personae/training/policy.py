"""The policy's loss: how much likelier the new weights make what the old ones drew, with a clip."""

from __future__ import annotations

import torch
from torch import Tensor

from personae.diffusion.stochastic import NoisyStep

__all__ = ["approximate_kl", "clip_fraction", "clipped_loss", "guarded_log_ratio"]


def clipped_loss(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    r"""(B,) the loss of PPO and GRPO; lower is better.

    .. math:: \max\big( -A r, \; -A \, \mathrm{clip}(r, 1 - c, 1 + c) \big), \qquad
              r = \exp(\log p_{new} - \log p_{old})

    A picture that is already likelier than by the clip (A above 0), or less likely (A below 0),
    has no gradient. An advantage of 0 gives a loss and a gradient of exactly 0.

    Source: Schulman et al. 2017, arXiv 1707.06347, Eq. 7; Flow-GRPO (2505.05470) with c = 1e-4,
    since log-probabilities are means over elements there and here.

    >>> clipped_loss(torch.tensor([0.0, 0.5, 0.5]), torch.tensor([1.0, 1.0, -1.0]), 0.1)
    tensor([-1.0000, -1.1000,  1.6487])
    """
    ratio = log_ratio.exp()
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip))


def guarded_log_ratio(step: NoisyStep, sample: Tensor, old_mean: Tensor, mean: Tensor) -> Tensor:
    r"""(B,) log-ratio whose mean is 0 and whose size does not hang on the step's noise.

    .. math:: \log \hat r = s \Big( \log r + \frac{\|\mu - \mu_{old}\|^2}{2 s^2} \Big)
        = \frac{\mathrm{mean}\big( (x' - \mu_{old}) (\mu - \mu_{old}) \big)}{s}

    GRPO-Guard (arXiv 2510.22319) writes the first, with s the standard deviation of the step's
    noise; the second is the same for a Gaussian and loses no digits. Plain ratios are 1 or less
    on average, by more where there is little noise, so that a clip from above hardly acts. With
    it goes a loss divided by the step's time, so that each step's gradient is of one size.

    Args:
        step: with noise.
        sample: (B, ...) what the old weights drew.
        old_mean: (B, ...) where they led.
        mean: (B, ...) where the new ones lead; gradients flow.
    """
    product = (sample - old_mean) * (mean - old_mean)
    return product.flatten(1).mean(1) / step.spread


def clip_fraction(log_ratio: Tensor, clip: float) -> Tensor:
    """(B,) 1 where the ratio lies outside of 1 - clip to 1 + clip, else 0.

    Users of Flow-GRPO aim at means of 0.1 to 0.3 once there are several updates a step.
    """
    return ((log_ratio.detach().exp() - 1).abs() > clip).float()


def approximate_kl(log_ratio: Tensor) -> Tensor:
    r"""(B,) float64 estimate of how far the new policy is from the old: r - 1 - log r, 0 or more.

    Unbiased for pictures of the old policy, by an element (J. Schulman, Approximating KL
    Divergence, 2020, k3).
    """
    told = log_ratio.detach().double()
    return told.expm1() - told
