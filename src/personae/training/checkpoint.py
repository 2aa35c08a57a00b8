"""Checkpoints: folders that are whole or not there, safetensors and JSON only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from personae.compute.runs import make_folder, read_json, write_json
from personae.errors import DataError, WorkError

__all__ = ["Checkpoint", "checkpoints", "load_checkpoint", "save_checkpoint"]

_PARTS = ("weights", "ema", "optimizer")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that a run needs to go on as if it had not stopped.

    Attributes:
        weights: what is trained, by name, in the dtype it is trained in.
        ema: the running mean of the weights, float32; empty where none is kept.
        optimizer: ``parameter/key`` -> state.
        state: JSON: ``step``, ``examples``, ``seconds``. Data order and noise are functions of
            the seed and the step, so there is no random state to keep.
    """

    weights: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    state: Mapping[str, Any]


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; half-written ones have other names."""
    found = [path for path in folder.glob("step-*") if (path / "state.json").is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write ``step-N`` below ``folder``, then remove all but the last ``keep``.

    Raises:
        WorkError: the disk is full or cannot be written; earlier checkpoints are untouched.
    """
    from safetensors.torch import save_file

    final = make_folder(folder) / f"step-{checkpoint.state['step']:08d}"
    part = folder / f".{final.name}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for name in _PARTS:
            tensors = {k: v.detach().contiguous() for k, v in getattr(checkpoint, name).items()}
            save_file(tensors, part / f"{name}.safetensors")
        write_json(part / "state.json", dict(checkpoint.state))
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise WorkError(
            f"{final}: cannot be written ({error}); earlier checkpoints are kept, make room and "
            "run again with --resume"
        ) from error
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        DataError: a part of it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights, ema, optimizer = (load_file(path / f"{name}.safetensors") for name in _PARTS)
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise DataError(
            f"{path}: damaged checkpoint ({error}); delete this folder to resume from the one "
            "before"
        ) from error
    return Checkpoint(weights, ema, optimizer, read_json(path / "state.json"))
