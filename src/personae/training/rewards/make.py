"""A recipe's rewards, with their eyes."""

from __future__ import annotations

import torch

from personae.errors import RequestError
from personae.metrics.eyes import Group
from personae.metrics.witnesses import EyesChoice, build_witnesses
from personae.training.rewards.asked import Reward
from personae.training.rewards.combined import CombinedReward
from personae.training.rewards.matching import MATCHING, MatchingReward
from personae.training.rewards.recipe import RewardsRecipe
from personae.training.rewards.sight import Sight

__all__ = ["make_reward", "make_sights"]

_GROUPS: tuple[Group, ...] = ("person", "thing")


def make_reward(
    recipe: RewardsRecipe, device: torch.device, groups: tuple[Group, ...] = _GROUPS
) -> CombinedReward:
    """The weighted sum of the recipe's rewards.

    Args:
        recipe: which.
        device: where their models compute; detectors stay where they are.
        groups: kinds of subjects that can occur; eyes for others are not loaded.

    Raises:
        RequestError: no reward is named.
        WeightsError: a model is missing, damaged, or not given.
    """
    if not recipe.weights:
        raise RequestError("rewards.weights: expected at least one reward; got none")
    looking = {*MATCHING, "position"} & set(recipe.weights)
    sights = make_sights(recipe, groups, device) if looking else []
    members: dict[str, Reward] = {}
    for name in recipe.weights:
        if name in looking:
            members[name] = MatchingReward(name, sights, recipe)
        else:
            members[name] = _model_reward(name, recipe, device)
    return CombinedReward(members, recipe.weights, optional=("position",))


def make_sights(
    recipe: RewardsRecipe, groups: tuple[Group, ...], device: torch.device
) -> list[Sight]:
    """The eyes of the recipe, one pair a group."""
    choice = EyesChoice(
        faces=recipe.faces,
        detector=recipe.detector,
        embedder=recipe.embedder,
        device=str(device),
        cache=None,
    )
    return [
        Sight(witness.eyes, recipe.jitter) for witness in build_witnesses(choice, groups).values()
    ]


def _model_reward(name: str, recipe: RewardsRecipe, device: torch.device) -> Reward:
    from personae.training.rewards.preference import make_model_reward

    return make_model_reward(name, recipe.models.get(name), device)
