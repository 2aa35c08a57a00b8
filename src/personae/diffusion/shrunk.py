"""The configuration of a model with fewer blocks, or tiny in all directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from personae.diffusion.configs import ModelConfigs

__all__ = ["shrunk"]

Changes = dict[str, dict[str, Any]]
_TINY_VAE = {"block_out_channels": (8, 16, 16, 16), "norm_num_groups": 4, "layers_per_block": 1}
_TINY_CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
_TINY_CLIP |= {"num_attention_heads": 2, "vocab_size": 560, "projection_dim": 32}
_TINY_CLIP |= {"bos_token_id": 0, "pad_token_id": 1}


def shrunk(configs: ModelConfigs, depth: int = 0, *, tiny: bool = False) -> ModelConfigs:
    """The same model with fewer blocks, or tiny in all directions, to try a program out.

    Args:
        configs: of the true sizes.
        depth: blocks of the denoiser in all (of a UNet: in its deepest stages); 0 leaves it. The
            text encoder that is largest then has four layers.
        tiny: widths of a few numbers, references of 64 pixels where there are any, prompts of 32
            tokens (CLIP: 77).
    """
    if not depth and not tiny:
        return configs
    changes = _CHANGES[configs.pipeline_class](depth or 2, tiny)
    parts = {
        name: replace(part, config={**part.config, **changes.get(name, {})})
        for name, part in configs.parts.items()
    }
    limits, flux = configs.limits, configs.family.is_flow
    if limits.text_layers:
        limits = replace(limits, text_layers=(1, 2, 3))
    if tiny:
        limits = replace(
            limits,
            reference_px=64 if limits.reference_px else 0,
            prompt_tokens=32 if flux else limits.prompt_tokens,
            sizes=((64, 64),) if limits.sizes else (),
        )
    return replace(configs, parts=parts, limits=limits)


def _flux2(depth: int, tiny: bool) -> Changes:
    doubles = max(1, depth // 5)
    text: dict[str, Any] = {"num_hidden_layers": 4}
    net: dict[str, Any] = {"num_layers": doubles, "num_single_layers": max(1, depth - doubles)}
    if not tiny:
        return {"text_encoder": text, "transformer": net}
    text |= {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    text |= {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 300}
    net |= {"num_attention_heads": 2, "attention_head_dim": 32, "joint_attention_dim": 96}
    net |= {"axes_dims_rope": (8, 8, 8, 8)}
    return {"text_encoder": text, "transformer": net, "vae": _TINY_VAE}


def _flux1(depth: int, tiny: bool) -> Changes:
    doubles = max(1, depth // 3)
    t5: dict[str, Any] = {"num_layers": 4}
    net: dict[str, Any] = {"num_layers": doubles, "num_single_layers": max(1, depth - doubles)}
    if not tiny:
        return {"text_encoder_2": t5, "transformer": net}
    t5 |= {"d_model": 48, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 128}
    net |= {"num_attention_heads": 2, "attention_head_dim": 16, "joint_attention_dim": 48}
    net |= {"pooled_projection_dim": 32, "axes_dims_rope": (4, 6, 6), "in_channels": 16}
    return {
        "text_encoder": _TINY_CLIP,
        "text_encoder_2": t5,
        "transformer": net,
        "vae": {**_TINY_VAE, "latent_channels": 4},
    }


def _sdxl(depth: int, tiny: bool) -> Changes:
    net: dict[str, Any] = {"transformer_layers_per_block": (1, min(2, depth), depth)}
    if not tiny:
        return {"text_encoder_2": {"num_hidden_layers": 4}, "unet": net}
    net |= {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D")}
    net |= {"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")}
    net |= {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
    net |= {"transformer_layers_per_block": (1, 1), "attention_head_dim": (2, 4), "sample_size": 8}
    # Words of both encoders side by side; six sizes and the pooled embedding.
    net |= {"cross_attention_dim": 64, "addition_time_embed_dim": 8}
    net |= {"projection_class_embeddings_input_dim": 6 * 8 + 40}
    second = {**_TINY_CLIP, "projection_dim": 40}
    return {"text_encoder": _TINY_CLIP, "text_encoder_2": second, "unet": net, "vae": _TINY_VAE}


_CHANGES: Mapping[str, Callable[[int, bool], Changes]] = {
    "Flux2KleinPipeline": _flux2,
    "FluxPipeline": _flux1,
    "StableDiffusionXLPipeline": _sdxl,
}
