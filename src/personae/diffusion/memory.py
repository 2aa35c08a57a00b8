"""How much memory a model needs to draw or to be trained, and how much there is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from personae.diffusion.configs import ModelConfigs, build_on_meta
from personae.diffusion.families import FAMILY_FACTS
from personae.errors import RequestError

__all__ = [
    "MemoryEstimate",
    "Training",
    "Workload",
    "activations",
    "available_memory",
    "estimate_memory",
    "flux2_activations",
    "format_bytes",
    "weight_needs",
]

Training = Literal["lora", "full"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a model is to do.

    Attributes:
        width: of a picture, in pixels.
        height: of a picture, in pixels.
        references: how many stand in context.
        reference_px: side of each; None: what the model was trained for.
        batch: pictures at once.
        dtype: of the weights.
        training: None to draw, ``lora`` or ``full`` to train the denoiser.
        rank: of the LoRA.
        checkpointing: recompute the blocks in the backward pass.
    """

    width: int
    height: int
    references: int = 2
    reference_px: int | None = None
    batch: int = 1
    dtype: torch.dtype = torch.bfloat16
    training: Training | None = None
    rank: int = 16
    checkpointing: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.width, self.height, self.batch, self.rank) < 1 or self.references < 0:
            raise RequestError(f"{self}: expected positive sizes, batch and rank")
        if self.training not in (None, "lora", "full"):
            raise RequestError(f"training {self.training!r}: expected 'lora', 'full' or None")


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by what needs them.

    Attributes:
        weights: by part of the pipeline; exact.
        training: gradients, optimizer state and adapter; empty when drawing; exact.
        activations: by stage; stages follow each other, so the largest counts; about right.
        num_parameters: by part.
    """

    weights: Mapping[str, int]
    activations: Mapping[str, int]
    num_parameters: Mapping[str, int]
    training: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes at the worst moment."""
        held = sum(self.weights.values()) + sum(self.training.values())
        return held + max(self.activations.values(), default=0)


def estimate_memory(configs: ModelConfigs, workload: Workload) -> MemoryEstimate:
    """What a model needs for some work, from its configuration alone.

    Weights are counted on modules that are built on torch's meta device. Training keeps, in
    bytes a trained number, gradient 4, two AdamW moments 8, and where the weights have 16 bits a
    float32 copy 4 (Rajbhandari et al., ZeRO, 2020, section 3.1). Activations: see
    :func:`activations`.

    Raises:
        WeightsError: a class is not known to the installed libraries.
        RequestError: this family's activations are not known.
    """
    if configs.pipeline_class not in FAMILY_FACTS:
        raise RequestError(f"model {configs.name}: no memory formula for {configs.pipeline_class}")
    modules = {name: build_on_meta(part) for name, part in configs.parts.items()}
    return MemoryEstimate(
        weights=weight_needs(modules, workload.dtype),
        activations=activations(configs, workload),
        num_parameters={name: _count(module) for name, module in modules.items()},
        training=_training_bytes(configs, modules[configs.family.denoiser], workload),
    )


def weight_needs(modules: Mapping[str, nn.Module], dtype: torch.dtype) -> dict[str, int]:
    """Bytes of each part's weights, of modules that need not have any."""
    return {name: _module_bytes(module, dtype) for name, module in modules.items()}


