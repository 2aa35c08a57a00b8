"""Two adapters, one in addition to the other, as one: exactly their sum."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from personae.compute.runs import make_folder, write_atomic
from personae.diffusion.adapters import DIFFUSERS_FILE
from personae.diffusion.low_rank import LowRank

__all__ = ["added", "save_layers"]


def added(first: Mapping[str, LowRank], second: Mapping[str, LowRank]) -> dict[str, LowRank]:
    r"""Layers whose product is the sum of both, of the sum of the ranks.

    .. math:: s_1 B_1 A_1 + s_2 B_2 A_2 = [s_1 B_1, s_2 B_2]\,[A_1; A_2]

    >>> one = LowRank(torch.ones(1, 2), torch.ones(3, 1))
    >>> added({"a": one}, {"a": one, "b": one})["a"].dense().tolist()
    [[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]]
    """
    names = dict.fromkeys([*first, *second])
    return {name: _sum([held[name] for held in (first, second) if name in held]) for name in names}


def _sum(parts: list[LowRank]) -> LowRank:
    down = torch.cat([part.down for part in parts])
    return LowRank(down, torch.cat([part.scale * part.up for part in parts], dim=1))


def save_layers(
    layers: Mapping[str, LowRank],
    folder: Path,
    prefix: str,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write layers as `save_lora` writes an adapter for diffusers; smaller ranks end in zeros.

    Args:
        layers: by their names in the bare denoiser.
        folder: made if it is not there.
        prefix: the backbone's ``lora_prefix``.
        metadata: further entries of the header.
    """
    from safetensors.torch import save

    rank = max(layer.rank for layer in layers.values())
    tensors = {}
    for name, layer in layers.items():
        room = (0, rank - layer.rank)
        down = torch.nn.functional.pad(layer.down, (0, 0, *room))
        up = torch.nn.functional.pad(layer.scale * layer.up, room)
        tensors[f"{prefix}.{name}.lora_A.weight"] = down.float().cpu().contiguous()
        tensors[f"{prefix}.{name}.lora_B.weight"] = up.float().cpu().contiguous()
    config = {
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted(layers),
        "peft_type": "LORA",
        "lora_bias": False,
    }
    settings = json.dumps({f"{prefix}.{key}": value for key, value in config.items()})
    header = {"format": "pt", **(metadata or {}), "lora_adapter_metadata": settings}
    make_folder(folder)
    write_atomic(folder / DIFFUSERS_FILE, save(tensors, header))
    return folder / DIFFUSERS_FILE
