"""Loading models of the transformers library: safetensors only, and errors that say what to do."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import nn

from personae.errors import WeightsError

__all__ = ["load_pretrained", "weights_digest"]


def _class(kind: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise WeightsError(
            f"{kind} needs the transformers library; run `pip install 'transformers>=5,<6'`"
        ) from error
    return getattr(transformers, kind)


def load_pretrained(
    kind: str, source: str | Path, revision: str | None = None, **options: Any
) -> Any:
    """A model or tokenizer of class ``kind`` from a folder or a hub id.

    Models are read from safetensors alone, never from a pickle.

    Raises:
        WeightsError: transformers is missing, or the source cannot be read.
    """
    loader = _class(kind)
    if not kind.endswith("Tokenizer"):
        options["use_safetensors"] = True
    try:
        loaded = loader.from_pretrained(str(source), revision=revision or "main", **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(
            f"{source} (revision {revision or 'main'}): no {kind} could be loaded ({reason}); "
            "expected a folder or hub id with model.safetensors: check the name, the network and "
            "HF_HUB_OFFLINE, or give the path of a downloaded copy"
        ) from error
    return loaded


def weights_digest(network: nn.Module) -> str:
    """First eight digits of the SHA-256 of a network's weights, wherever they came from.

    Results, and descriptors that were kept, are comparable only with the same weights.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]
