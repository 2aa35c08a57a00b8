"""A saved adapter is read back at once: what others will load is what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from personae.diffusion.backbone import Backbone
from personae.diffusion.lora import COMFY_FILE, DIFFUSERS_FILE, lora_parameters
from personae.diffusion.original_names import flux2_original_lora
from personae.errors import WorkError

__all__ = ["check_adapter"]

_DO = "look whether the disk is full or failing, and run again with --resume"
_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"


def check_adapter(backbone: Backbone, folder: Path) -> None:
    """Compare both files of `save_lora`, number by number, with the adapter in memory.

    The file for ComfyUI need not be there: not every layer has an original name.

    Raises:
        WorkError: a file cannot be read back, lacks a tensor, or holds another one.
    """
    layers = _layers(backbone)
    named: dict[str, Tensor] = {}
    for name, (down, up) in layers.items():
        named[f"{backbone.lora_prefix}.{name}.lora_A.weight"] = down
        named[f"{backbone.lora_prefix}.{name}.lora_B.weight"] = up
    _compare(folder / DIFFUSERS_FILE, named)
    if (folder / COMFY_FILE).is_file():
        _compare(folder / COMFY_FILE, flux2_original_lora(layers, _scale(backbone)))


def _layers(backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> (A, B) as they are in memory, on the CPU."""
    held = {name: value.detach().cpu() for name, value in lora_parameters(backbone).items()}
    names = [name.removesuffix(_DOWN) for name in held if name.endswith(_DOWN)]
    return {name: (held[name + _DOWN], held[name + _UP]) for name in names}


def _scale(backbone: Backbone) -> float:
    """Alpha / rank, as the layers themselves compute with it."""
    scales = [
        module.scaling["default"]
        for module in getattr(backbone.pipeline, backbone.lora_prefix).modules()
        if hasattr(module, "scaling") and "default" in module.scaling
    ]
    return float(scales[0])


def _compare(path: Path, expected: Mapping[str, Tensor]) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            _require_names(path, set(stored.keys()), set(expected))
            wrong = [name for name, value in expected.items() if not _is_same(stored, name, value)]
    except (OSError, SafetensorError) as error:
        raise WorkError(f"{path}: cannot be read back ({error}); {_DO}") from error
    if wrong:
        raise WorkError(
            f"{path}: {len(wrong)} of {len(expected)} tensors are not those that were trained, "
            f"first {wrong[0]}; {_DO}"
        )


def _require_names(path: Path, found: set[str], expected: set[str]) -> None:
    if found != expected:
        one = min(found ^ expected)
        raise WorkError(
            f"{path}: expected {len(expected)} tensors; got {len(found)}, and they differ in "
            f"{one}; {_DO}"
        )


def _is_same(stored: Any, name: str, value: Tensor) -> bool:
    return torch.equal(stored.get_tensor(name), value)
