"""From a name to a backbone: a folder, a hub id, or the checkpoint that ships with the package."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from personae.compute.device import choose_device
from personae.diffusion.backbone import LIMITS_FILE, Backbone
from personae.diffusion.configs import KNOWN_MODELS, ModelConfigs, read_configs
from personae.diffusion.families import FAMILY_FACTS, facts_of
from personae.diffusion.flux1 import Flux1Backbone
from personae.diffusion.flux2 import Flux2Backbone
from personae.diffusion.folder import (
    CheckpointFolder,
    inspect_folder,
    names_in_memory,
    read_index,
)
from personae.diffusion.memory import available_memory, format_bytes
from personae.diffusion.quantize import Quantize, quantization_config, weight_bytes
from personae.diffusion.quiet import without_bars
from personae.diffusion.sd import StableDiffusionBackbone
from personae.diffusion.sdxl import SdxlBackbone
from personae.errors import RequestError, WeightsError

__all__ = ["FAMILIES", "PLANNED", "TOONS", "find_configs", "load_backbone", "resolve_checkpoint"]

TOONS = "toons"

# A family is one file with a Backbone in it, one line here by the pipeline's class as
# model_index.json says it, and its facts in families.FAMILY_FACTS.
FAMILIES: Mapping[str, Callable[..., Backbone]] = {
    "Flux2KleinPipeline": Flux2Backbone,
    "FluxPipeline": Flux1Backbone,
    "StableDiffusionPipeline": StableDiffusionBackbone,
    "StableDiffusionXLPipeline": SdxlBackbone,
}
assert FAMILIES.keys() == FAMILY_FACTS.keys()

# Known by name, not yet drawn with; the file that each will be.
PLANNED: Mapping[str, str] = {
    "Flux2Pipeline": "flux2",
    "FluxKontextPipeline": "flux1",
    "OmniGen2Pipeline": "omnigen2",
    "QwenImageEditPipeline": "qwen_image_edit",
    "QwenImageEditPlusPipeline": "qwen_image_edit",
}


def load_backbone(
    name_or_path: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
    quantize: Quantize = "no",
) -> Backbone:
    """Load a generating model, frozen; what can be wrong is looked at before any loading.

    Args:
        name_or_path: a diffusers folder, a hub id such as
            ``black-forest-labs/FLUX.2-klein-base-4B``, or ``toons``.
        device: where it computes.
        dtype: in what; by default float32 on the CPU and bfloat16 elsewhere.
        revision: branch, tag or commit of a hub id.
        allow_pickle: read weights that are pickles; they can run code.
        quantize: keep the denoiser in fewer bits; what is trained then is an adapter.

    Raises:
        WeightsError: no such checkpoint, a family that is not known, damaged or pickled
            weights, a hub that cannot be reached.
        RequestError: the device is not there, or its memory is too small for the weights.
    """
    place = choose_device(str(device))
    number = dtype or (torch.float32 if place.type == "cpu" else torch.bfloat16)
    path, resolved = resolve_checkpoint(name_or_path, revision, allow_pickle=allow_pickle)
    _require_family(read_index(path / "model_index.json")[0], str(name_or_path))
    folder = inspect_folder(path, allow_pickle=allow_pickle)
    denoiser = facts_of(folder.pipeline_class).denoiser
    fewer = quantization_config(quantize, place, number, denoiser)
    needed = weight_bytes(folder, number, quantize, denoiser)
    _require_memory(str(name_or_path), needed, place, number)
    pipeline = _read_pipeline(folder, number, fewer)
    _require_all_tensors(pipeline, folder, but=() if fewer is None else (denoiser,))
    backbone = FAMILIES[folder.pipeline_class](
        pipeline.to(place),
        name=str(name_or_path),
        revision=resolved,
        limits=read_configs(path, str(name_or_path)).limits,
    )
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    return backbone


def resolve_checkpoint(
    name_or_path: str | Path, revision: str | None = None, *, allow_pickle: bool = False
) -> tuple[Path, str | None]:
    """The folder of a checkpoint, downloaded if need be, and its commit if it has one.

    Raises:
        WeightsError: nothing by that name here, and the hub has none or cannot be reached.
    """
    folder = _local_folder(name_or_path)
    if folder is not None:
        return folder, None
    kinds = ["*.safetensors", "*.json", "*.txt", "*.jinja"] + ["*.bin"] * allow_pickle
    fetched = _fetch(str(name_or_path), revision, kinds)
    return fetched, fetched.name


def find_configs(name_or_path: str | Path, revision: str | None = None) -> ModelConfigs:
    """A model's configuration; of a hub id only small files are fetched, or none if it is known.

    Raises:
        WeightsError: nothing by that name here, and the hub has none or cannot be reached.
    """
    name = str(name_or_path)
    folder = _local_folder(name_or_path)
    if folder is None and revision is None and name in KNOWN_MODELS:
        return KNOWN_MODELS[name]
    folder = folder or _fetch(name, revision, ["*.json"])
    _require_family(read_index(folder / "model_index.json")[0], name)
    return read_configs(folder, name)


def _local_folder(name_or_path: str | Path) -> Path | None:
    """The folder that is meant, or None for a hub id."""
    name = str(name_or_path)
    if name == TOONS:
        return _toon_folder()
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise WeightsError(f"{path}: a file; expected a diffusers folder or a hub id")
    if isinstance(name_or_path, Path) or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise WeightsError(
            f"model {name!r}: no such folder, and no hub id (owner/name) either; give a "
            f"diffusers folder, a hub id, or {TOONS!r}"
        )
    return None


def _toon_folder() -> Path:
    from personae.toons import checkpoint_folder

    folder = checkpoint_folder()
    if not (folder / "model_index.json").is_file():
        raise WeightsError(
            f"{folder}: the toon checkpoint is not part of this version; make it with "
            "`python recipes/toons_checkpoint.py runs/toons` and `personae train "
            "recipes/toons_base.toml --set base=runs/toons/start`, and give the folder that this "
            "writes as the model"
        )
    return folder


def _fetch(name: str, revision: str | None, kinds: Sequence[str]) -> Path:
    """Download a pipeline's files of these kinds; its family is looked at first."""
    from huggingface_hub import hf_hub_download, snapshot_download

    try:
        index_path = Path(hf_hub_download(name, "model_index.json", revision=revision))
        family, index = read_index(index_path)
        _require_family(family, name)
        parts = [key for key, entry in index.items() if isinstance(entry, list) and entry[0]]
        wanted = ["model_index.json", LIMITS_FILE]
        wanted += [f"{part}/{kind}" for part in parts for kind in kinds]
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(
            f"model {name} (revision {revision or 'main'}): could not be fetched from the hub "
            f"({reason}); check the name, the network, HF_HUB_OFFLINE and HF_TOKEN (some models "
            "want their terms accepted first), or give the path of a downloaded copy"
        ) from error


