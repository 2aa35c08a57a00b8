r"""Diffusion that keeps variance, at the discrete times its network was trained at.

Ho et al., Denoising Diffusion Probabilistic Models (2020): with :math:`\bar\alpha_k` falling over
k = 0 .. N - 1,

.. math:: x_k = \sqrt{\bar\alpha_k} x_0 + \sqrt{1 - \bar\alpha_k} \epsilon

The project's time runs continuously from 1 (noise) to 0 (picture). A time t in (0, 1] is training
step :math:`k = \lceil t N \rceil - 1`, so that t = (k + 1) / N is exactly step k; t = 0 is the
picture itself, with :math:`\bar\alpha = 1`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from personae.errors import RequestError

__all__ = ["PREDICTIONS", "Diffusion", "diffusion_of"]

PREDICTIONS = ("epsilon", "v_prediction")
_ROUNDING = 1e-3  # of a step: (k + 1) / N in float32 times N may lie above k + 1
_LEAST = 2.0**-24  # of alpha-bar, where a schedule ends in pure noise


@dataclass(frozen=True, eq=False)
class Diffusion:
    r"""A noise schedule and what the network says at its times.

    Attributes:
        kept: (N + 1,) float32: 1, then :math:`\bar\alpha_0` to :math:`\bar\alpha_{N-1}`.
        prediction: ``epsilon``: the noise; ``v_prediction``:
            :math:`v = \sqrt{\bar\alpha} \epsilon - \sqrt{1 - \bar\alpha} x_0` (Salimans and Ho
            2022, arXiv 2202.00512, appendix D).
    """

    kept: Tensor
    prediction: str

    def places(self, time: Tensor) -> Tensor:
        """(B,) int64 places in ``kept``: 0 for the picture, k + 1 for training step k.

        >>> schedule = Diffusion(torch.linspace(1, 0.1, 1001), "epsilon")
        >>> schedule.places(torch.tensor([0.0, 0.0004, 0.5, 0.982, 1.0])).tolist()
        [0, 1, 500, 982, 1000]
        """
        last = len(self.kept) - 1
        return (time.double() * last - _ROUNDING).ceil().long().clamp(0, last)

    def scales(self, time: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """How much of the picture, and how much noise there is at a time; to multiply x with."""
        places = self.places(time).to(self.kept.device)
        kept = self.kept[places].to(x.device).view(-1, *[1] * (x.ndim - 1))
        return kept.sqrt().to(x.dtype), (1 - kept).sqrt().to(x.dtype)

    def mix(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The point at a time (B,), (B, C, h, w)."""
        signal, spread = self.scales(time, clean)
        return signal * clean + spread * noise

    def target(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What the network should say of `mix`: the noise, or v."""
        if self.prediction == "epsilon":
            return noise
        signal, spread = self.scales(time, clean)
        return signal * noise - spread * clean

    def estimate(self, x: Tensor, said: Tensor, time: Tensor) -> Tensor:
        """The picture that a prediction at x stands for."""
        signal, spread = self.scales(time, x)
        if self.prediction == "epsilon":
            return (x - spread * said) / signal
        return signal * x - spread * said

    def noise(self, x: Tensor, said: Tensor, time: Tensor) -> Tensor:
        """The noise that a prediction at x stands for."""
        if self.prediction == "epsilon":
            return said
        signal, spread = self.scales(time, x)
        return signal * said + spread * x

    def follow(self, x: Tensor, said: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """A step of DDIM without noise (Song et al. 2021, Eq. 12), which is also Euler's.

        Euler's in x / sqrt(alpha-bar), whose noise has the spread sigma of diffusers.
        """
        return self.mix(self.estimate(x, said, here), self.noise(x, said, here), there)


def diffusion_of(scheduler: Any, name: str) -> Diffusion:
    """The schedule that a diffusers scheduler was made with.

    Raises:
        RequestError: it is no such schedule, or the network predicts something else.
    """
    kept = getattr(scheduler, "alphas_cumprod", None)
    prediction = str(scheduler.config.get("prediction_type", "epsilon"))
    if kept is None or prediction not in PREDICTIONS:
        raise RequestError(
            f"model {name}: its scheduler is a {type(scheduler).__name__} for {prediction}; "
            f"expected one with alphas_cumprod for {' or '.join(PREDICTIONS)}"
        )
    beginning = torch.ones(1)
    table = torch.cat([beginning, kept.detach().float().cpu().clamp_min(_LEAST)])
    return Diffusion(table, prediction)
