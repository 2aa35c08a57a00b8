"""A recipe is run: flow matching, or rewards, on an adapter or on all weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from personae.compute.device import limited_threads
from personae.config import read_toml
from personae.diffusion.backbone import Backbone
from personae.errors import RequestError
from personae.training.choose import choose
from personae.training.processes import Ranks, find_ranks
from personae.training.recipe import Recipe, changed_keys
from personae.training.result import Progress, TrainingResult
from personae.training.rewards.asked import Reward
from personae.training.samples import Judge
from personae.training.session import Session
from personae.training.sources import cast_notes
from personae.training.stopping import Stop, stopping

__all__ = ["TrainingResult", "finetune"]


def finetune(  # noqa: PLR0913 - what, where, from what, and who is told
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    backbone: Backbone | None = None,
    reward: Reward | None = None,
    judge: Judge | None = None,
    progress: Progress | None = None,
    encoding: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> TrainingResult:
    """Train what the recipe says, into the folder ``out``.

    ``out`` holds recipe.resolved.toml, log.jsonl, checkpoints/, samples/, and at the end
    ``adapter/`` or ``model/`` with the running mean of the weights, where one is kept.

    Args:
        recipe: the whole run.
        out: folder of the run; new, unless ``resume``.
        resume: go on from its last checkpoint, or start where there is none.
        backbone: a loaded one; None loads ``recipe.base``. It is changed in place.
        reward: one in memory, instead of those that the recipe names.
        judge: in-loop metrics, for every sample sheet.
        progress: is told (steps done, of how many).
        encoding: is told (examples encoded, of how many), before the first step.
        tell: is told what is odd about a cast, before anything is encoded.

    Raises:
        RequestError: ``out`` holds a run and ``resume`` is not set, or another recipe's run.
        DataError: no example can be read, or the checkpoint is damaged.
        WorkError: a loss or a gradient is not finite; the weights are as before that step.
    """
    _check_folder(recipe, out, resume)
    ranks = find_ranks(recipe.device)
    threads = recipe.training.threads or torch.get_num_threads()
    with limited_threads(threads), warnings.catch_warnings():
        # Weights that are trained stay in float32 beside bfloat16 activations, on purpose.
        warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
        model = backbone or _load(recipe, ranks)
        if tell is not None:
            for text in cast_notes(recipe, model):
                tell(text)
        _add_tokens(recipe, model)
        chosen = choose(recipe, model, ranks.device, reward)
        run = Session(recipe, out, ranks, model, chosen=chosen, judge=judge, encoding=encoding)
        run.resume()
        with stopping(Stop(recipe.training.max_seconds, run.seconds)) as stop:
            return run.train(stop, progress)


def _add_tokens(recipe: Recipe, backbone: Backbone) -> None:
    """Before anything is put into tokens: the cast's own become words."""
    if recipe.tokens is None or recipe.data.cast is None:
        return
    from personae.data.cast_examples import read_whole_cast
    from personae.diffusion.tokens import add_tokens

    subjects = read_whole_cast(recipe.data.cast.file)
    bare = [subject.id for subject in subjects if subject.token is None]
    if bare:
        raise RequestError(f"tokens: {recipe.data.cast.file}: subjects {bare} have no token")
    add_tokens(backbone, {str(subject.token): subject.noun for subject in subjects})


def _load(recipe: Recipe, ranks: Ranks) -> Backbone:
    from personae.diffusion.load import load_backbone

    # Weights that are trained are float32 in any case, and so is an autoencoder that has the
    # room; below an adapter lies a large model.
    is_half = recipe.training.precision == "bf16" and recipe.lora is not None
    dtype = torch.bfloat16 if is_half else torch.float32
    return load_backbone(
        recipe.base,
        device=ranks.device,
        dtype=dtype,
        revision=recipe.revision,
        quantize=recipe.training.quantize,
    )


def _check_folder(recipe: Recipe, out: Path, resume: bool) -> None:
    resolved = out / "recipe.resolved.toml"
    if not resolved.exists():
        return
    if not resume:
        raise RequestError(
            f"{out}: holds a run already; go on with --resume, or give another --out"
        )
    changed = changed_keys(read_toml(resolved), recipe)
    if changed:
        raise RequestError(
            f"{out}: was started with another recipe ({', '.join(changed)} differ); give another "
            "--out, or the recipe in recipe.resolved.toml"
        )
