"""Drawing while training: from noise to a step, with or without a gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from personae.diffusion.backbone import Backbone, Context, Limits
from personae.diffusion.guidance import guided
from personae.errors import RequestError

__all__ = ["Guides", "RolloutRecipe", "clean_estimates", "guided_velocity", "roll_out"]


@dataclass(frozen=True, kw_only=True)
class RolloutRecipe:
    """How pictures are drawn while training.

    Attributes:
        steps: T, sampling steps.
        guidance: by the prompt; 1 is none; None: the model's own.
        reference_guidance: by the references; the same.
    """

    steps: int = 25
    guidance: float | None = None
    reference_guidance: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise RequestError(f"rollout.steps: expected 1 or more; got {self.steps}")
        for name in ("guidance", "reference_guidance"):
            scale = getattr(self, name)
            if scale is not None and scale < 0:
                raise RequestError(f"rollout.{name}: expected 0 or more; got {scale}")

    def scales(self, limits: Limits) -> tuple[float, float]:
        """Both guidances, the model's own where the recipe names none.

        A model that is told its guidance needs no second pass, and is told 1 while it learns.
        """
        if limits.guidance_embedded:
            return 1.0, self._by_references(limits)
        return (
            limits.guidance if self.guidance is None else self.guidance,
            self._by_references(limits),
        )

    def _by_references(self, limits: Limits) -> float:
        told = self.reference_guidance
        return limits.reference_guidance if told is None else told


@dataclass(frozen=True, eq=False)
class Guides:
    """Towards what, and how far.

    Attributes:
        context: prompts and references of the batch.
        unprompted: (B, L, D), the empty prompt; needed where ``guidance`` is not 1.
        guidance: scale of the prompt.
        reference_guidance: scale of the references.
    """

    context: Context
    unprompted: Tensor | None = None
    guidance: float = 1.0
    reference_guidance: float = 1.0

    def __getitem__(self, rows: Tensor) -> Guides:
        """Some rows of the batch, by their (n,) int64 places."""
        held = self.context
        context = Context(held.text[rows], tuple(item[rows] for item in held.references))
        unprompted = None if self.unprompted is None else self.unprompted[rows]
        return Guides(context, unprompted, self.guidance, self.reference_guidance)


def guided_velocity(backbone: Backbone, x: Tensor, time: Tensor, guides: Guides) -> Tensor:
    r"""What sampling follows at x (B, C, h, w), time (B,), as `Backbone.draw` guides it.

    The gradient is the exact one, of all passes. With those that it is led away from as constants
    a step would cost one backward pass; but then what both passes have in common counts as many
    times as the guidance says, in each step that the gradient comes through, and on toons half of
    what a step gains was lost (docs/log.md).
    """
    context = guides.context
    said = _by_references(backbone, x, time, context, guides.reference_guidance)
    if guides.guidance == 1:
        return said
    assert guides.unprompted is not None
    empty = Context(guides.unprompted, context.references)
    unsaid = _by_references(backbone, x, time, empty, guides.reference_guidance)
    return guided(said, unsaid, guides.guidance)


def _by_references(
    backbone: Backbone, x: Tensor, time: Tensor, context: Context, scale: float
) -> Tensor:
    told = backbone.predict(x, time, context)
    # Passes with a gradient are as many with references as without: processes that share weights
    # wait for each other in each of them (`Shards`).
    if scale == 1 or not (context.references or torch.is_grad_enabled()):
        return told
    untold = backbone.predict(x, time, Context(context.text))
    return guided(told, untold, scale)


@torch.no_grad()
def roll_out(
    backbone: Backbone, noise: Tensor, times: Tensor, stops: Tensor, guides: Guides
) -> Tensor:
    """Sample each picture from noise (B, C, h, w) to step ``stops`` (B,) of ``times`` (T + 1,).

    A picture that has arrived costs nothing more. UMO, Algorithm 1, line 3.
    """
    x = noise.clone()
    for step in range(int(stops.max())):
        rows = torch.nonzero(stops > step).flatten().to(x.device)
        here = times[step].expand(len(rows)).to(x.device)
        velocity = guided_velocity(backbone, x[rows], here, guides[rows])
        there = times[step + 1].expand(len(rows)).to(x.device)
        x[rows] = backbone.follow(x[rows], velocity, here, there)
    return x


def clean_estimates(
    backbone: Backbone,
    x: Tensor,
    times: Tensor,
    starts: Tensor,
    guides: Guides,
    num_steps: int = 1,
    *,
    save_memory: bool = False,
) -> tuple[Tensor, Tensor]:
    """``num_steps`` steps with a gradient, then the clean picture that they point to.

    With one step this is UMO's Algorithm 1, lines 4 and 5; with K it is DRaFT-K (Clark et al.
    2023).

    Args:
        backbone: what is trained.
        x: (B, C, h, w), where `roll_out` arrived.
        times: (T + 1,).
        starts: (B,) the step of each picture, at most T - ``num_steps``.
        guides: of the batch.
        num_steps: K.
        save_memory: make each step's activations again in the backward pass.

    Returns:
        (B, C, h, w) clean latents, and the (B, C, h, w) velocity of the last step.
    """
    times = times.to(x.device)
    for offset in range(num_steps):
        step = starts.to(x.device) + offset
        here = times[step]
        if save_memory and num_steps > 1:
            velocity = checkpoint(guided_velocity, backbone, x, here, guides, use_reentrant=False)
        else:
            velocity = guided_velocity(backbone, x, here, guides)
        if offset == num_steps - 1:
            return backbone.estimate(x, velocity, here), velocity
        x = backbone.follow(x, velocity, here, times[step + 1])
    raise RequestError(f"{num_steps} steps with a gradient: expected at least 1")
