"""Saved adapters: found by name or path, and taken as the beginning of another training."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from personae.diffusion.folder import read_safetensors_header, read_safetensors_metadata
from personae.errors import WeightsError
from personae.toons import ADAPTERS, adapter_folder

__all__ = [
    "DIFFUSERS_FILE",
    "adapter_scale",
    "copy_adapter",
    "find_adapter",
    "require_same_adapter",
]

DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"  # what load_lora_weights looks for
_PARTS = (".lora_A.", ".lora_B.")
_LEADS = re.compile(r"^(transformer|unet)\.")  # a denoiser's name in its pipeline


def find_adapter(source: str | Path) -> Path:
    """The file of a saved adapter: of a folder, of itself, or of one that ships (``toons-umo``).

    Raises:
        WeightsError: there is no such file, or it is no safetensors file.
    """
    place = adapter_folder(str(source)) if str(source) in ADAPTERS else Path(source).expanduser()
    path = place / DIFFUSERS_FILE if place.is_dir() else place
    if path.is_file() and path.suffix != ".safetensors":
        raise WeightsError(f"{path}: expected a LoRA as safetensors; pickles are not read")
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file; expected a folder or file that save_lora wrote, or one of "
            f"{', '.join(ADAPTERS)}"
        )
    return path


def require_same_adapter(
    source: str | Path, shapes: Mapping[str, tuple[int, ...]], scale: float
) -> Path:
    """The file of an adapter that has these layers, this rank and this scale; reads headers only.

    Args:
        source: as `find_adapter` takes it.
        shapes: of A, (rank, inputs), and of B, (outputs, rank), by their names in the bare
            denoiser: ``LAYER.lora_A.weight``, ``LAYER.lora_B.weight``.
        scale: alpha / rank.

    Raises:
        WeightsError: it is missing or damaged, or another kind of adapter.
    """
    path = find_adapter(source)
    header = read_safetensors_header(path)
    stored = {_LEADS.sub("", name): held.shape for name, held in header.items()}
    expected, came = _told(shapes, scale), _told(stored, adapter_scale(path))
    if expected == came and stored != shapes:
        came += ", which are others or of another width"
    if expected != came:
        raise WeightsError(
            f"{path}: expected an adapter with {expected}; got {came}; set lora.rank, lora.alpha "
            "and lora.targets as they were when it was trained"
        )
    return path


def copy_adapter(params: Mapping[str, Tensor], scale: float, source: str | Path) -> None:
    """Give an adapter's parameters the values of a saved one.

    Args:
        params: what `add_lora` made, by name; changed in place.
        scale: alpha / rank.
        source: as `find_adapter` takes it.

    Raises:
        WeightsError: it is missing or damaged, or another kind of adapter.
    """
    from safetensors.torch import load_file

    shapes = {_bare_name(name): tuple(value.shape) for name, value in params.items()}
    stored = load_file(require_same_adapter(source, shapes, scale))
    held = {_LEADS.sub("", name): value for name, value in stored.items()}
    for name, value in params.items():
        value.data.copy_(held[_bare_name(name)])


def _bare_name(name: str) -> str:
    """``LAYER.lora_A.default.weight``, as peft names it, without peft's name of the adapter."""
    layer, part, _, end = name.rsplit(".", 3)
    return f"{layer}.{part}.{end}"


def _told(shapes: Mapping[str, tuple[int, ...]], scale: float) -> str:
    layers = {name.split(part)[0] for name in shapes for part in _PARTS if part in name}
    ranks = sorted({shape[0] for name, shape in shapes.items() if _PARTS[0] in name})
    others = [name for name in shapes if not any(part in name for part in _PARTS)]
    told = f"rank {' or '.join(map(str, ranks)) or 'none'}, scale {scale:g}, {len(layers)} layers"
    return told + (f" and other tensors ({others[0]})" if others else "")


def adapter_scale(path: Path) -> float:
    """Alpha / rank, as the header says it; 1 where it does not, as diffusers takes it."""
    metadata = read_safetensors_metadata(path)
    try:
        told = json.loads(metadata["lora_adapter_metadata"])
        plain = {_LEADS.sub("", name): value for name, value in told.items()}
        return float(plain["lora_alpha"]) / float(plain["r"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        return 1.0
