"""What one step of training does: the part in which fine-tuning, ReReFL and GRPO differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from personae.training.batches import Batch, Draws
from personae.training.objective import (
    Asked,
    ask,
    direct_consistency_loss,
    masked_error,
    sample_times,
)

if TYPE_CHECKING:
    from personae.training.session import Session

__all__ = [
    "Finetuning",
    "Method",
    "Pass",
    "asked_of_batch",
    "flow_pass",
    "not_finite",
    "objective_pass",
]


@dataclass(frozen=True, eq=False)
class Pass:
    """What one forward and backward showed, still on the device.

    Attributes:
        ids: the examples.
        loss: (B,) flow-matching losses; empty where there are none.
        time: (B,) their times.
        parts: (N,) further numbers for the log, by name; what is NaN does not count.
        notes: what to say in the log of single pictures: why a reward is unmeasured.
    """

    ids: tuple[str, ...]
    loss: Tensor
    time: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def not_finite(passes: Sequence[Pass]) -> str:
    """Which examples have a loss that is not finite, or else all, whose gradient then is not."""
    ids = [name for one in passes for name in one.ids]
    losses = [value for one in passes for value in one.loss.tolist()]
    named = [name for name, value in zip(ids, losses, strict=False) if not math.isfinite(value)]
    return f"loss of {', '.join(named)}" if named else f"gradient of {', '.join(ids)}"


class Method(Protocol):
    """One step: passes and updates."""

    def step(self, session: Session) -> list[Pass]:
        """Do the backward passes of one step and call ``session.update`` once or more."""
        ...


class Finetuning:
    """Denoising of examples, with whatever the recipe's objective adds to it."""

    def step(self, session: Session) -> list[Pass]:
        """See `Method`."""
        passes = self.passes(session)
        session.update(passes)
        return passes

    def passes(self, session: Session) -> list[Pass]:
        """Forward and backward of one step's batches; gradients are summed."""
        accumulate = session.recipe.training.accumulate
        passes = []
        for part in range(accumulate):
            batch, draws = session.batch(part)
            with session.precision():
                total, seen = objective_pass(session, batch, draws)
            torch.autograd.backward(total / accumulate)
            passes.append(seen)
            if session.has_prior:
                self._prior(session, part)
        return passes

    def _prior(self, session: Session, part: int) -> None:
        """A pass on priors of its own, so that memory is that of one batch."""
        recipe = session.recipe
        batch, draws = session.prior_batch(part)
        with session.precision():
            asked = asked_of_batch(session, batch, draws)
            loss = asked.error(asked.answer(session.backbone), recipe.objective.soft_alpha).mean()
        scale = recipe.objective.prior_weight / recipe.training.accumulate
        torch.autograd.backward(scale * loss)


def objective_pass(session: Session, batch: Batch, draws: Draws) -> tuple[Tensor, Pass]:
    """The scalar that a batch adds to the loss, and what to log of it."""
    objective = session.recipe.objective
    asked = asked_of_batch(session, batch, draws)
    said = asked.answer(session.backbone)
    loss = asked.error(said, objective.soft_alpha)
    total, parts = loss.mean(), {}
    if objective.looks_back:
        with torch.no_grad(), session.frozen():
            before = asked.answer(session.backbone)
        if objective.dco_beta:
            reference = asked.error(before, objective.soft_alpha)
            total = direct_consistency_loss(loss, reference, objective.dco_beta)
            parts["dco"] = total.detach().expand(len(loss))
        if objective.kl_weight:
            drift = masked_error(said, before)
            total = total + objective.kl_weight * drift.mean()
            parts["kl"] = drift.detach()
    return total, Pass(batch.ids, loss.detach(), asked.time, parts)


def asked_of_batch(
    session: Session, batch: Batch, draws: Draws, text: Tensor | None = None
) -> Asked:
    """A batch as the network is asked about it, at times that its draws decide."""
    time = sample_times(draws.normal, session.recipe.times)
    text = session.text(batch) if text is None else text
    return ask(session.backbone, batch, time, draws.noise, text)


def flow_pass(
    session: Session, batch: Batch, draws: Draws, text: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(B,) denoising losses and their times; ``text`` where prompts are embedded already."""
    asked = asked_of_batch(session, batch, draws, text)
    return asked.error(asked.answer(session.backbone)), asked.time
