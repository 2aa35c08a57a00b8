"""Low-rank adapters on a backbone: add, save for others to read, load, scale, merge.

Hu et al., LoRA (2021): a layer W becomes W + (alpha / rank) B A, and only A and B are trained.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from personae.compute.runs import make_folder, write_atomic
from personae.diffusion.adapters import DIFFUSERS_FILE, find_adapter
from personae.diffusion.backbone import Backbone
from personae.diffusion.flux1_limits import uno_limits
from personae.diffusion.folder import read_safetensors_header
from personae.diffusion.original_names import flux2_original_lora
from personae.diffusion.uno_names import is_uno_lora, read_uno_lora
from personae.errors import DataError, RequestError, WeightsError

__all__ = [
    "COMFY_FAMILIES",
    "COMFY_FILE",
    "DIFFUSERS_FILE",
    "add_lora",
    "bare_module",
    "load_lora",
    "lora_parameters",
    "merge_lora",
    "save_lora",
    "scale_lora",
    "without_lora",
]

COMFY_FILE = "comfyui.safetensors"
_NAME = "default"
_ORIGINAL: Mapping[str, Callable[[Mapping[str, tuple[Tensor, Tensor]], float], dict[str, Tensor]]]
_ORIGINAL = {"flux2": flux2_original_lora}
COMFY_FAMILIES = tuple(_ORIGINAL)  # whose adapters are written for ComfyUI too


def add_lora(
    backbone: Backbone,
    rank: int,
    alpha: float,
    targets: str | Sequence[str] | None = None,
    *,
    generator: torch.Generator | None = None,
) -> dict[str, nn.Parameter]:
    """Put a new adapter on the denoiser, and freeze everything else of it.

    A is uniform in +-1 / sqrt(inputs) and B is zero, so that nothing changes at first. Both are
    float32, whatever the model is in: small steps would be lost in bfloat16.

    Args:
        backbone: changed in place.
        rank: of each layer's adapter.
        alpha: the adapter's product is multiplied by alpha / rank.
        targets: a regular expression that a layer's whole name matches, or names that it ends
            with (``("attn.to_q", "attn.to_v")``); by default the backbone's ``lora_targets``.
        generator: of A, on the CPU; by default one seeded with 0.

    Returns:
        The new parameters by name.

    Raises:
        RequestError: an adapter is there already, rank is below 1, or nothing matches.
    """
    from peft import LoraConfig

    denoiser = bare_module(backbone.denoiser)
    if getattr(denoiser, "peft_config", None):
        raise RequestError("the model has an adapter already; merge it with merge_lora first")
    if rank < 1:
        raise RequestError(f"LoRA rank {rank}: expected at least 1")
    chosen = targets or backbone.lora_targets
    pattern = chosen if isinstance(chosen, str) else list(chosen)
    _require_layers(denoiser, pattern)
    denoiser.requires_grad_(False)
    denoiser.add_adapter(
        LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern, lora_dropout=0.0),
        adapter_name=_NAME,
    )
    parameters = lora_parameters(backbone)
    source = generator or torch.Generator().manual_seed(0)
    for name, parameter in parameters.items():
        parameter.data = _first_value(name, parameter, source)
    return parameters


def _require_layers(denoiser: nn.Module, pattern: str | list[str]) -> None:
    """Peft finds out too late, and leaves a model behind that says it has an adapter."""
    expression = pattern if isinstance(pattern, str) else _ends_with(pattern)
    try:
        found = [m for name, m in denoiser.named_modules() if re.fullmatch(expression, name)]
    except re.error as error:
        raise RequestError(f"LoRA targets {pattern!r}: no regular expression ({error})") from error
    foreign = {type(module).__name__ for module in found if not isinstance(module, nn.Linear)}
    if not found or foreign:
        raise RequestError(
            f"LoRA targets {pattern!r}: expected names of linear layers, they match "
            f"{', '.join(sorted(foreign)) or 'no layer'}"
        )


def _ends_with(names: Sequence[str]) -> str:
    return r"(.*\.)?(" + "|".join(re.escape(name) for name in names) + ")"


def _first_value(name: str, parameter: Tensor, generator: torch.Generator) -> Tensor:
    value = torch.zeros(parameter.shape, dtype=torch.float32)
    if ".lora_A." in name:
        bound = parameter.shape[1] ** -0.5
        value.uniform_(-bound, bound, generator=generator)
    return value.to(parameter.device)


def lora_parameters(backbone: Backbone) -> dict[str, nn.Parameter]:
    """The adapter's parameters by their names in the bare denoiser, in a fixed order.

    Raises:
        RequestError: there is no adapter.
    """
    denoiser = _require_adapter(backbone)
    named = sorted(denoiser.named_parameters())
    return {name: value for name, value in named if ".lora_A." in name or ".lora_B." in name}


def save_lora(
    backbone: Backbone,
    folder: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    comfy: bool | None = None,
) -> Path:
    """Write the adapter as two files: for diffusers, and for ComfyUI.

    ``pytorch_lora_weights.safetensors`` loads with ``pipeline.load_lora_weights(folder)`` and
    :func:`load_lora`; rank and alpha stand in its header. ``comfyui.safetensors`` holds the same
    under the original names of the model.

    Args:
        backbone: with an adapter.
        folder: made if it is not there.
        metadata: further entries of both headers (base model, recipe ...).
        comfy: write the second file too; None: if every layer has an original name.

    Returns:
        The file for diffusers.

    Raises:
        RequestError: there is no adapter.
        DataError: ``comfy``, and a layer has no original name.
    """
    from safetensors.torch import save

    config = _require_adapter(backbone).peft_config[_NAME]
    layers = _layers(backbone)
    header = {"format": "pt", **(metadata or {})}
    make_folder(folder)
    tensors = {}
    for name, (down, up) in layers.items():
        tensors[f"{backbone.lora_prefix}.{name}.lora_A.weight"] = down
        tensors[f"{backbone.lora_prefix}.{name}.lora_B.weight"] = up
    settings = {f"{backbone.lora_prefix}.{key}": value for key, value in _plain(config).items()}
    path = folder / DIFFUSERS_FILE
    write_atomic(path, save(tensors, {**header, "lora_adapter_metadata": json.dumps(settings)}))
    if comfy is not False:
        try:
            renamed = _renamed(backbone.family, layers, config.lora_alpha / config.r)
            write_atomic(folder / COMFY_FILE, save(renamed, header))
        except DataError:
            if comfy:
                raise
    return path


def _renamed(
    family: str, layers: Mapping[str, tuple[Tensor, Tensor]], scale: float
) -> dict[str, Tensor]:
    if family not in _ORIGINAL:
        raise DataError(f"LoRA of {family}: ComfyUI's names are known for {', '.join(_ORIGINAL)}")
    return _ORIGINAL[family](layers, scale)


def _layers(backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer name -> (A, B) on the CPU."""
    values = {k: v.detach().cpu().contiguous() for k, v in lora_parameters(backbone).items()}
    ends = (f".lora_A.{_NAME}.weight", f".lora_B.{_NAME}.weight")
    names = [name.removesuffix(ends[0]) for name in values if name.endswith(ends[0])]
    return {name: (values[name + ends[0]], values[name + ends[1]]) for name in names}


