r"""Sampling steps with noise: what a flow's step becomes when its sampler is to be a policy.

A step from time t to t' is linear in the latent x and in the velocity v that the model says there:

.. math:: x' = a x + b v + s \epsilon, \qquad \epsilon \sim N(0, I)

so that a, b and s are all that is to be known of it. Times as in `personae.diffusion.flow`: 1 is
noise, 0 is the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from personae.errors import RequestError

__all__ = [
    "NoisyStep",
    "StepKind",
    "log_probability",
    "log_ratio",
    "noisy_step",
    "step_mean",
    "step_sample",
    "velocity_kl",
]

StepKind = Literal["flow", "dance", "cps"]


@dataclass(frozen=True)
class NoisyStep:
    """One step of a sampler, as numbers.

    Attributes:
        x_scale: a, of the latent.
        v_scale: b, of the velocity.
        spread: s, standard deviation of the noise; 0 is a step of the ODE.
        span: t - t', how much time it takes, above 0.
        sharpness: what a squared distance to the mean takes off the log-probability:
            1 / (2 s^2) for a Gaussian, 1 in `cps` as published.
        log_peak: the log-probability at the mean: -log(s sqrt(2 pi)), and 0 in `cps`.
    """

    x_scale: float
    v_scale: float
    spread: float
    span: float
    sharpness: float
    log_peak: float


def noisy_step(kind: StepKind, noise: float, here: float, there: float) -> NoisyStep:
    r"""The step from time ``here`` to ``there``.

    ``flow`` and ``dance`` follow the reverse SDE whose latents are distributed as the ODE's at
    every time, with score :math:`-(x + (1 - t) v) / t` and dt = t' - t below 0:

    .. math:: a = 1 + \frac{\sigma^2}{2 t} dt, \quad
              b = \Big(1 + \frac{\sigma^2 (1 - t)}{2 t}\Big) dt, \quad s = \sigma \sqrt{-dt}

    - ``flow``: :math:`\sigma = \eta \sqrt{t / (1 - t)}` (Flow-GRPO, arXiv 2505.05470); at t = 1
      the denominator is 1 - t', as in its program.
    - ``dance``: :math:`\sigma = \eta` (DanceGRPO, arXiv 2505.07818).
    - ``cps``: :math:`x' = (1 - t') \hat x_0 + \sqrt{t'^2 - s^2} \, \hat x_1 + s \epsilon` with
      :math:`s = t' \sin(\eta \pi / 2)` (Coefficients-Preserving Sampling, arXiv 2509.05952). It
      does *not* keep the marginals: pictures are cleaner, and less spread than the data however
      many steps there are.

    Args:
        kind: whose.
        noise: eta, 0 or more, at most 1 in ``cps``; 0 is Euler's step. Their own: 0.7 in
            ``flow`` (0.9 for FLUX), 0.3 in ``dance``, 0.7 or 0.8 in ``cps``.
        here: t, in (0, 1].
        there: t', in [0, t).

    Raises:
        RequestError: times in another order, or noise outside of its range.

    >>> step = noisy_step("flow", 0.7, 0.75, 0.5)
    >>> round(step.x_scale, 4), round(step.v_scale, 4), round(step.spread, 4)
    (0.755, -0.3112, 0.6062)
    """
    if not 0 <= there < here <= 1:
        raise RequestError(f"a step from time {here} to {there}: expected 1 >= t > t' >= 0")
    if noise < 0 or (kind == "cps" and noise > 1):
        raise RequestError(f"noise {noise}: expected 0 or more, and at most 1 for cps")
    span = here - there
    if noise == 0:
        return NoisyStep(1.0, -span, 0.0, span, 0.0, 0.0)
    if kind == "cps":
        spread = there * math.sin(noise * math.pi / 2)
        kept = math.sqrt(there**2 - spread**2)
        scales = (1 - there + kept, kept * (1 - here) - (1 - there) * here)
        return NoisyStep(*scales, spread, span, 1.0, 0.0)
    rest = 1 - (there if here == 1 else here)
    sigma = noise if kind == "dance" else noise * math.sqrt(here / rest)
    pull = sigma**2 / (2 * here)
    spread = sigma * math.sqrt(span)
    peak = -math.log(spread) - 0.5 * math.log(2 * math.pi)
    scales = (1 - pull * span, -(1 + pull * (1 - here)) * span)
    return NoisyStep(*scales, spread, span, 1 / (2 * spread**2), peak)


def step_mean(step: NoisyStep, x: Tensor, velocity: Tensor) -> Tensor:
    """(B, ...) where the step leads without its noise: a x + b v, in float32 or finer."""
    return step.x_scale * _wide(x) + step.v_scale * _wide(velocity)


def step_sample(step: NoisyStep, mean: Tensor, noise: Tensor) -> Tensor:
    """(B, ...) the next latent, of a mean and standard normal numbers."""
    return mean + step.spread * _wide(noise) if step.spread else mean


def log_probability(step: NoisyStep, sample: Tensor, mean: Tensor) -> Tensor:
    r"""(B,) log-probability of a step, the *mean* over elements as in Flow-GRPO's program.

    .. math:: \frac{1}{d} \log p = \mathrm{mean}\Big( -\frac{(x' - \mu)^2}{2 s^2} - \log s
              - \tfrac{1}{2} \log 2 \pi \Big)

    With the sum, ratios of two policies would leave any clip range at the first step; that is why
    clip ranges are as small as 1e-4. In ``cps`` it is -(x' - mu)^2 without the rest.

    Raises:
        RequestError: the step has no noise.
    """
    _require_noise(step)
    return step.log_peak - step.sharpness * _mean((_wide(sample) - _wide(mean)).square())


def log_ratio(step: NoisyStep, sample: Tensor, old_mean: Tensor, mean: Tensor) -> Tensor:
    r"""(B,) log-probability under ``mean`` less that under ``old_mean``, mean over elements.

    .. math:: \frac{1}{2 s^2} \mathrm{mean}\big( (\mu - \mu_{old}) (2 x' - \mu - \mu_{old}) \big)

    the difference of the two squares as a product: nothing cancels, and where the two means are
    the same to the bit it is exactly 0.

    Raises:
        RequestError: the step has no noise.
    """
    _require_noise(step)
    sample, old_mean, mean = _wide(sample), _wide(old_mean), _wide(mean)
    return step.sharpness * _mean((mean - old_mean) * (2 * sample - mean - old_mean))


def velocity_kl(step: NoisyStep, velocity: Tensor, reference: Tensor) -> Tensor:
    r"""(B,) Kullback-Leibler divergence of two steps from one latent, mean over elements; >= 0.

    .. math:: \frac{b^2}{2 s^2} \mathrm{mean}\, \| v - v_{ref} \|^2
        = \frac{|dt|}{2} \Big( \frac{\sigma (1 - t)}{2 t} + \frac{1}{\sigma} \Big)^2
          \mathrm{mean}\, \| v - v_{ref} \|^2

    exact for Gaussians of one spread, whichever way round (UniRef, arXiv 2602.14186, Eq. 9).
    Flow-GRPO's program divides by sigma instead of s, which leaves dt out.

    Raises:
        RequestError: the step has no noise.
    """
    _require_noise(step)
    factor = step.v_scale**2 / (2 * step.spread**2)
    return factor * _mean((_wide(velocity) - _wide(reference)).square())


def _require_noise(step: NoisyStep) -> None:
    if step.spread == 0:
        raise RequestError(
            "a step without noise has no probability; expected noise above 0, and for cps a step "
            "that does not end at time 0"
        )


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def _wide(x: Tensor) -> Tensor:
    """In float32, or float64 where it is that already; half precision overflows here."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
