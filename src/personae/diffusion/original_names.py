"""LoRA weights under the names of the model's own program, as ComfyUI reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from personae.errors import DataError

__all__ = ["flux2_original_lora"]

# The names of Black Forest Labs' program, which ComfyUI keeps: diffusers' converter of FLUX.2
# LoRA files reads the same table the other way.
_DOUBLE = {
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.linear_in": "img_mlp.0",
    "ff.linear_out": "img_mlp.2",
    "ff_context.linear_in": "txt_mlp.0",
    "ff_context.linear_out": "txt_mlp.2",
}
_SINGLE = {"attn.to_qkv_mlp_proj": "linear1", "attn.to_out": "linear2"}
_FUSED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}


def flux2_original_lora(
    layers: Mapping[str, tuple[Tensor, Tensor]], scale: float
) -> dict[str, Tensor]:
    """LoRA layers of a ``Flux2Transformer2DModel`` under the original names.

    The original model computes query, key and value by one layer: their three LoRAs of rank r
    become one of rank 3 r, with a block-diagonal up-projection, so the product is the same.
    ``scale`` (alpha / rank) is multiplied into the up-projections, since the format's readers
    disagree about alpha.

    Args:
        layers: module name of diffusers -> (down (r, in), up (out, r)).
        scale: alpha / rank.

    Returns:
        ``diffusion_model.<layer>.lora_A.weight`` and ``.lora_B.weight``.

    Raises:
        DataError: a layer has no counterpart in the original model.
    """
    named: dict[str, tuple[Tensor, Tensor]] = {}
    blocks: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}
    for name, pair in layers.items():
        block, part = _block_and_part(name)
        blocks.setdefault(block, {})[part] = pair
    for block, parts in blocks.items():
        table = _SINGLE if block.startswith("single") else _DOUBLE
        named |= {f"{block}.{table[part]}": parts[part] for part in parts if part in table}
        for whole, thirds in _FUSED.items():
            if any(part in parts for part in thirds):
                named[f"{block}.{whole}"] = _fused([parts.get(part) for part in thirds])
    tensors = {}
    for name, (down, up) in named.items():
        tensors[f"diffusion_model.{name}.lora_A.weight"] = down.contiguous()
        tensors[f"diffusion_model.{name}.lora_B.weight"] = (up * scale).contiguous()
    return tensors


def _block_and_part(name: str) -> tuple[str, str]:
    """``transformer_blocks.3.attn.to_q`` is part ``attn.to_q`` of block ``double_blocks.3``."""
    match = re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.+)", name)
    part = match[3] if match else ""
    known = set(_SINGLE) if match and match[1] else set(_DOUBLE).union(*_FUSED.values())
    if match is None or part not in known:
        raise DataError(
            f"LoRA layer {name}: has no counterpart in the original FLUX.2 names; adapt layers "
            "inside the blocks only, or do not ask for the ComfyUI file"
        )
    return f"{'single' if match[1] else 'double'}_blocks.{match[2]}", part


def _fused(pairs: list[tuple[Tensor, Tensor] | None]) -> tuple[Tensor, Tensor]:
    """One LoRA for three layers that stand on each other; a missing one adds nothing."""
    there = next(pair for pair in pairs if pair is not None)
    downs = [pair[0] for pair in pairs if pair is not None]
    ups = [there[1].new_zeros(there[1].shape[0], 0) if pair is None else pair[1] for pair in pairs]
    return torch.cat(downs), torch.block_diag(*ups)  # type: ignore[no-untyped-call]
