"""How many bytes a run writes, and keeps of what it trains on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from personae.diffusion.lora import COMFY_FAMILIES
from personae.diffusion.low_rank import layer_ranks
from personae.training.base_check import Base, adapted_layers
from personae.training.data_check import DataFacts
from personae.training.recipe import Recipe
from personae.training.trained import TrainedNumbers, optimizer_bytes, trained_numbers

__all__ = ["disk_needs", "latent_bytes", "weight_dtype"]


def weight_dtype(recipe: Recipe) -> torch.dtype:
    """Are frozen weights loaded in 16 bits? As `finetune` decides it."""
    is_half = recipe.training.precision == "bf16" and recipe.lora is not None
    return torch.bfloat16 if is_half else torch.float32


def latent_bytes(base: Base, data: DataFacts) -> int:
    """Float16 latents of pictures and references, int32 tokens with their mask."""
    channels = int(base.configs.denoiser.config["in_channels"])
    tokens = 5 * base.configs.limits.prompt_tokens
    each = 0.0
    for shape in data.shapes:
        places = sum((w // base.multiple) * (h // base.multiple) for w, h in shape.pictures)
        each += shape.share * (2 * channels * places + tokens)
    return round(each * data.stored)


def disk_needs(recipe: Recipe, base: Base, data: DataFacts | None, out: Path) -> dict[Path, int]:
    """Bytes that the run writes, by folder: checkpoints, what it saves, latents, prompts.

    Raises:
        RequestError: an adapter's targets match no layer.
        DataError: tokens are to be learned of a cast that cannot be read.
        WeightsError: the adapter under the new one cannot be read, or is for another model.
    """
    trained = trained_numbers(recipe, base)
    mean = 4 * trained.total if recipe.training.ema_decay else 0
    checkpoint = 4 * trained.total + mean + optimizer_bytes(recipe, trained)
    results = 2 if recipe.validation.every and recipe.validation.best_by else 1
    # The new checkpoint is whole before the oldest one goes.
    kept = (recipe.training.keep + 1) * checkpoint
    needed = {out: kept + results * _saved_bytes(recipe, base, trained)}
    if data is None:
        return needed
    folder, size = recipe.data.folder or out / "latents", latent_bytes(base, data)
    if recipe.data.cache_text:
        rows, columns = base.configs.text_shape
        numbers = rows * columns
        size += data.stored * numbers * weight_dtype(recipe).itemsize
    return {**needed, folder: needed.get(folder, 0) + size}


def _saved_bytes(recipe: Recipe, base: Base, trained: TrainedNumbers) -> int:
    """What `save_result` writes: the model in 16 bits; or an adapter and tokens in float32."""
    if trained.weights:
        return 2 * base.num_parameters
    files = 2 if base.configs.family.name in COMFY_FAMILIES else 1
    return 4 * (files * trained.adapter + trained.tokens) + _together_bytes(recipe, base)


def _together_bytes(recipe: Recipe, base: Base) -> int:
    """An adapter and that under it as one: the layers of both, of their largest rank together."""
    lora = recipe.lora
    if lora is None or lora.under is None:
        return 0
    first = layer_ranks(lora.under, base.configs.family.denoiser, base.denoiser)
    second = dict.fromkeys(adapted_layers(base, lora.targets), lora.rank)
    names = {**first, **second}
    rank = max(first.get(name, 0) + second.get(name, 0) for name in names)
    linear = {k: m for k, m in base.denoiser.named_modules() if isinstance(m, nn.Linear)}
    return 4 * rank * sum(linear[k].in_features + linear[k].out_features for k in names)
