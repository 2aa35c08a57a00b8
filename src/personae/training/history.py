"""What a run's log.jsonl says, read back: for reports, model cards and estimates of time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personae.errors import DataError

__all__ = ["History", "read_history", "validation_of"]

_RECENT = 20  # rows that say how fast it goes now


@dataclass(frozen=True)
class History:
    """The rows of a log, in order.

    Attributes:
        rows: as they stand; what is NaN in them is no number.
        notes: what could not be read.
    """

    rows: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def training(self) -> list[Mapping[str, Any]]:
        """Rows of steps, without those of validation, samples and skipped steps."""
        return [row for row in self.rows if "loss" in row]

    @property
    def skipped(self) -> list[tuple[int, str]]:
        """Steps whose gradient was not finite, and of which examples."""
        return [(row["step"], str(row["skipped"])) for row in self.rows if "skipped" in row]

    @property
    def best_step(self) -> int | None:
        """The last word on which step was the best."""
        told = [row["best_step"] for row in self.rows if row.get("best_step") is not None]
        return int(told[-1]) if told else None

    def names(self) -> list[str]:
        """Every column that holds a number somewhere, in the order of first appearance."""
        return list(
            dict.fromkeys(
                name
                for row in self.rows
                for name, value in row.items()
                if name != "step" and _number(value) is not None
            )
        )

    def series(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of one column, where there is a number.

        >>> log = History(({"step": 1, "loss": 0.5}, {"step": 2, "loss": float("nan")}))
        >>> log.series("loss")
        [(1, 0.5)]
        """
        pairs = ((row["step"], _number(row.get(name))) for row in self.rows)
        return [(step, value) for step, value in pairs if value is not None]

    def validation_at(self, step: int | None) -> dict[str, float]:
        """What validation said at a step, by names without their prefix; empty: nothing."""
        found: dict[str, float] = {}
        for row in self.rows:
            if row["step"] == step:
                found |= validation_of(row)
        return found

    def seconds_per_step(self) -> float | None:
        """Of the last rows, everything between them counted; None where no two rows tell.

        >>> log = History(({"step": 1, "loss": 1, "seconds": 9}, {"step": 3, "seconds": 13.0}))
        >>> log.seconds_per_step()
        2.0
        """
        told = self.series("seconds")[-_RECENT:]
        if len(told) < 2 or told[-1][0] <= told[0][0]:
            return None
        (first, before), (last, after) = told[0], told[-1]
        return (after - before) / (last - first) if after > before else None


def validation_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of validation in a row, by names without their prefix."""
    pairs = ((name, _number(value)) for name, value in row.items())
    return {
        name.removeprefix("validation."): value
        for name, value in pairs
        if name.startswith("validation.") and value is not None
    }


def read_history(path: Path) -> History:
    """The rows of a log; a last line that a kill has torn is left out, with a note.

    A file that is not there is an empty history.

    Raises:
        DataError: a line within the file is no row with a step; it is named.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return History()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return _read_lines(path, lines)


def _read_lines(path: Path, lines: Sequence[bytes]) -> History:
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row["step"], int):
                raise TypeError(f"step is {row['step']!r}")
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and not line.endswith(b"\n"):
                return History(tuple(rows), (f"{path.name}: the last line is cut off",))
            raise DataError(
                f"{path}:{number}: expected a row of JSON with a step ({error!r}); mend or remove "
                "the line"
            ) from error
        rows.append(row)
    return History(tuple(rows))


def _number(value: Any) -> float | None:
    """A finite number, or nothing; yes and no are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
