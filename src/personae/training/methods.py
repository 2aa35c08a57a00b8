"""What one step of training does: the part in which fine-tuning, ReReFL and GRPO differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from personae.training.batches import Batch, Draws
from personae.training.objective import flow_matching_loss, sample_times

if TYPE_CHECKING:
    from personae.training.session import Session

__all__ = ["Finetuning", "Method", "Pass", "flow_pass", "not_finite"]


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
    """Flow matching on examples."""

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
                loss, time = flow_pass(session, batch, draws)
            torch.autograd.backward(loss.mean() / accumulate)
            passes.append(Pass(batch.ids, loss.detach(), time))
        return passes


def flow_pass(
    session: Session, batch: Batch, draws: Draws, text: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(B,) flow-matching losses and their times; ``text`` where prompts are embedded already."""
    time = sample_times(draws.normal, session.recipe.times)
    text = session.text(batch) if text is None else text
    return flow_matching_loss(session.backbone, batch, time, draws.noise, text), time
