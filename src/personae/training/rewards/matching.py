"""Rewards made of who resembles whom: UMO's, PSR's, and the strict ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from personae.metrics.matching import (
    matching_reward,
    single_identity_reward,
    strict_matching_reward,
)
from personae.metrics.position import strict_position_score
from personae.metrics.presence import presence, presence_score
from personae.training.rewards.asked import Asked, Rewards
from personae.training.rewards.recipe import DIFFERENTIABLE, RewardsRecipe
from personae.training.rewards.sight import Seen, Sight

__all__ = ["MATCHING", "MatchingReward"]

Judged = Callable[[Seen, RewardsRecipe], Tensor]


def _sir(seen: Seen, recipe: RewardsRecipe) -> Tensor:
    """Mean over subjects; how UMO's ablation treated several is not published."""
    if not seen.detections:
        return seen.official.sum()
    return torch.as_tensor(single_identity_reward(seen.official)).mean()


def _mimr(seen: Seen, recipe: RewardsRecipe) -> Tensor:
    return matching_reward(
        seen.official,
        unmatched_margin=recipe.unmatched_margin,
        per_subject=recipe.per_subject,
    )


def _strict(seen: Seen, recipe: RewardsRecipe) -> Tensor:
    return strict_matching_reward(seen.similarity, recipe.margin)


def _pairwise(seen: Seen, recipe: RewardsRecipe) -> Tensor:
    """PSR: each subject's detection against its reference; no assignment, nothing for absences.

    A detector that knows subjects says which box is whose, and its surest is taken; of faces,
    which nobody named, each subject takes the most similar. A subject without a box is left out
    of the mean: what the authors' program does with it is not published.
    """
    values = []
    for row, name in zip(seen.official, seen.subjects, strict=True):
        own = [i for i, box in enumerate(seen.detections) if box.subject == name]
        if own:
            values.append(row[max(own, key=lambda i: seen.detections[i].score)])
        elif len(row) and all(box.subject is None for box in seen.detections):
            values.append(row.max())
    return torch.stack(values).mean() if values else seen.official.sum()


def _presence(seen: Seen, recipe: RewardsRecipe) -> Tensor:
    found = presence_score(presence(seen.similarity.detach()))
    return seen.similarity.new_tensor(found.mean())


# What each says of one group of subjects in one picture: higher is better.
MATCHING: Mapping[str, Judged] = {
    "strict_matching": _strict,
    "mimr": _mimr,
    "sir": _sir,
    "pairwise": _pairwise,
    "strict_pairwise": _strict,
    "presence": _presence,
}


class MatchingReward:
    """One of the rewards made of similarities, by people's eyes and by things' eyes.

    A picture with both groups gets the mean over its subjects, each group weighted by its number.

    Args:
        name: one of ``MATCHING``, or ``position``.
        sights: eyes for the groups that can occur; another group is unmeasured.
        recipe: margins.
    """

    def __init__(self, name: str, sights: Sequence[Sight], recipe: RewardsRecipe) -> None:
        self.name = name
        self.differentiable = name in DIFFERENTIABLE
        self._sights, self._recipe = tuple(sights), recipe

    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> Rewards:
        """See `Reward`; ``parts`` say how many subjects were asked for and how many boxes found."""
        looks = [sight.see(pictures, asked) for sight in self._sights]
        groups = [[look[i] for look in looks if look[i] is not None] for i in range(len(asked))]
        values = [
            self._value([seen for seen in group if seen is not None], item)
            for group, item in zip(groups, asked, strict=True)
        ]
        boxes = [sum(len(seen.detections) for seen in group if seen) for group in groups]
        return Rewards.of(values, pictures.device, found=boxes)

    def _value(self, group: Sequence[Seen], asked: Asked) -> Tensor | str:
        known = sum(len(seen.subjects) for seen in group)
        blind = [seen.blind for seen in group if seen.blind]
        if blind:
            return "; ".join(blind)
        if known < len(asked.subjects):
            return f"no eyes for some of {list(asked.subjects)}"
        if self.name == "position":
            return _position(group, asked)
        judged = MATCHING[self.name]
        shares = [judged(seen, self._recipe) * len(seen.subjects) for seen in group]
        return torch.stack(shares).sum() / known


def _position(group: Sequence[Seen], asked: Asked) -> Tensor | str:
    """Strict position score of the two subjects' boxes; 0 where one of them is absent."""
    if asked.relation is None:
        return "the prompt says nothing of positions"
    boxes = {}
    for seen in group:
        match = presence(seen.similarity.detach()).match
        for name, place in zip(seen.subjects, match, strict=True):
            if place is not None:
                boxes[name] = seen.detections[place].box.xyxy
    pair = [boxes.get(name) for name in (asked.relation.first, asked.relation.second)]
    if None in pair:
        return torch.zeros(())
    return strict_position_score(torch.tensor(pair), asked.relation.words)
