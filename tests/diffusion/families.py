"""Tiny random pipelines of the other families, as folders; weights that a test can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from personae.diffusion.backbone import Limits, write_limits
from personae.diffusion.configs import KNOWN_MODELS, ModelConfigs
from personae.diffusion.sized import build_sized, shrunk

SDXL = KNOWN_MODELS["stabilityai/stable-diffusion-xl-base-1.0"]
FLUX1 = KNOWN_MODELS["black-forest-labs/FLUX.1-dev"]
KINDS: Mapping[str, ModelConfigs] = {"sdxl": SDXL, "flux1": FLUX1}


def tiny_configs(kind: str) -> ModelConfigs:
    configs = shrunk(KINDS[kind], tiny=True)
    return replace(configs, limits=replace(configs.limits, steps=4))


def uno(limits: Limits) -> Limits:
    """As a UNO checkpoint would be marked, tiny."""
    return replace(limits, reference_px=64, max_subjects=4)


def save_tiny(folder: Path, kind: str, limits: Limits | None = None, seed: int = 0) -> Path:
    """Save a random pipeline of a family; returns the folder."""
    configs = tiny_configs(kind)
    backbone = build_sized(configs, "cpu", torch.float32, seed)
    loosen(backbone.denoiser, seed)
    backbone.pipeline.save_pretrained(folder, safe_serialization=True)
    write_limits(folder, limits or configs.limits)
    return folder


def loosen(module: Any, seed: int) -> None:
    """Layers that start at zero or near it would hide what stands before them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            if value.ndim > 1:
                fan_in = value[0].numel()
                value.copy_(torch.randn(value.shape, generator=generator) * fan_in**-0.5)
