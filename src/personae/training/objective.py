"""What the model is asked, at which times, and how wrong its answer is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from personae.diffusion.backbone import Backbone, Context
from personae.errors import RequestError
from personae.training.batches import Batch

__all__ = [
    "Asked",
    "ObjectiveRecipe",
    "Times",
    "ask",
    "direct_consistency_loss",
    "flow_matching_loss",
    "loss_by_time",
    "masked_error",
    "sample_times",
]


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


@dataclass(frozen=True, kw_only=True)
class ObjectiveRecipe:
    """What is minimized on examples; the defaults are plain denoising.

    Attributes:
        soft_alpha: what a cell outside an example's mask counts, 0 to 1: M (1 - alpha) + alpha.
            1, MuDI's released default, is no mask at all; 0 a hard one.
        dco_beta: sharpness of direct consistency optimization; 0 is none, 1000 the default of
            MuDI's program. Needs an adapter.
        prior_weight: of the loss on priors, where ``data.cast.prior`` names some (MuDI: 1).
        kl_weight: of the mean squared difference to what the model said before this adapter, on
            the same noised picture: the KL term of MuDI's iterative training. Needs an adapter.
    """

    soft_alpha: float = 1.0
    dco_beta: float = 0.0
    prior_weight: float = 1.0
    kl_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.soft_alpha <= 1:
            raise RequestError(f"objective.soft_alpha: expected 0 to 1; got {self.soft_alpha}")
        if min(self.dco_beta, self.prior_weight, self.kl_weight) < 0:
            raise RequestError(
                "objective: expected dco_beta, prior_weight and kl_weight of 0 or more"
            )

    @property
    def looks_back(self) -> bool:
        """Does it ask the model as it was before the adapter?"""
        return self.dco_beta > 0 or self.kl_weight > 0


@dataclass(frozen=True, eq=False)
class Asked:
    """A batch noised, as the network is asked about it, and the right answer, (B, C, h, w)."""

    mixed: Tensor
    time: Tensor
    context: Context
    target: Tensor
    weight: Tensor | None = None

    def answer(self, backbone: Backbone) -> Tensor:
        """What the network says, (B, C, h, w) float32; gradients flow."""
        return backbone.predict(self.mixed, self.time, self.context).float()

    def error(self, said: Tensor, soft_alpha: float = 1.0) -> Tensor:
        """(B,) `masked_error` of an answer."""
        return masked_error(said, self.target, self.weight, soft_alpha)


def ask(
    backbone: Backbone, batch: Batch, time: Tensor, noise: Tensor, text: Tensor | None = None
) -> Asked:
    """Mix each example with its noise at its time; epsilon, v or flow, as the backbone aims."""
    if text is None:
        text = backbone.encode_tokens(batch.tokens, batch.mask)
    mixed = backbone.mix(batch.image, noise, time)
    target = backbone.target(batch.image, noise, time)
    return Asked(mixed, time, Context(text, batch.references), target.float(), batch.weight)


def masked_error(
    said: Tensor, target: Tensor, weight: Tensor | None = None, soft_alpha: float = 1.0
) -> Tensor:
    r"""How wrong each answer is, (B,), 0 or more; lower is better.

    .. math:: \ell_i = \mathrm{mean}_{c,h,w}\, \big(M_i (1 - \alpha) + \alpha\big)
              (f_i - y_i)^2

    The mean is over all cells, not over those of the mask, so a small subject counts little: as
    in MuDI's program (arXiv 2404.04243, Eq. 2 and its masked loss). ``weight`` M (B, 1, h, w)
    lies in [0, 1]; None, like an alpha of 1, is plain denoising.

    >>> said, target = torch.tensor([[[[1.0, 3.0]]]]), torch.zeros(1, 1, 1, 2)
    >>> masked_error(said, target, torch.tensor([[[[1.0, 0.0]]]]), 0.5).item()
    2.75
    """
    squared = (said.float() - target.float()).square()
    if weight is not None and soft_alpha < 1:
        squared = squared * (weight * (1 - soft_alpha) + soft_alpha)
    return squared.flatten(1).mean(dim=1)


def direct_consistency_loss(loss: Tensor, before: Tensor, beta: float) -> Tensor:
    r"""Direct consistency optimization: gain on the examples, no more than it takes; a scalar.

    .. math:: L = -\log \sigma\big(-\beta\,(\bar\ell_\theta - \bar\ell_{ref})\big)

    on the means of (B,) losses of the model and of what it was before training, as in MuDI's
    program; ln 2 where both are the same. Once the model is clearly better than it was the
    gradient fades. Lee et al. (arXiv 2402.12004).

    >>> same = torch.tensor([0.3, 0.5])
    >>> round(direct_consistency_loss(same, same, 1000.0).item(), 4)
    0.6931
    """
    return torch.nn.functional.softplus(beta * (loss.mean() - before.mean()))


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
    asked = ask(backbone, batch, time, noise, text)
    return asked.error(asked.answer(backbone))


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
