"""What holds for every SDXL and Stable Diffusion checkpoint unless it says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personae.diffusion.backbone import Limits
from personae.diffusion.parts import PartConfig

__all__ = [
    "CLIP_L",
    "CLIP_TOKENS",
    "SDXL_PARTS",
    "UNET_LORA_TARGETS",
    "sd_limits",
    "sdxl_limits",
    "unet_text_shape",
]

CLIP_TOKENS = 77

# MuDI's layers (to_k, to_q, to_v, to_out.0): self- and cross-attention alike.
UNET_LORA_TARGETS = r".*\.attn[12]\.(to_[qkv]|to_out\.0)"


def sdxl_limits(parts: Mapping[str, PartConfig]) -> Limits:
    """Limits of an SDXL checkpoint: no references in context, CLIP's 77 tokens.

    50 steps and guidance 5 are the defaults of diffusers' ``StableDiffusionXLPipeline``. Five
    subjects in words are the most that MuDI shows. The size is the network's ``sample_size``, of
    the base 1024 pixels; it was also trained at others of as many pixels, which can be asked for.
    """
    side = 8 * int(parts["unet"].config.get("sample_size") or 128)
    return _limits(((side, side),), 5.0)


def sd_limits(parts: Mapping[str, PartConfig]) -> Limits:
    """Limits of a Stable Diffusion 1 or 2 checkpoint.

    50 steps and guidance 7.5 are the defaults of diffusers' ``StableDiffusionPipeline``; the size
    is the network's ``sample_size`` (2.x: 512 or 768 pixels).
    """
    side = 8 * int(parts["unet"].config.get("sample_size") or 64)
    return _limits(((side, side),), 7.5)


def _limits(sizes: tuple[tuple[int, int], ...], guidance: float) -> Limits:
    return Limits(
        max_subjects=5,
        sizes=sizes,
        reference_px=0,
        prompt_tokens=CLIP_TOKENS,
        text_layers=(),
        steps=50,
        guidance=guidance,
        subject_words="{noun}",
    )


def unet_text_shape(parts: Mapping[str, PartConfig], limits: Limits) -> tuple[int, int]:
    """(rows, width) of an embedded prompt: words, and in SDXL the pooled embedding below them."""
    config: Mapping[str, Any] = parts["unet"].config
    width = int(config["cross_attention_dim"])
    if "text_encoder_2" not in parts:
        return limits.prompt_tokens, width
    return limits.prompt_tokens + 1, max(
        width, int(parts["text_encoder_2"].config["projection_dim"])
    )


# text_encoder/config.json of SDXL and of FLUX.1: OpenAI's CLIP ViT-L/14.
CLIP_L = PartConfig(
    "transformers",
    "CLIPTextModel",
    {
        "model_type": "clip_text_model",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": CLIP_TOKENS,
        "vocab_size": 49408,
        "projection_dim": 768,
        "hidden_act": "quick_gelu",
        "eos_token_id": 2,  # says it is an old one, which finds the end by its highest number
    },
)

# The configuration files of stabilityai/stable-diffusion-xl-base-1.0: unet (2.57 billion numbers in
# the report's table 1: 2.6), OpenCLIP ViT-bigG/14, and the autoencoder (ch 128, ch_mult 1 2 4 4).
SDXL_PARTS: Mapping[str, PartConfig] = {
    "unet": PartConfig(
        "diffusers",
        "UNet2DConditionModel",
        {
            "in_channels": 4,
            "out_channels": 4,
            "sample_size": 128,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "block_out_channels": (320, 640, 1280),
            "layers_per_block": 2,
            "cross_attention_dim": 2048,
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
    ),
    "text_encoder": CLIP_L,
    "text_encoder_2": PartConfig(
        "transformers",
        "CLIPTextModelWithProjection",
        {
            "model_type": "clip_text_model",
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 20,
            "max_position_embeddings": CLIP_TOKENS,
            "vocab_size": 49408,
            "projection_dim": 1280,
            "hidden_act": "gelu",
            "eos_token_id": 2,
        },
    ),
    "vae": PartConfig(
        "diffusers",
        "AutoencoderKL",
        {
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 4,
            "sample_size": 1024,
            "scaling_factor": 0.13025,
        },
    ),
}
