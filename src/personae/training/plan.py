"""What a recipe would train, on what and how, as names and words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from personae.diffusion.backbone import Limits
from personae.training.base_check import Base
from personae.training.card import method_of
from personae.training.data_check import DataFacts
from personae.training.processes import count_processes
from personae.training.recipe import Recipe
from personae.training.trained import trained_numbers, trained_words

__all__ = ["plan_of", "trained_of"]


def plan_of(
    recipe: Recipe, base: Base | None, data: DataFacts | None, device: torch.device | None
) -> dict[str, Any]:
    """Base, data, method, steps, rewards, validation; what is None is not known."""
    plan: dict[str, Any] = {"base": recipe.base}
    if base is not None:
        plan["family"] = base.configs.pipeline_class
        plan["parameters"] = base.num_parameters
    if data is not None:
        plan["data"], plan["examples"] = data.source, data.examples
        plan["shapes"] = {shape.name: round(shape.share, 4) for shape in data.shapes}
    plan["method"], plan["steps"] = method_of(recipe), recipe.training.steps
    plan["pictures_a_step"] = _pictures(recipe)
    plan["optimizer"] = f"{recipe.optimizer.name}, lr {recipe.optimizer.lr:g}"
    plan["device"] = recipe.device if device is None else str(device)
    plan["precision"] = recipe.training.precision
    if recipe.training.sharding != "no":
        plan["sharding"] = f"{recipe.training.sharding}, processes: {count_processes()}"
    return plan | _rewards(recipe, None if base is None else base.configs.limits)


def trained_of(recipe: Recipe, base: Base) -> dict[str, Any]:
    """How many numbers are trained, on how many layers.

    Raises:
        RequestError: an adapter's targets match no layer.
        DataError: tokens are to be learned of a cast that cannot be read.
    """
    trained = trained_numbers(recipe, base)
    places = {"trained_layers": trained.layers} if trained.layers else {}
    return {
        "trained": trained_words(recipe, trained),
        "trained_numbers": trained.total,
        **(places or {"trained_tensors": trained.tensors}),
    }


def _pictures(recipe: Recipe) -> int:
    if recipe.grpo is not None:
        return recipe.grpo.group * recipe.grpo.prompts
    return recipe.training.batch_size * recipe.training.accumulate


def _rewards(recipe: Recipe, limits: Limits | None) -> dict[str, Any]:
    """Rewards with their eyes, rollout, validation."""
    told: dict[str, Any] = {}
    if recipe.rewards is not None:
        told["rewards"] = dict(recipe.rewards.weights)
        told["eyes"] = recipe.rewards.faces
        told["rollout"] = asdict(recipe.rollout)
        if limits is not None:
            names = ("guidance", "reference_guidance")
            told["rollout"] |= dict(zip(names, recipe.rollout.scales(limits), strict=True))
    if recipe.rerefl is not None:
        told["window"] = list(recipe.rerefl.window)
    if recipe.validation.every:
        wanted = recipe.validation
        pictures = wanted.count * wanted.seeds
        told["validation"] = f"{pictures} pictures every {wanted.every} steps"
        told["best_by"], told["examiner"] = wanted.best_by, wanted.examiner
    return told
