"""An adapter's layers as numbers: read off a backbone, and put on one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from personae.diffusion.adapters import adapter_scale, find_adapter
from personae.diffusion.backbone import Backbone
from personae.diffusion.folder import read_safetensors_header
from personae.diffusion.lora import add_lora, bare_module, load_lora, lora_parameters
from personae.errors import RequestError, WeightsError

__all__ = [
    "LowRank",
    "attach_layers",
    "attached_layers",
    "layer_ranks",
    "read_adapter",
    "read_layers",
    "remove_adapter",
]

_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"


@dataclass(frozen=True, eq=False)
class LowRank:
    """What an adapter adds to one linear layer: ``scale * up @ down``.

    Attributes:
        down: (r, inputs), LoRA's A.
        up: (outputs, r), LoRA's B.
        scale: alpha / rank.
    """

    down: Tensor
    up: Tensor
    scale: float = 1.0

    @property
    def rank(self) -> int:
        """Rows of ``down``."""
        return len(self.down)

    def dense(self) -> Tensor:
        """The (outputs, inputs) matrix itself."""
        return self.scale * self.up @ self.down


def read_adapter(
    backbone: Backbone, source: str | Path, name: str | None = None
) -> dict[str, LowRank]:
    """A saved adapter's layers, float32 on the CPU, by their names in the bare denoiser.

    It is put on the backbone and taken off again: so every form that `load_lora` reads can be
    read, and what does not fit this model is found out.

    Args:
        backbone: without an adapter; left as it was.
        source: as `load_lora` takes it.
        name: of the adapter, for errors.

    Raises:
        WeightsError: it is missing, damaged, or belongs to another model; the message names it.
        RequestError: the backbone has an adapter already.
    """
    if _has_adapter(backbone):
        raise RequestError("the model has an adapter already; take it off with remove_adapter")
    try:
        _require_fitting(find_adapter(source), backbone)
        load_lora(backbone, source)
    except WeightsError as error:
        raise WeightsError(f"adapter {name}: {error}" if name else str(error)) from error
    layers = {key: _on_cpu(layer) for key, layer in attached_layers(backbone).items()}
    remove_adapter(backbone)
    return layers


def read_layers(source: str | Path, prefix: str) -> dict[str, LowRank]:
    """A saved adapter's layers from its file alone, in the form that `save_lora` writes.

    Args:
        source: a folder of `save_lora`, a safetensors file, or the name of one that ships.
        prefix: the backbone's ``lora_prefix``.

    Raises:
        WeightsError: it is missing or damaged, or of another form.
    """
    from safetensors.torch import load_file

    path = find_adapter(source)
    read_safetensors_header(path)
    held, scale = load_file(path), adapter_scale(path)
    ends = (".lora_A.weight", ".lora_B.weight")
    names = [name.removesuffix(ends[0]) for name in held if name.endswith(ends[0])]
    foreign = [name for name in names if not name.startswith(f"{prefix}.")]
    if foreign or not names or len(held) != 2 * len(names):
        raise WeightsError(
            f"{path}: expected layers {prefix}.NAME.lora_A.weight and lora_B.weight; got "
            f"{(foreign or list(held) or ['none'])[0]}"
        )
    return {
        name.removeprefix(f"{prefix}."): LowRank(held[name + ends[0]], held[name + ends[1]], scale)
        for name in names
    }


def layer_ranks(source: str | Path, prefix: str, denoiser: nn.Module) -> dict[str, int]:
    """The ranks of a saved adapter's layers, by their names in the denoiser; reads headers only.

    Args:
        source: as `read_layers` takes it.
        prefix: the backbone's ``lora_prefix``.
        denoiser: that it is for, bare; its weights need not be there.

    Raises:
        WeightsError: it is missing or damaged, of another form, or of another model.
    """
    path = find_adapter(source)
    held = {name: stored.shape for name, stored in read_safetensors_header(path).items()}
    modules = dict(denoiser.named_modules())
    ranks: dict[str, int] = {}
    for name in held:
        layer = re.sub(r"\.lora_[AB]\.weight$", "", name.removeprefix(f"{prefix}."))
        pair = [held.get(f"{prefix}.{layer}.lora_{part}.weight", ()) for part in "AB"]
        module = modules.get(layer)
        if not isinstance(module, nn.Linear):
            raise WeightsError(
                f"{path}: expected layers {prefix}.NAME.lora_A.weight and lora_B.weight, of linear "
                f"layers of this model; got {name}; give an adapter that was trained on this model"
            )
        rank = pair[0][0] if pair[0] else 0
        if pair != [(rank, module.in_features), (module.out_features, rank)]:
            raise WeightsError(
                f"{path}: expected {layer} from {module.in_features} to {module.out_features} "
                f"numbers; got A {pair[0] or 'none'} and B {pair[1] or 'none'}; give an adapter "
                "that was trained on this model"
            )
        ranks[layer] = rank
    if not ranks:
        raise WeightsError(f"{path}: expected an adapter's layers; got none; give another file")
    return ranks


def _require_fitting(path: Path, backbone: Backbone) -> None:
    """The library that loads it leaves out what does not fit, or fails at length."""
    modules = dict(bare_module(backbone.denoiser).named_modules())
    header = read_safetensors_header(path)
    prefix = f"{backbone.lora_prefix}."
    kept = {
        name.removeprefix(prefix): held.shape
        for name, held in header.items()
        if name.startswith(prefix)
    }
    foreign = [name for name, shape in kept.items() if not _fits(name, shape, modules)]
    if foreign:
        raise WeightsError(
            f"{path}: {len(foreign)} of its {len(kept)} tensors do not fit {backbone.name}, first "
            f"{foreign[0]}; it was trained on another model, give that one"
        )


def _fits(name: str, shape: tuple[int, ...], modules: Mapping[str, nn.Module]) -> bool:
    layer, part, _ = name.rsplit(".", 2)
    module = modules.get(layer)
    if not isinstance(module, nn.Linear):
        return False
    return shape[-1] == module.in_features if part == "lora_A" else shape[0] == module.out_features


def attached_layers(backbone: Backbone) -> dict[str, LowRank]:
    """The layers of the adapter that is on the backbone, by their names in the bare denoiser.

    Raises:
        RequestError: there is no adapter.
    """
    values = {name: value.detach() for name, value in lora_parameters(backbone).items()}
    denoiser = bare_module(backbone.denoiser)
    names = [name.removesuffix(_DOWN) for name in values if name.endswith(_DOWN)]
    return {
        name: LowRank(
            values[name + _DOWN],
            values[name + _UP],
            float(denoiser.get_submodule(name).scaling["default"]),
        )
        for name in names
    }


def attach_layers(backbone: Backbone, layers: Mapping[str, LowRank]) -> None:
    """Put these layers on the backbone as one frozen adapter, of their largest rank and scale 1.

    Layers of a smaller rank are filled with zeros. `save_lora` writes it, `merge_lora` adds it to
    the weights.

    Raises:
        RequestError: the backbone has an adapter already, or lacks a layer.
    """
    rank = max(layer.rank for layer in layers.values())
    parameters = add_lora(backbone, rank, rank, targets=sorted(layers))
    for name, layer in layers.items():
        down, up = parameters[name + _DOWN], parameters[name + _UP]
        for parameter in (down, up):
            parameter.data.zero_()
            parameter.requires_grad_(False)
        down.data[: layer.rank].copy_(layer.down)
        up.data[:, : layer.rank].copy_(layer.scale * layer.up)


def remove_adapter(backbone: Backbone) -> None:
    """Take the adapter off, if there is one; the weights are what they were."""
    if _has_adapter(backbone):
        backbone.pipeline.unload_lora_weights()


def _has_adapter(backbone: Backbone) -> bool:
    return bool(getattr(bare_module(backbone.denoiser), "peft_config", None))


def _on_cpu(layer: LowRank) -> LowRank:
    down, up = (value.to("cpu", torch.float32).clone() for value in (layer.down, layer.up))
    return LowRank(down, up, layer.scale)