def _module_bytes(module: nn.Module, dtype: torch.dtype) -> int:
    """Weights and buffers that are stored; whole numbers keep their own width."""
    stored = module.state_dict().keys()
    buffers = [tensor for name, tensor in module.named_buffers() if name in stored]
    return sum(
        tensor.numel() * (dtype.itemsize if tensor.is_floating_point() else tensor.itemsize)
        for tensor in (*module.parameters(), *buffers)
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _training_bytes(
    configs: ModelConfigs, denoiser: nn.Module, workload: Workload
) -> dict[str, int]:
    if workload.training is None:
        return {}
    if workload.training == "full":
        trained, new = _count(denoiser), 0
        master = 4 if workload.dtype.itemsize == 2 else 0
    else:
        trained, master = _lora_count(configs, denoiser, workload.rank), 0
        new = 4 * trained
    parts = {"adapter": new, "gradients": 4 * trained, "optimizer": (8 + master) * trained}
    return {name: size for name, size in parts.items() if size}


def _lora_count(configs: ModelConfigs, denoiser: nn.Module, rank: int) -> int:
    """Numbers in A (rank, in) and B (out, rank) of every layer that is adapted."""
    targets = configs.family.lora_targets
    return sum(
        rank * (module.in_features + module.out_features)
        for name, module in denoiser.named_modules()
        if isinstance(module, nn.Linear) and re.fullmatch(targets, name)
    )


def activations(configs: ModelConfigs, workload: Workload) -> dict[str, int]:
    """Bytes of intermediate tensors of each stage: ``text_encoder``, the denoiser, ``vae``.

    FLUX.2 has a formula, :func:`flux2_activations`; others are rehearsed
    (:func:`~personae.diffusion.rehearsed.rehearsed_activations`).
    """
    if configs.pipeline_class == "Flux2KleinPipeline":
        return flux2_activations(configs, workload)
    from personae.diffusion.rehearsed import rehearsed_activations

    return rehearsed_activations(configs, workload)


def flux2_activations(configs: ModelConfigs, workload: Workload) -> dict[str, int]:
    r"""Bytes of intermediate tensors of each stage of a FLUX.2 Klein model.

    In bytes, of n tokens (text, picture, references), width h, mlp ratio r, s bytes a number:

    - transformer, drawing: :math:`(s (8 + 4 r) + 8) h n`, the tensors of one single block that
      live at once (queries, keys, values, both halves of the gate, output), two in float32;
    - trained: each block keeps :math:`(s (9 + 4 r) + 24) h n` for the backward pass, six numbers
      of it in float32 (what is normalized and rotated); with checkpointing each block keeps
      :math:`s h n`, and one is recomputed in :math:`(s (4 + 8 r) + 24) h n`;
    - autoencoder: :math:`s (4 c_0 + c_1) W H`, the last stage of the decoder at full size;
    - text encoder: :math:`s (l + 2 + 3 m / d) d L` for all l hidden states, and the logits of
      all L words.

    The method is that of Korthikanti et al., Reducing Activation Recomputation (2022), section
    4; the coefficients were fitted to what operations on small models were seen to keep (tests
    hold them within 35% of that). Attention is taken to be fused: nothing grows with n squared.
    """
    s, batch = workload.dtype.itemsize, workload.batch
    vae = configs.parts["vae"].config
    first, second, *_ = vae.get("decoder_block_out_channels") or vae["block_out_channels"]
    channels = 4 * first + second
    return {
        "text_encoder": batch * s * _text_numbers(configs),
        "transformer": batch * _transformer_bytes(configs, workload),
        "vae": batch * s * channels * workload.width * workload.height,
    }


def _text_numbers(configs: ModelConfigs) -> int:
    text = configs.parts["text_encoder"].config
    width, layers = int(text["hidden_size"]), int(text["num_hidden_layers"])
    held = (layers + 2) * width + 3 * int(text["intermediate_size"]) + int(text["vocab_size"])
    return held * configs.limits.prompt_tokens


def _transformer_bytes(configs: ModelConfigs, workload: Workload) -> int:
    net: Mapping[str, Any] = configs.parts["transformer"].config
    patch = 2 ** len(configs.parts["vae"].config["block_out_channels"])
    side = workload.reference_px or configs.limits.reference_px
    tokens = configs.limits.prompt_tokens + (workload.width // patch) * (workload.height // patch)
    tokens += workload.references * (side // patch) ** 2
    ratio, s = float(net["mlp_ratio"]), workload.dtype.itemsize
    blocks = int(net["num_layers"]) + int(net["num_single_layers"])
    if workload.training is None:
        each = s * (8 + 4 * ratio) + 8
    elif workload.checkpointing:
        each = s * (blocks + 4 + 8 * ratio) + 24
    else:
        each = blocks * (s * (9 + 4 * ratio) + 24)
    return int(each * tokens * int(net["num_attention_heads"]) * int(net["attention_head_dim"]))


def available_memory(device: torch.device) -> int:
    """Free bytes: of the GPU, or of this machine's memory within the limits of its container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        found = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.M)
    except (OSError, ValueError):  # no cgroup, or "max"
        return free
    cached = int(found[1]) if found else 0  # files that the kernel drops when asked to
    return min(free, max(0, limit - used + cached))


def format_bytes(count: float) -> str:
    """Bytes for a person, in powers of 1024.

    >>> format_bytes(8_589_934_592)
    '8.0 GiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
