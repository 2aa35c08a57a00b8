"""Operations of one picture, counted on modules without weights; a multiply-add is two of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from personae.diffusion.configs import ModelConfigs
from personae.diffusion.memory import Workload
from personae.diffusion.rehearsed import FusedAttention, denoiser_pass, pass_flops
from personae.training.base_check import Base, adapted_layers
from personae.training.data_check import Shape
from personae.training.recipe import Recipe

__all__ = ["PictureFlops", "decoder_cost", "denoiser_flops", "picture_flops"]

# Which tokens a layer of a FLUX transformer sees, by the start or a part of its name.
_ONCE: tuple[str, ...] = ("time_guidance_embed", "time_text_embed", "modulation", "norm_out")
_ONCE += (".norm1.linear", ".norm1_context.linear", ".norm.linear")
_TEXT = ("context_embedder", ".attn.add_", ".attn.to_add_out", ".ff_context.")
_ALL = ("single_transformer_blocks.",)


@dataclass(frozen=True)
class PictureFlops:
    """Of one picture of one shape, without a gradient.

    Attributes:
        denoiser: one pass with the references in context.
        alone: one pass without them.
        text: to embed its prompt.
        encode: picture and references to latents.
        decode: latents to the picture.
        frozen: one pass with the references in context, without the recipe's adapter.
    """

    denoiser: float
    alone: float
    text: float
    encode: float
    decode: float
    frozen: float


def denoiser_flops(
    denoiser: nn.Module,
    text: int,
    picture: int,
    references: int = 0,
    ranks: Mapping[str, int] | None = None,
) -> float:
    """One pass over so many tokens: every linear layer by the tokens it sees, and attention.

    Every block attends once over all tokens, 4 n^2 h operations of n tokens of width h. ``ranks``
    are those of the layers with an adapter.
    """
    ranks = ranks or {}
    pictures = picture + references
    total, blocks = 0.0, 0
    for name, module in denoiser.named_modules():
        if isinstance(module, nn.Linear):
            seen = _tokens(name, text, pictures)
            inputs, outputs = module.in_features, module.out_features
            total += 2.0 * seen * (inputs * outputs + ranks.get(name, 0) * (inputs + outputs))
        if name.rpartition(".")[0] in {"transformer_blocks", "single_transformer_blocks"}:
            blocks += 1
    config: Any = denoiser.config
    width = int(config.num_attention_heads) * int(config.attention_head_dim)
    return total + 4.0 * blocks * (text + pictures) ** 2 * width


def _tokens(name: str, text: int, pictures: int) -> int:
    if any(part in name for part in _ONCE):
        return 1
    if name.startswith(_ALL):
        return text + pictures
    return text if any(part in name for part in _TEXT) else pictures


def picture_flops(recipe: Recipe, base: Base, shape: Shape, decode: float) -> PictureFlops:
    """Of one picture of this shape, with the recipe's adapter on the denoiser.

    Args:
        recipe: says which layers have an adapter.
        base: on the meta device.
        shape: of the picture and its references.
        decode: what the autoencoder's decoder takes; see `decoder_cost`.
    """
    ranks = dict[str, int]()
    if recipe.lora is not None:
        layers = adapted_layers(base, recipe.lora.targets)
        ranks = dict.fromkeys(layers, recipe.lora.rank)
    denoiser, alone = _passes_of(base, shape, ranks)
    return PictureFlops(
        denoiser=denoiser,
        alone=alone,
        text=sum(_text_flops(encoder, base.configs) for encoder in base.text_encoders),
        encode=_encode_flops(base.modules["vae"], shape.pictures),
        decode=decode,
        frozen=_passes_of(base, shape, {})[0] if ranks else denoiser,
    )


def _passes_of(base: Base, shape: Shape, ranks: Mapping[str, int]) -> tuple[float, float]:
    """One pass of the denoiser with the references, and one without."""
    if base.configs.family.denoiser == "unet":
        (width, height), *_ = shape.pictures
        pass_ = denoiser_pass(
            base.configs, base.denoiser, Workload(width=width, height=height, dtype=torch.float32)
        )
        flops = pass_flops(base.denoiser, pass_, ranks)
        return flops, flops
    text = base.configs.limits.prompt_tokens
    picture, *others = [_patches(base, *size) for size in shape.pictures]
    return (
        denoiser_flops(base.denoiser, text, picture, sum(others), ranks),
        denoiser_flops(base.denoiser, text, picture, ranks=ranks),
    )


def _patches(base: Base, width: int, height: int) -> int:
    return (width // base.multiple) * (height // base.multiple)


def _text_flops(encoder: nn.Module, configs: ModelConfigs) -> float:
    tokens = int(getattr(encoder.config, "max_position_embeddings", 0) or 0)
    tokens = min(tokens or configs.limits.prompt_tokens, configs.limits.prompt_tokens)
    layers = [m for name, m in encoder.named_modules() if isinstance(m, nn.Linear)]
    inner = [m for m in layers if m is not getattr(encoder, "lm_head", None)]
    config: Any = encoder.config
    attention = 4.0 * int(config.num_hidden_layers) * tokens**2 * int(config.hidden_size)
    return attention + sum(2.0 * tokens * m.in_features * m.out_features for m in inner)


def _encode_flops(autoencoder: Any, pictures: Sequence[tuple[int, int]]) -> float:
    """Counted for the first of them; the others by their pixels."""
    width, height = pictures[0]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        autoencoder.encode(torch.empty(1, 3, height, width, device="meta"))
    pixels = sum(w * h for w, h in pictures)
    return float(counter.get_total_flops()) * pixels / (width * height)


def _latents(autoencoder: Any, width: int, height: int) -> Tensor:
    config = autoencoder.config
    scale = 2 ** (len(config.block_out_channels) - 1)
    shape = (1, config.latent_channels, height // scale, width // scale)
    return torch.empty(shape, device="meta")


def decoder_cost(
    base: Base, decode: Callable[[Tensor], Tensor] | None, width: int, height: int
) -> tuple[float, int]:
    """Operations of decoding one picture, and bytes in float32 that a gradient through it keeps.

    Args:
        base: whose autoencoder it is.
        decode: a small decoder of latents (1, C, H / multiple, W / multiple); None: the base's own.
        width: of the picture.
        height: of the picture.
    """
    autoencoder: Any = base.modules["vae"]
    latents, run = _latents(autoencoder, width, height), autoencoder.decode
    if decode is not None:
        channels = int(base.configs.denoiser.config["in_channels"])
        sides = (height // base.multiple, width // base.multiple)
        latents, run = torch.empty(1, channels, *sides, device="meta"), decode
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    attention, counter = FusedAttention(), FlopCounterMode(display=False)
    with torch.enable_grad(), hooks, counter, attention:
        run(latents.requires_grad_())
    weights = {p.untyped_storage()._cdata for p in autoencoder.parameters()}
    size = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights)
    return float(counter.get_total_flops()) + attention.flops, size
