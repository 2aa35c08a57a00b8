"""log.jsonl: a row for every few steps, cut back to the checkpoint when a run is resumed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from personae.compute.runs import make_folder, read_rows, write_atomic
from personae.errors import DataError
from personae.training.methods import Pass
from personae.training.objective import loss_by_time

__all__ = ["Trackers", "TrainingLog", "Window"]

_FEW = 3


class Window:
    """What happened since the last row."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {}
        self.loss: list[float] = list(state.get("loss", ()))
        self.time: list[float] = list(state.get("time", ()))
        self.norm: list[float] = list(state.get("norm", ()))
        self.parts: dict[str, list[float]] = {k: list(v) for k, v in state.get("parts", {}).items()}
        self.notes: list[str] = list(state.get("notes", ()))
        self.pictures: int = state.get("pictures", len(self.loss))

    def add(self, seen: Pass) -> None:
        """Losses, times and further numbers of one pass; what is not finite does not count."""
        self.pictures += _num_pictures(seen)
        self.loss += seen.loss.tolist()
        self.time += seen.time.tolist()
        for name, numbers in seen.parts.items():
            held = self.parts.setdefault(name, [])
            held += [value for value in numbers.tolist() if math.isfinite(value)]
        self.notes += seen.notes

    def row(self) -> dict[str, Any]:
        """Mean loss, the same in four spans of time, and the means of everything else.

        Of ``notes`` the first few, and how many there were.
        """
        loss, time = torch.tensor(self.loss), torch.tensor(self.time)
        row: dict[str, Any] = {
            "loss": round(_mean(loss), 6) if self.loss else None,
            "loss_by_time": loss_by_time(loss, time),
            "grad_norm": round(_mean(torch.tensor(self.norm)), 6),
        }
        row |= {
            name: round(_mean(torch.tensor(held)), 6) if held else None
            for name, held in self.parts.items()
        }
        if self.notes:
            row |= {"unmeasured": len(self.notes), "notes": self.notes[:_FEW]}
        return row

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "loss": self.loss,
            "time": self.time,
            "norm": self.norm,
            "parts": self.parts,
            "notes": self.notes,
            "pictures": self.pictures,
        }


def _num_pictures(seen: Pass) -> int:
    """Examples learned from, or pictures drawn; passes over pictures drawn before add none."""
    if "reward" in seen.parts:
        return len(seen.parts["reward"])
    return 0 if seen.parts else len(seen.loss)


class TrainingLog:
    """Rows appended to ``log.jsonl``; rows behind ``step`` are of a run that was cut off."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        make_folder(path.parent)
        kept = [row for row in _rows(path) if row["step"] <= step]
        write_atomic(path, "".join(json.dumps(row) + "\n" for row in kept))

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        with self.path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")


class Trackers:
    """Experiment trackers by accelerate's names; none are started unless asked for."""

    def __init__(self, names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> None:
        self._accelerator: Any = None
        if names:
            from accelerate import Accelerator

            self._accelerator = Accelerator(log_with=list(names), project_dir=str(folder))
            plain = {key: str(value) for key, value in config.items()}
            self._accelerator.init_trackers("personae", config=plain)

    def write(self, row: Mapping[str, Any]) -> None:
        """Tell the numbers of a row."""
        if self._accelerator is not None:
            numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
            self._accelerator.log(numbers, step=row["step"])

    def close(self) -> None:
        """Let them finish."""
        if self._accelerator is not None:
            self._accelerator.end_training()


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else 0.0


def _rows(path: Path) -> list[dict[str, Any]]:
    """Rows that are whole; the last one may be torn by a kill."""
    if not path.exists():
        return []
    rows = []
    try:
        for row in read_rows(path):
            rows.append(row)
    except DataError:
        pass
    return rows
