"""A checkpoint's folder, looked at before anything is loaded: what it is, whole or damaged."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personae.errors import WeightsError

__all__ = [
    "PICKLE_SUFFIXES",
    "CheckpointFolder",
    "StoredTensor",
    "inspect_folder",
    "names_in_memory",
    "read_index",
    "read_safetensors_header",
    "read_safetensors_metadata",
    "weighted_components",
]

PICKLE_SUFFIXES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_NO_WEIGHTS = ("Tokenizer", "TokenizerFast", "Scheduler", "Processor", "ProcessorFast", "Extractor")


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a safetensors file, known from the file's header."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class CheckpointFolder:
    """A diffusers folder that was looked at.

    Attributes:
        path: the folder.
        pipeline_class: what its ``model_index.json`` calls itself.
        index: the rest of that file.
        tensors: by component and name, from the headers; empty where weights are pickles.
        pickled: a component's weights are pickles, and that was allowed.
    """

    path: Path
    pipeline_class: str
    index: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, StoredTensor]]
    pickled: bool

    @property
    def num_parameters(self) -> int:
        """Numbers in all weights."""
        return sum(t.numel for held in self.tensors.values() for t in held.values())


def read_index(path: Path) -> tuple[str, dict[str, Any]]:
    """The pipeline's class and the entries of a ``model_index.json``.

    Raises:
        WeightsError: the file is missing, or is no such index.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        return str(index["_class_name"]), index
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path.parent}: no {path.name} in it; expected a diffusers folder, as "
            "`pipeline.save_pretrained` writes it"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path}: expected JSON with _class_name ({error}); get the checkpoint again"
        ) from error


def weighted_components(index: Mapping[str, Any]) -> list[str]:
    """Names of the parts of a pipeline that have weights."""
    return [
        name
        for name, entry in index.items()
        if isinstance(entry, list) and len(entry) == 2 and entry[0] and entry[1]
        if not str(entry[1]).endswith(_NO_WEIGHTS)
    ]


def inspect_folder(path: Path, *, allow_pickle: bool = False) -> CheckpointFolder:
    """Look at a checkpoint without loading it.

    Raises:
        WeightsError: the folder is missing or no diffusers folder, a part of it is missing or
            damaged, or its weights are pickles and ``allow_pickle`` is False.
    """
    if not path.is_dir():
        raise WeightsError(f"{path}: no such folder; check the path of the model")
    pipeline_class, index = read_index(path / "model_index.json")
    tensors: dict[str, Mapping[str, StoredTensor]] = {}
    pickled = False
    for component in weighted_components(index):
        files = _weight_files(path / component, allow_pickle)
        pickled = pickled or files[0].suffix in PICKLE_SUFFIXES
        safe = [file for file in files if file.suffix == ".safetensors"]
        tensors[component] = {
            name: tensor for file in safe for name, tensor in read_safetensors_header(file).items()
        }
    return CheckpointFolder(path, pipeline_class, index, tensors, pickled)


def names_in_memory(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Tensors of a file by all the names that they may have once they are loaded.

    Published CLIP text encoders say ``text_model.`` before every name; transformers 5 drops it.

    >>> sorted(names_in_memory({"text_model.final": StoredTensor("F32", (1,))}))
    ['final', 'text_model.final']
    """
    shorter = {name.removeprefix("text_model."): held for name, held in stored.items()}
    return {**shorter, **stored}


def _weight_files(folder: Path, allow_pickle: bool) -> list[Path]:
    """The files that hold a component's weights: all shards, without variants beside them."""
    shards = sorted(folder.glob("*.safetensors.index.json"))
    if shards:
        return _sharded(min(shards, key=lambda path: len(path.name)))
    safe = sorted(folder.glob("*.safetensors"), key=lambda path: (len(path.name), path.name))
    if safe:
        return safe[:1]  # model.safetensors rather than model.fp16.safetensors
    pickles = sorted(path for path in folder.glob("*") if path.suffix in PICKLE_SUFFIXES)
    if not pickles:
        raise WeightsError(
            f"{folder}: no *.safetensors in it; the checkpoint is incomplete, get it again"
        )
    if not allow_pickle:
        raise WeightsError(
            f"{pickles[0]}: a pickle, which can run code when it is read; expected safetensors. "
            "Convert it, or trust its source and say --allow-pickle (allow_pickle=True)"
        )
    return pickles


def _sharded(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{index}: damaged ({error}); get the checkpoint again") from error
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing or not names:
        raise WeightsError(
            f"{index.parent}: lacks {', '.join(missing) or 'all shards'}; get the checkpoint again"
        )
    return [index.parent / name for name in names]


def read_safetensors_header(path: Path) -> dict[str, StoredTensor]:
    """Names, dtypes and shapes of a safetensors file; reads the header only.

    Raises:
        WeightsError: the file cannot be read, is cut off, or is not safetensors.
    """
    return _read_header(path)[0]


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file; reads the header only.

    Raises:
        WeightsError: the file cannot be read, is cut off, or is not safetensors.
    """
    return _read_header(path)[1]


def _read_header(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length <= size - 8:
                raise ValueError(f"header of {length} bytes in a file of {size}")
            header = json.loads(stream.read(length))
        metadata = dict(header.pop("__metadata__", None) or {})
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if size != 8 + length + end:
            raise ValueError(f"{size} bytes, expected {8 + length + end}")
        tensors = {k: StoredTensor(v["dtype"], tuple(v["shape"])) for k, v in header.items()}
        return tensors, metadata
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}); get the checkpoint again"
        ) from error
