"""A reward's mean over many batches and processes, as a metric of torchmetrics.

Import this module where it is used: torchmetrics takes seconds to load, and nothing else here
needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from personae.errors import RequestError
from personae.training.rewards.asked import Asked, Reward, Rewards

__all__ = ["RewardMean"]


class RewardMean(Metric):
    """Mean of a reward over the pictures that it could measure, and how many it could not.

    ``compute`` returns ``mean`` (NaN where nothing was measured), ``measured`` and ``unmeasured``.
    Over processes the sums are added, so the mean is that of all pictures, whoever saw them.

    Args:
        reward: asked by ``update(pictures, asked)``; None where ``update`` is only given what a
            reward has already said.
        options: those of `torchmetrics.Metric`, such as ``process_group``.

    >>> metric = RewardMean()
    >>> metric.update(Rewards(torch.tensor([1.0, 0.0, 4.0]), (None, "no face", None)))
    >>> {name: value.item() for name, value in metric.compute().items()}
    {'mean': 2.5, 'measured': 2, 'unmeasured': 1}
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    measured: Tensor
    unmeasured: Tensor

    def __init__(self, reward: Reward | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.reward = reward
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("measured", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("unmeasured", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pictures: Tensor | Rewards, asked: Sequence[Asked] = ()) -> None:
        """Take a batch in: pictures (B, 3, H, W) and what was asked, or what was said of them.

        Raises:
            RequestError: pictures, and no reward to ask.
        """
        said = pictures if isinstance(pictures, Rewards) else self._ask(pictures, asked)
        values = said.values.detach().to(self.total)
        good = said.measured.to(values.device) & values.isfinite()
        self.total += values[good].sum()
        self.measured += good.sum()
        self.unmeasured += (~good).sum()

    def compute(self) -> dict[str, Tensor]:
        """The mean and the two counts; 0 / 0 is NaN, and no number."""
        return {
            "mean": self.total / self.measured,
            "measured": self.measured,
            "unmeasured": self.unmeasured,
        }

    def _ask(self, pictures: Tensor, asked: Sequence[Asked]) -> Rewards:
        if self.reward is None:
            raise RequestError(
                "RewardMean.update: got pictures, but no reward to ask; make it with "
                "RewardMean(reward), or give it Rewards"
            )
        with torch.no_grad():
            return self.reward(pictures, asked)
