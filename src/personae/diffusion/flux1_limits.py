"""What holds for every FLUX.1 checkpoint unless it says otherwise, with UNO's references or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from personae.diffusion.backbone import Limits
from personae.diffusion.parts import PartConfig
from personae.diffusion.sdxl_limits import CLIP_L

__all__ = ["FLUX1_LORA_TARGETS", "FLUX1_PARTS", "flux1_limits", "flux1_text_shape", "uno_limits"]

# What UNO adapts (956 million numbers at rank 512): attention's projections of both streams, and in
# blocks that both share queries, keys, values and the layer that ends them.
FLUX1_LORA_TARGETS = (
    r"transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
    r"|single_transformer_blocks\.\d+\.(attn\.to_[qkv]|proj_out)"
)


def flux1_limits(parts: Mapping[str, PartConfig]) -> Limits:
    """Limits of a FLUX.1 checkpoint: no references in context.

    A network that is told its guidance (``guidance_embeds``: dev) has 28 steps, guidance 3.5 and
    512 tokens, the defaults of diffusers' ``FluxPipeline``; one that is not (schnell) 4 steps, none
    and 256, as its model card says. Five subjects in words: MuDI shows as many.
    """
    told = bool(parts["transformer"].config.get("guidance_embeds", False))
    return Limits(
        max_subjects=5,
        sizes=(),
        reference_px=0,
        prompt_tokens=512 if told else 256,
        text_layers=(),
        steps=28 if told else 4,
        guidance=3.5 if told else 1.0,
        subject_words="{noun}",
        guidance_embedded=told,
    )


def uno_limits(limits: Limits) -> Limits:
    """The same with UNO's references in context (arXiv 2504.02160), at the settings of its demo.

    References of 512 pixels are UNO's for one subject (320 for more than one), 25 steps, guidance
    4 and at most four references its demonstration's.
    """
    return replace(limits, max_subjects=4, reference_px=512, steps=25, guidance=4.0)


def flux1_text_shape(parts: Mapping[str, PartConfig], limits: Limits) -> tuple[int, int]:
    """(rows, width) of an embedded prompt: T5's words, and CLIP's pooled embedding below them."""
    config = parts["transformer"].config
    width = int(config.get("joint_attention_dim", 4096))
    return limits.prompt_tokens + 1, max(width, int(config.get("pooled_projection_dim", 768)))


# The configuration files of black-forest-labs/FLUX.1-dev: the transformer's are the defaults of
# diffusers' class with guidance (11.9 billion numbers), the encoder of T5 v1.1 XXL, CLIP ViT-L/14,
# and the autoencoder of the FLUX program (ch 128, ch_mult 1 2 4 4, 16 channels).
FLUX1_PARTS: Mapping[str, PartConfig] = {
    "transformer": PartConfig(
        "diffusers",
        "FluxTransformer2DModel",
        {
            "in_channels": 64,
            "num_layers": 19,
            "num_single_layers": 38,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "pooled_projection_dim": 768,
            "guidance_embeds": True,
            "axes_dims_rope": (16, 56, 56),
        },
    ),
    "text_encoder": CLIP_L,
    "text_encoder_2": PartConfig(
        "transformers",
        "T5EncoderModel",
        {
            "model_type": "t5",
            "d_model": 4096,
            "d_kv": 64,
            "d_ff": 10240,
            "num_layers": 24,
            "num_heads": 64,
            "vocab_size": 32128,
            "feed_forward_proj": "gated-gelu",
            "is_encoder_decoder": False,
            "tie_word_embeddings": False,
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
            "latent_channels": 16,
            "sample_size": 1024,
            "scaling_factor": 0.3611,
            "shift_factor": 0.1159,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
    ),
}