def _require_family(pipeline_class: str, name: str) -> None:
    if pipeline_class in FAMILIES:
        return
    known = ", ".join(sorted(FAMILIES))
    if pipeline_class in PLANNED:
        why = f"known, but not supported yet (it will be diffusion/{PLANNED[pipeline_class]}.py)"
    else:
        why = "a family that is not known"
    raise WeightsError(f"model {name}: {pipeline_class} is {why}; supported: {known}")


def _require_memory(name: str, needed: int, device: torch.device, dtype: torch.dtype) -> None:
    available = available_memory(device)
    if needed > available:
        smaller = "" if dtype.itemsize <= 2 else "dtype bfloat16, "
        raise RequestError(
            f"model {name}: its weights need {format_bytes(needed)} in {dtype} and {device} has "
            f"{format_bytes(available)} free; use {smaller}another device or a smaller model "
            "(`personae doctor --model` shows what each part needs)"
        )


def _read_pipeline(folder: CheckpointFolder, dtype: torch.dtype, fewer_bits: Any) -> Any:
    from diffusers import DiffusionPipeline

    try:
        with without_bars():
            return DiffusionPipeline.from_pretrained(
                folder.path,
                dtype=dtype,
                use_safetensors=None if folder.pickled else True,
                local_files_only=True,
                **({} if fewer_bits is None else {"quantization_config": fewer_bits}),
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(
            f"{folder.path}: could not be loaded as {folder.pipeline_class} ({reason}); get the "
            "checkpoint again, or update diffusers and transformers"
        ) from error


def _require_all_tensors(
    pipeline: Any, folder: CheckpointFolder, but: tuple[str, ...] = ()
) -> None:
    """The libraries fill what a file lacks with random numbers, and only warn.

    Parts in ``but`` are left out: quantized, they hold other tensors than their files.
    """
    for component, stored in folder.tensors.items():
        if component in but:
            continue
        state = getattr(pipeline, component).state_dict()
        names = names_in_memory(stored)
        held = {state[name].data_ptr() for name in names if name in state}
        lacking = [
            name
            for name, tensor in state.items()
            if name not in names and tensor.data_ptr() not in held  # tied to one that is there
        ]
        if stored and lacking:
            raise WeightsError(
                f"{folder.path / component}: lacks {len(lacking)} tensors, first {lacking[0]}; "
                "the weights do not belong to the configuration, get the checkpoint again"
            )
