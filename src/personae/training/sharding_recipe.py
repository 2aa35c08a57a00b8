"""What a recipe that shards must not ask for, told before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from personae.errors import RequestError

if TYPE_CHECKING:
    from personae.training.recipe import Recipe

__all__ = ["Sharding", "check_even", "check_sharding"]

Sharding = Literal["no", "fsdp2"]


def check_sharding(recipe: Recipe) -> None:
    """Do the other options go with weights in parts?

    Raises:
        RequestError: one does not; its key, and what to do.
    """
    training, rerefl = recipe.training, recipe.rerefl
    if training.sharding == "no":
        return
    what = "with training.sharding"
    if recipe.lora is not None:
        raise RequestError(
            f"training.sharding: expected no section [lora], whose frozen base is not cut up; got "
            f'"{training.sharding}" with one; set it to "no", or take the section out'
        )
    if training.train_text_encoder:
        raise RequestError(
            f"training.train_text_encoder: expected false {what}, which cuts up the denoiser alone"
            '; got true; set it to false, or training.sharding to "no"'
        )
    if recipe.optimizer.name != "adamw":
        raise RequestError(
            f"optimizer.name: expected adamw {what}, for it sees parts of matrices; got "
            f'{recipe.optimizer.name}; set it to "adamw", or training.sharding to "no"'
        )
    if training.compile:
        raise RequestError(
            f"training.compile: expected false {what}; got true; set one of the two to no"
        )
    if rerefl is not None and rerefl.gradient_steps > 1 and training.gradient_checkpointing:
        # Then whole steps are drawn again in the backward pass, when blocks are in parts; untried.
        raise RequestError(
            f"rerefl.gradient_steps: expected 1 {what} and training.gradient_checkpointing; got "
            f"{rerefl.gradient_steps}; set it to 1, or one of the others to no"
        )


def check_even(recipe: Recipe, lengths: Iterable[int]) -> None:
    """Has every batch of competing pictures as many minibatches as any other?

    Processes that hold parts of the weights must make the same passes. A bucket with fewer
    examples than a batch makes short batches.

    Args:
        recipe: the run.
        lengths: examples of each bucket.

    Raises:
        RequestError: some process would be waited for forever.
    """
    grpo = recipe.grpo
    if grpo is None:
        return
    sizes = {min(length, grpo.prompts) for length in lengths if length}
    counts = {-(-size * grpo.group // grpo.minibatch) for size in sizes}
    if len(counts) > 1:
        raise RequestError(
            f"grpo.prompts: expected as many minibatches of every batch with training.sharding; "
            f"got {', '.join(map(str, sorted(counts)))}, for some shapes of pictures have fewer "
            "examples than a batch; lower it and training.batch_size, or leave out these examples"
        )
