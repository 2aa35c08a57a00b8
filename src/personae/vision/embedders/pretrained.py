"""Loading models of the transformers library: safetensors only, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from personae.errors import WeightsError

__all__ = ["load_pretrained"]


def _class(kind: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise WeightsError(
            f"{kind} needs the transformers library; run `pip install 'personae[transformers]'`"
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
