"""Several processes train as one: gradients are averaged, and one of them writes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from personae.compute.device import choose_device

__all__ = ["Ranks", "count_processes", "find_ranks"]


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        device: where this one computes.
        rank: its number; 0 writes the run's files.
        world: how many there are.
        state: accelerate's, where there are several.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    state: Any = None

    @property
    def is_main(self) -> bool:
        """Does this one write?"""
        return self.rank == 0

    def average(self, params: Iterable[Tensor]) -> None:
        """Replace gradients by their mean over all processes; alone, nothing happens."""
        if self.world == 1:
            return
        grads = [param.grad for param in params if param.grad is not None]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        torch.distributed.all_reduce(flat)
        flat /= self.world
        for grad, part in zip(grads, torch.split(flat, [g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def any(self, flag: bool) -> bool:
        """Does any process say so? All must ask."""
        if self.world == 1:
            return flag
        said = torch.tensor(float(flag), device=self.device)
        torch.distributed.all_reduce(said, op=torch.distributed.ReduceOp.MAX)
        return bool(said)

    def wait(self) -> None:
        """Until all are here."""
        if self.state is not None:
            self.state.wait_for_everyone()


def count_processes() -> int:
    """How many train together, by what ``accelerate launch`` or ``torchrun`` told this one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def find_ranks(device: str) -> Ranks:
    """Alone, or one of several where ``accelerate launch`` or ``torchrun`` started this process."""
    if count_processes() == 1:
        return Ranks(choose_device(device))
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu")
    return Ranks(state.device, state.process_index, state.num_processes, state)
