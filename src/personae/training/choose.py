"""From a recipe to what it asks for: its method, its rewards, its validation."""

from __future__ import annotations

import torch

from personae.diffusion.backbone import Backbone
from personae.errors import RequestError
from personae.metrics.eyes import Group, PeopleEyes
from personae.metrics.witnesses import EyesChoice, build_witnesses
from personae.training.chosen import Chosen
from personae.training.features import ContrastMeasure, Measure
from personae.training.grpo import Grpo
from personae.training.methods import Finetuning, Method
from personae.training.recipe import Recipe
from personae.training.rerefl import ReReFL
from personae.training.rewards.asked import Reward
from personae.training.rewards.make import make_reward
from personae.training.sources import validation_examples
from personae.training.validation import Examination, Validation

__all__ = ["choose", "reward_groups"]


def choose(
    recipe: Recipe, backbone: Backbone, device: torch.device, reward: Reward | None = None
) -> Chosen:
    """Build them.

    Args:
        recipe: which.
        backbone: says what its pictures look like.
        device: where rewards compute.
        reward: one in memory instead of those that the recipe names.

    Raises:
        RequestError: parts of the recipe that do not fit each other.
        WeightsError: the weights of a reward are missing.
    """
    if reward is None and recipe.rewards is not None:
        reward = make_reward(recipe.rewards, device, reward_groups(recipe))
    wanted = recipe.validation
    examination = None
    if wanted.examiner is not None and (wanted.every or wanted.examine_every):
        examination = Examination(_people(wanted.examiner))
    return Chosen(
        _method(recipe, backbone, reward, examination),
        _validation(recipe, backbone, reward, examination),
    )


def reward_groups(recipe: Recipe) -> tuple[Group, ...]:
    """Toons are people; a file may hold anything."""
    return ("person",) if recipe.data.toons is not None else ("person", "thing")


def _method(
    recipe: Recipe, backbone: Backbone, reward: Reward | None, examination: Examination | None
) -> Method:
    if reward is None:
        return Finetuning()
    every = recipe.validation.examine_every
    watch = examination if every else None
    if recipe.grpo is not None:
        if not backbone.is_flow:
            raise RequestError(
                f"grpo: expected a base that is a rectified flow; {backbone.name} "
                f"({backbone.family}) is none: use rerefl or flow matching alone"
            )
        return Grpo(recipe.grpo, recipe.rollout, reward, watch, every)
    if recipe.rerefl is not None:
        return ReReFL(recipe.rerefl, recipe.rollout, reward, watch, every)
    return Finetuning()


def _validation(
    recipe: Recipe, backbone: Backbone, reward: Reward | None, examination: Examination | None
) -> Validation | None:
    wanted = recipe.validation
    if not wanted.every:
        return None
    examples = validation_examples(recipe, backbone)
    measure: Measure | None = None
    if wanted.best_by == "features":
        faces = recipe.rewards.faces if recipe.rewards is not None else _default_faces(recipe)
        measure = ContrastMeasure(_people(faces))
    return Validation(wanted, examples, reward, measure, examination)


def _default_faces(recipe: Recipe) -> str:
    return "toons" if recipe.data.toons is not None else "dlib"


def _people(faces: str) -> PeopleEyes:
    eyes = build_witnesses(EyesChoice(faces=faces, cache=None), ("person",))["person"].eyes
    assert isinstance(eyes, PeopleEyes)
    return eyes
