"""What a run trains: all weights or an adapter; and how it is written at the end."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from personae.diffusion.adapters import copy_adapter
from personae.diffusion.backbone import Backbone
from personae.diffusion.tokens import save_tokens, token_rows
from personae.errors import RequestError
from personae.training.card_use import ADAPTER, TOGETHER, TOKENS, base_name
from personae.training.recipe import Recipe
from personae.training.saved import check_adapter

__all__ = ["make_trainable", "save_result"]


def make_trainable(backbone: Backbone, recipe: Recipe) -> dict[str, nn.Parameter]:
    """The parameters that the recipe trains, by name, in float32; all others are frozen.

    Names start with ``denoiser.``, ``text_encoder.`` or ``tokens.``. With a section ``lora`` an
    adapter is added to the denoiser, in place.

    Raises:
        RequestError: an adapter and the text encoder at once, or targets that match no layer.
        WeightsError: the adapter to begin with, or that under this one, is missing, or another
            kind of adapter.
    """
    modules = {"denoiser": backbone.denoiser, "text_encoder": backbone.text_encoder}
    for module in modules.values():
        module.requires_grad_(False)
    if recipe.lora is not None:
        from personae.diffusion.lora import add_lora

        if recipe.training.train_text_encoder:
            raise RequestError("train_text_encoder: an adapter is for the denoiser only; drop one")
        if recipe.lora.under is not None:
            _put_under(backbone, recipe.lora.under)
        lora, generator = recipe.lora, torch.Generator().manual_seed(recipe.seed)
        alpha = float(lora.rank if lora.alpha is None else lora.alpha)
        made = add_lora(backbone, lora.rank, alpha, lora.targets or None, generator=generator)
        if lora.start is not None:
            copy_adapter(made, lora.scale, lora.start)
    elif recipe.tokens is None:
        _unfreeze(backbone.denoiser)
        if recipe.training.train_text_encoder:
            _unfreeze(backbone.text_encoder)
    params = {
        f"{place}.{name}": param
        for place, module in modules.items()
        for name, param in module.named_parameters()
        if param.requires_grad
    }
    if recipe.tokens is not None:
        rows = token_rows(backbone)
        params |= {f"tokens.{name}": row for name, row in rows.items()}
        for row in rows.values():
            row.requires_grad_(True)
    for param in params.values():
        param.data = param.data.float()
    for place, module in modules.items():
        # Every gradient passes the denoiser, on its way to learned tokens too.
        is_passed = place == "denoiser" or any(name.startswith(place) for name in params)
        if recipe.training.gradient_checkpointing and is_passed:
            _checkpoint_gradients(module)
    return params


def save_result(backbone: Backbone, recipe: Recipe, out: Path) -> Path:
    """Write what was trained: ``adapter`` (LoRA) or ``model`` (a diffusers folder, bfloat16).

    Learned tokens go to ``tokens``, which is what was trained where nothing else was.

    Raises:
        WorkError: the adapter cannot be written, or is not what was trained when read back.
    """
    if recipe.tokens is not None:
        save_tokens(backbone, out / TOKENS, {"base": base_name(recipe.base)})
        if recipe.tokens.alone:
            return out / TOKENS
    if recipe.lora is not None:
        from personae.diffusion.lora import save_lora

        facts = {"base": base_name(recipe.base), "seed": str(recipe.seed)}
        save_lora(backbone, out / ADAPTER, facts)
        check_adapter(backbone, out / ADAPTER)
        if recipe.lora.under is not None:
            _save_together(backbone, recipe.lora.under, out / TOGETHER, facts)
        return out / ADAPTER
    params = [*backbone.denoiser.parameters(), *backbone.text_encoder.parameters()]
    before = [param.data for param in params]
    for param in params:
        param.data = param.data.to(torch.bfloat16)
    try:
        backbone.save(out / "model")
    finally:
        for param, data in zip(params, before, strict=True):
            param.data = data
    return out / "model"


def _put_under(backbone: Backbone, source: str) -> None:
    """A saved adapter into the frozen weights, for another in addition to it."""
    from personae.diffusion.lora import load_lora, merge_lora
    from personae.diffusion.low_rank import layer_ranks

    # What cannot be saved together at the end is refused before the first step.
    layer_ranks(source, backbone.lora_prefix, backbone.denoiser)
    load_lora(backbone, source)
    merge_lora(backbone)


def _save_together(backbone: Backbone, source: str, folder: Path, facts: dict[str, str]) -> None:
    """The adapter under this one and this one, as one that the bare base is given."""
    from personae.diffusion.low_rank import attached_layers, read_layers
    from personae.diffusion.together import added, save_layers

    layers = added(read_layers(source, backbone.lora_prefix), attached_layers(backbone))
    save_layers(layers, folder, backbone.lora_prefix, facts)


def _unfreeze(module: nn.Module) -> None:
    module.requires_grad_(True)
    module.train()


# What diffusers, transformers 5 and transformers before it call it.
_CHECKPOINTING = (
    "enable_gradient_checkpointing",
    "activation_checkpointing_enable",
    "gradient_checkpointing_enable",
)


def _checkpoint_gradients(module: nn.Module) -> None:
    for name in _CHECKPOINTING:
        if hasattr(module, name):
            getattr(module, name)()
            return
    raise RequestError(f"gradient_checkpointing: {type(module).__name__} cannot; set it to false")
