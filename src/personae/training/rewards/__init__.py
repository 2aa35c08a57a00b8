"""Rewards: what pictures drawn while training are worth, inside this package and outside it."""

from personae.training.rewards.asked import Asked, Reward, Rewards
from personae.training.rewards.combined import CombinedReward
from personae.training.rewards.make import make_reward
from personae.training.rewards.plain import PlainReward
from personae.training.rewards.recipe import REWARDS, RewardsRecipe

__all__ = [
    "REWARDS",
    "Asked",
    "CombinedReward",
    "PlainReward",
    "Reward",
    "Rewards",
    "RewardsRecipe",
    "make_reward",
]
