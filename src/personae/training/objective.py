"""Flow matching: what the model is asked, and at which times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from personae.diffusion.backbone import Backbone, Context
from personae.errors import RequestError
from personae.training.batches import Batch

__all__ = ["Times", "flow_matching_loss", "loss_by_time", "sample_times"]


@dataclass(frozen=True, kw_only=True)
class Times:
    """From which times the model learns; t = 1 is noise.

    Attributes:
        kind: ``logit-normal`` puts most weight in the middle, where it is hardest; ``uniform``.
        mean: of the logit; 0 is symmetric, above 0 leans to noise.
        std: of the logit.
        shift: s of t -> s t / (1 + (s - 1) t); above 1 leans to noise, for large pictures.
    """

    kind: Literal["logit-normal", "uniform"] = "logit-normal"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0

    def __post_init__(self) -> None:
        if self.std <= 0 or self.shift <= 0:
            raise RequestError(
                f"times: expected std and shift above 0; got {self.std} and {self.shift}"
            )


def sample_times(normal: Tensor, times: Times) -> Tensor:
    r"""Times in (0, 1) made of standard normal numbers, any shape.

    .. math:: t = \sigma(m + s z), \qquad t' = \frac{\alpha t}{1 + (\alpha - 1) t}

    the first the logit-normal density :math:`\pi_{ln}(t; m, s)` of Esser et al. (2024), Scaling
    Rectified Flow Transformers, eq. 19, the second its shift for the resolution, eq. 23. Uniform
    times are the normal distribution function of the same numbers.

    >>> sample_times(torch.tensor([-1.0, 0.0, 1.0]), Times(shift=3.0))
    tensor([0.5246, 0.7500, 0.8908])
    """
    if times.kind == "uniform":
        plain = 0.5 * (1 + torch.erf(normal / 2**0.5))
    else:
        plain = torch.sigmoid(times.mean + times.std * normal)
    plain = plain.clamp(1e-5, 1 - 1e-5)
    return times.shift * plain / (1 + (times.shift - 1) * plain)


def flow_matching_loss(
    backbone: Backbone, batch: Batch, time: Tensor, noise: Tensor, text: Tensor | None = None
) -> Tensor:
    r"""How wrong the model is about each example, (B,) float32, 0 or more; lower is better.

    .. math:: \ell_i = \mathrm{mean}\,\| f(x_t, t, c_i) - (\epsilon - x_0) \|^2,
              \qquad x_t = (1 - t) x_0 + t \epsilon

    with f the backbone's prediction and c the prompt and the references in context; another
    family may mix and aim otherwise, and says so in its `mix` and `target`. Gradients flow into
    the denoiser, and into the text encoder where its parameters require them.

    Source: Lipman et al. (2023), Flow Matching for Generative Modeling, eq. 23, with their time
    turned around as in FLUX.

    Args:
        backbone: what is trained.
        batch: B examples.
        time: (B,) in (0, 1].
        noise: (B, C, h, w).
        text: (B, L, D) embedded prompts, where they are there already.
    """
    if text is None:
        text = backbone.encode_tokens(batch.tokens, batch.mask)
    context = Context(text, batch.references)
    mixed = backbone.mix(batch.image, noise, time)
    prediction = backbone.predict(mixed, time, context)
    target = backbone.target(batch.image, noise, time)
    return (prediction.float() - target.float()).square().flatten(1).mean(dim=1)


def loss_by_time(loss: Tensor, time: Tensor, num_buckets: int = 4) -> list[float | None]:
    """Mean loss in equal spans of time, from the picture's end to the noise's; None: no example.

    >>> loss_by_time(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0.1, 0.2, 0.9]))
    [2.0, None, None, 5.0]
    """
    place = (time * num_buckets).long().clamp_max(num_buckets - 1)
    sums = torch.zeros(num_buckets, dtype=torch.float64).index_add_(0, place, loss.double())
    counts = torch.bincount(place, minlength=num_buckets)
    pairs = zip(sums.tolist(), counts.tolist(), strict=True)
    return [round(total / count, 6) if count else None for total, count in pairs]
