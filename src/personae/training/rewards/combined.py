"""Several rewards as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from personae.training.rewards.asked import Asked, Reward, Rewards

__all__ = ["CombinedReward"]


class CombinedReward:
    """The weighted sum of rewards; ``parts`` holds each of them.

    A picture that one of them could not measure is unmeasured: a sum without one summand would be
    another reward. The exception is a summand that has nothing to say of any such prompt
    (``optional``, such as the position where none was asked for): it is left out of that sum.

    Args:
        members: the rewards, by name.
        weights: of each.
        optional: names of those that may be left out.
    """

    name = "combined"

    def __init__(
        self,
        members: Mapping[str, Reward],
        weights: Mapping[str, float],
        optional: Sequence[str] = (),
    ) -> None:
        self.members, self.weights = dict(members), dict(weights)
        self._optional = frozenset(optional)
        self.differentiable = all(one.differentiable for one in members.values())

    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> Rewards:
        """See `Reward`."""
        told = {name: reward(pictures, asked) for name, reward in self.members.items()}
        values = torch.stack([self.weights[name] * said.values for name, said in told.items()])
        reasons = [self._reason(told, place) for place in range(len(asked))]
        bad = torch.tensor([reason is not None for reason in reasons], device=values.device)
        parts = {name: _parted(said) for name, said in told.items()}
        return Rewards(values.sum(0).masked_fill(bad, 0), tuple(reasons), parts)

    def _reason(self, told: Mapping[str, Rewards], place: int) -> str | None:
        said = {name: one.reasons[place] for name, one in told.items()}
        kept = {name: why for name, why in said.items() if name not in self._optional}
        lacking = [f"{name}: {why}" for name, why in (kept or said).items() if why is not None]
        return "; ".join(lacking) or None


def _parted(said: Rewards) -> Tensor:
    """(B,) for the log, NaN where unmeasured."""
    return said.values.detach().masked_fill(~said.measured, torch.nan)
