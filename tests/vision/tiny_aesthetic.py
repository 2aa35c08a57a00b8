"""Tiny random encoders and heads of the true classes and names."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def save_tiny_siglip(folder: Path) -> Path:
    """A whole SigLIP, text half and all, as the published folder holds it."""
    from transformers import SiglipConfig, SiglipModel

    text = {**SMALL, "vocab_size": 40, "max_position_embeddings": 16, "projection_size": 32}
    torch.manual_seed(0)
    SiglipModel(SiglipConfig(text_config=text, vision_config=dict(SMALL))).save_pretrained(folder)
    return folder


def save_head(path: Path, width: int, names: str = "scoring_head", step: int = 2) -> Path:
    """Layers as aesthetic-predictor-v2.5 names them (LAION's: ``layers``); narrow ones."""
    torch.manual_seed(1)
    sizes = (width, 12, 6, 1)
    tensors = {}
    for place, (into, out) in enumerate(pairwise(sizes)):
        tensors[f"{names}.{step * place}.weight"] = torch.randn(out, into) / into**0.5
        tensors[f"{names}.{step * place}.bias"] = torch.randn(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path