def _plain(config: Any) -> dict[str, Any]:
    """What diffusers needs of a LoraConfig to make the same one again."""
    targets = config.target_modules
    return {
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "target_modules": targets if isinstance(targets, str) else sorted(targets),
        "peft_type": "LORA",
        "lora_bias": False,
    }


def load_lora(backbone: Backbone, source: str | Path, *, scale: float = 1.0) -> None:
    """Put a saved adapter on the backbone, ours or another program's that diffusers can read.

    One of UNO or UMO, under the names that they are published with, also gives a FLUX.1 that takes
    no references the limits of one that does.

    Args:
        backbone: changed in place; the adapter is frozen.
        source: a folder of :func:`save_lora`, a safetensors file, or the name of one that ships.
        scale: the adapter's strength; 1 is as it was trained.

    Raises:
        WeightsError: the file is missing, damaged, a pickle, or belongs to another model.
        RequestError: an adapter is there already.
    """
    path = find_adapter(source)
    header = read_safetensors_header(path)
    is_uno = backbone.family == "flux1" and is_uno_lora(header)
    denoiser = bare_module(backbone.denoiser)
    if getattr(denoiser, "peft_config", None):
        raise RequestError("the model has an adapter already; merge it with merge_lora first")
    given: Any = {"pretrained_model_name_or_path_or_dict": str(path.parent)}
    if is_uno:
        given = {"pretrained_model_name_or_path_or_dict": read_uno_lora(path, denoiser)}
    else:
        given |= {"weight_name": path.name, "use_safetensors": True}
    try:
        backbone.pipeline.load_lora_weights(**given, adapter_name=_NAME)
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(f"{path}: no LoRA for {backbone.name} ({reason})") from error
    denoiser.requires_grad_(False)
    scale_lora(backbone, scale)
    if is_uno and not backbone.limits.reference_px:
        backbone.limits = uno_limits(backbone.limits)


def scale_lora(backbone: Backbone, scale: float) -> None:
    """Set the adapter's strength: 0 is none of it, 1 is as it was trained.

    Raises:
        RequestError: there is no adapter.
    """
    denoiser = _require_adapter(backbone)
    with _same_trainable(denoiser):
        denoiser.set_adapters([_NAME], [scale])


@contextmanager
def without_lora(backbone: Backbone) -> Iterator[None]:
    """The model as it was before the adapter, for a while: the reference of a KL penalty.

    Raises:
        RequestError: there is no adapter.
    """
    denoiser = _require_adapter(backbone)
    with _same_trainable(denoiser):
        denoiser.disable_adapters()
        try:
            yield
        finally:
            denoiser.enable_adapters()


def merge_lora(backbone: Backbone, *, scale: float = 1.0) -> None:
    """Add ``scale`` times the adapter to the weights and take it off; cannot be undone.

    Raises:
        RequestError: there is no adapter.
    """
    _require_adapter(backbone)
    backbone.pipeline.fuse_lora(lora_scale=scale)
    backbone.pipeline.unload_lora_weights()


def _require_adapter(backbone: Backbone) -> Any:
    denoiser = bare_module(backbone.denoiser)
    if _NAME not in (getattr(denoiser, "peft_config", None) or {}):
        raise RequestError("the model has no adapter; use add_lora or load_lora first")
    return denoiser


@contextmanager
def _same_trainable(module: nn.Module) -> Iterator[None]:
    """Peft wakes and freezes parameters when adapters are switched; put that back afterwards."""
    before = {name: value.requires_grad for name, value in module.named_parameters()}
    try:
        yield
    finally:
        for name, value in module.named_parameters():
            value.requires_grad_(before[name])


def bare_module(module: Any) -> Any:
    """The module inside the wrappers of data parallelism and compilation."""
    for name in ("_orig_mod", "module"):
        inner = getattr(module, name, None)
        if isinstance(inner, nn.Module):
            return bare_module(inner)
    return module
