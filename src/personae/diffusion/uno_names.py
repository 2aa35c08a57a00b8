"""LoRA files of UNO and UMO, whose layers have the names of FLUX's own program.

Facts of the layout: the keys of UNO's attention processors (Apache-2.0) and of the LoRA files of
XLabs, from which they descend. Rank 512, no alpha (scale 1):

- ``double_blocks.N.processor.qkv_lora1`` and ``proj_lora1``: the picture's stream,
  ``qkv_lora2`` and ``proj_lora2``: the words' stream; h to 3 h, and h to h;
- ``single_blocks.N.processor.qkv_lora``: h to 3 h, beside the first part of ``linear1``;
  ``proj_lora``: 5 h to h, beside ``linear2``;
- each with ``.down.weight`` (rank, inputs) and ``.up.weight`` (outputs, rank).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from personae.errors import WeightsError

__all__ = ["is_uno_lora", "read_uno_lora", "uno_lora"]

_KEY = re.compile(
    r"(?:diffusion_model\.|module\.)?(double|single)_blocks\.(\d+)\.processor\."
    r"(qkv_lora[12]?|proj_lora[12]?)\.(down|up)\.weight"
)
# By the first letter of the blocks and the name in UNO: layers of diffusers that share the A.
_LAYERS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("double", "qkv_lora1"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("double", "qkv_lora2"): ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    ("double", "proj_lora1"): ("attn.to_out.0",),
    ("double", "proj_lora2"): ("attn.to_add_out",),
    ("single", "qkv_lora"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("single", "proj_lora"): ("proj_out",),
}


def is_uno_lora(names: Iterable[str]) -> bool:
    """Are these the tensors of a UNO adapter?

    >>> is_uno_lora(["double_blocks.0.processor.qkv_lora1.down.weight"])
    True
    """
    return any(_KEY.fullmatch(name) for name in names)


def uno_lora(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same adapter for a ``FluxTransformer2DModel`` of diffusers.

    One layer for query, key and value becomes three: A is theirs alike, B is cut in three.

    Returns:
        ``transformer.<layer>.lora_A.weight`` and ``.lora_B.weight``.

    Raises:
        WeightsError: a tensor of another layout, half a layer, or shapes that do not fit.
    """
    found: dict[tuple[str, str, str], dict[str, Tensor]] = {}
    for key, tensor in state.items():
        match = _KEY.fullmatch(key)
        if match is None or (match[1], match[3]) not in _LAYERS:
            raise WeightsError(
                f"LoRA tensor {key}: expected names such as "
                "double_blocks.0.processor.qkv_lora1.down.weight, as UNO and UMO publish them"
            )
        found.setdefault((match[1], match[2], match[3]), {})[match[4]] = tensor
    made: dict[str, Tensor] = {}
    for (kind, number, name), pair in found.items():
        layers = _LAYERS[kind, name]
        down, up = _checked(f"{kind}_blocks.{number}.processor.{name}", pair, len(layers))
        block = f"transformer.{'single_' * (kind == 'single')}transformer_blocks.{number}"
        for layer, part in zip(layers, up.chunk(len(layers)), strict=True):
            made[f"{block}.{layer}.lora_A.weight"] = down.clone()
            made[f"{block}.{layer}.lora_B.weight"] = part.contiguous()
    return made


def read_uno_lora(path: Path, transformer: nn.Module) -> dict[str, Tensor]:
    """What `uno_lora` makes of a file, for this transformer.

    Diffusers would leave out layers that the model does not have, without a word.

    Raises:
        WeightsError: another layout, or layers that the transformer does not have.
    """
    from safetensors.torch import load_file

    made = uno_lora(load_file(path))
    layers = {name.removeprefix("transformer.").rsplit(".lora_", 1)[0] for name in made}
    lacking = sorted(layers - {name for name, _ in transformer.named_modules()})
    if lacking:
        raise WeightsError(
            f"{path}: a LoRA for another model: {len(lacking)} of {len(layers)} layers are not in "
            f"this one, first {lacking[0]}; give a base of FLUX.1-dev's sizes"
        )
    return made


def _checked(name: str, pair: Mapping[str, Tensor], parts: int) -> tuple[Tensor, Tensor]:
    if set(pair) != {"down", "up"}:
        raise WeightsError(f"LoRA layer {name}: expected down and up; got {', '.join(pair)} alone")
    down, up = pair["down"], pair["up"]
    if down.ndim != 2 or up.ndim != 2 or up.shape[1] != down.shape[0] or up.shape[0] % parts:
        raise WeightsError(
            f"LoRA layer {name}: expected down (rank, inputs) and up ({parts} x outputs, rank); "
            f"got {tuple(down.shape)} and {tuple(up.shape)}"
        )
    return down, up
