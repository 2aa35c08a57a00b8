"""Sections of a recipe that do not go together, told before anything is loaded."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from personae.errors import RequestError

if TYPE_CHECKING:
    from personae.training.recipe import Recipe

__all__ = ["check_objective", "check_savings", "check_tokens"]

_INSTEAD = {
    "rerefl": "to hold on to the model before, set rerefl.penalty",
    "grpo": "to hold on to the model before, set grpo.kl",
}


def check_objective(recipe: Recipe) -> None:
    """Is there what the objective asks for?

    Raises:
        RequestError: rewards, beside which examples count by plain flow matching alone; or no
            adapter, below which the model before could be.
    """
    objective, plain = asdict(recipe.objective), asdict(type(recipe.objective)())
    method = "rerefl" if recipe.rerefl is not None else "grpo"
    wrong = {name: value for name, value in objective.items() if value != plain[name]}
    if wrong and recipe.rewards is not None:
        came = ", ".join(f"{name} = {value:g}" for name, value in wrong.items())
        hint = f"; {_INSTEAD[method]}" if recipe.objective.looks_back else ""
        raise RequestError(
            f"objective: expected the defaults with [{method}], beside which examples count by "
            f"plain flow matching; got {came}; remove them{hint}"
        )
    if recipe.objective.looks_back and recipe.lora is None:
        raise RequestError(
            "objective: dco_beta and kl_weight compare with the model before its adapter; add "
            "a section [lora]"
        )


def check_tokens(recipe: Recipe) -> None:
    """Can the tokens be learned as the recipe says?

    Raises:
        RequestError: there is no cast that they are of, or something else does not go with them.
    """
    if recipe.tokens is None:
        return
    if recipe.data.cast is None:
        raise RequestError("tokens: whose? they are those of a cast; add a section [data.cast]")
    if recipe.tokens.alone != (recipe.lora is None):
        raise RequestError(
            "tokens.alone: expected either no section [lora], or alone = false beside one; got "
            f"alone = {str(recipe.tokens.alone).lower()}"
        )
    if recipe.training.train_text_encoder:
        raise RequestError(
            "training.train_text_encoder: expected false with a section [tokens], which learns new "
            "words for a text encoder that stays as it is; got true; set it to false, or take the "
            "section out"
        )
    if recipe.data.cache_text:
        raise RequestError("data.cache_text: the tokens' meaning changes in every step; drop one")


def check_savings(recipe: Recipe) -> None:
    """Do the options that save memory fit the rest?

    Raises:
        RequestError: one does not.
    """
    training, cached = recipe.training, recipe.data.cache_text
    if training.quantize != "no" and recipe.lora is None:
        raise RequestError("training.quantize: only a frozen base can be; add a section [lora]")
    if training.offload_text_encoder and not cached:
        raise RequestError(
            "training.offload_text_encoder: every step embeds prompts; set data.cache_text to true"
        )
    if cached and training.train_text_encoder:
        raise RequestError(
            "data.cache_text: with train_text_encoder, what prompts are embedded to changes in "
            "every step; set one of them to false"
        )
