"""A tiny random FLUX.2 Klein pipeline of the true classes, for every test that needs a model."""

from __future__ import annotations

from pathlib import Path

import torch

from personae.diffusion.backbone import Limits, write_limits
from personae.diffusion.klein import KleinConfig, new_klein, train_tokenizer

TINY = KleinConfig(
    num_heads=2,
    head_dim=16,
    axes_dims_rope=(4, 4, 4, 4),
    num_double_blocks=1,
    num_single_blocks=1,
    latent_channels=8,
    vae_channels=(8, 8, 16, 16),
    vae_norm_groups=4,
    text_width=24,
    text_heads=2,
    text_mlp=48,
)
TINY_LIMITS = Limits(
    max_subjects=5,
    sizes=(),
    reference_px=64,
    prompt_tokens=32,
    text_layers=(1, 2, 3),
    steps=4,
    guidance=1.0,
    subject_words="{noun} {index}",
)
TEXTS = (
    "girl 1 and man 2 in a park, girl 1 left of man 2",
    "cat 1 on a beach, cat 1 wearing a scarf",
    "robot 1 and girl 2 and man 3 in a kitchen",
)


def save_tiny_klein(folder: Path, seed: int = 0) -> Path:
    """Save a random pipeline of about 150 thousand parameters; returns the folder.

    The latents' batch norm has random, positive statistics, so that a test notices whoever
    forgets it.
    """
    pipeline = new_klein(TINY, train_tokenizer(TEXTS, 300), seed)
    generator = torch.Generator().manual_seed(seed)
    norm = pipeline.vae.bn
    norm.running_mean.copy_(torch.randn(norm.num_features, generator=generator) * 0.3)
    norm.running_var.copy_(torch.rand(norm.num_features, generator=generator) + 0.5)
    pipeline.save_pretrained(folder, safe_serialization=True)
    write_limits(folder, TINY_LIMITS)
    return folder
