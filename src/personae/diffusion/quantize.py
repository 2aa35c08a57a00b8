"""A frozen denoiser in fewer bits, for adapters on models that are larger than the memory."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal

import torch

from personae.diffusion.folder import CheckpointFolder
from personae.errors import RequestError

__all__ = ["QUANTIZED", "Quantize", "quantization_config", "weight_bytes"]

Quantize = Literal["no", "int8", "nf4"]

QUANTIZED = "transformer"
"""The part of most pipelines that is quantized; prompts and pixels stay exact."""

_LIBRARY: Mapping[str, str] = {"int8": "torchao", "nf4": "bitsandbytes"}
# Bytes a number: int8 with a scale a row; nf4 with a float32 scale for each block of 64.
_BYTES: Mapping[str, float] = {"int8": 1.01, "nf4": 0.5 + 4 / 64}


def quantization_config(
    kind: Quantize, device: torch.device, dtype: torch.dtype, part: str = QUANTIZED
) -> Any:
    """What ``DiffusionPipeline.from_pretrained`` takes as its ``quantization_config``.

    ``int8`` keeps weights as whole numbers with a scale a row (torchao, any device); ``nf4`` as
    the 16 quantiles of a normal distribution with a scale a block (QLoRA, Dettmers et al. 2023,
    arXiv 2305.14314; bitsandbytes, GPUs alone). Both are multiplied in ``dtype``.

    Args:
        kind: ``no`` gives None.
        device: where the model is going to compute.
        dtype: in what.
        part: of the pipeline, its denoiser.

    Raises:
        RequestError: the library is not installed, or cannot do this on the device.
    """
    if kind == "no":
        return None
    library = _LIBRARY[kind]
    if find_spec(library) is None:
        raise RequestError(
            f"training.quantize: {kind!r} needs {library}, which is not installed; run "
            f"`pip install {library}` (or `pip install 'personae[quantize]'`), or set it to 'no'"
        )
    if kind == "nf4" and device.type == "cpu":
        raise RequestError(
            "training.quantize: 'nf4' needs a GPU; got device cpu: use 'int8', or set it to 'no'"
        )
    from diffusers.quantizers import PipelineQuantizationConfig

    make = {"int8": _int8, "nf4": _nf4}[kind]
    return PipelineQuantizationConfig(quant_mapping={part: make(dtype)})


def weight_bytes(
    folder: CheckpointFolder, dtype: torch.dtype, kind: Quantize = "no", part: str = QUANTIZED
) -> int:
    """Bytes that a checkpoint's weights need in memory, its denoiser ``part`` in fewer bits."""
    counts = {
        name: sum(tensor.numel for tensor in held.values()) for name, held in folder.tensors.items()
    }
    fewer = _BYTES.get(kind, dtype.itemsize)
    return int(
        sum(count * (fewer if name == part else dtype.itemsize) for name, count in counts.items())
    )


def _int8(dtype: torch.dtype) -> Any:
    from diffusers import TorchAoConfig
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def _nf4(dtype: torch.dtype) -> Any:
    from diffusers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )
