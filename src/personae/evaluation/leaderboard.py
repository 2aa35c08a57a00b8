"""Several runs of suites side by side, from their files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personae.compute.runs import read_json
from personae.errors import DataError, RequestError
from personae.evaluation.compare import compare_runs
from personae.evaluation.subset_differences import ColumnDifference, subset_differences
from personae.evaluation.suites.registry import SUITES
from personae.metrics.summary import PairedDifference

__all__ = ["Board", "Standing", "read_boards"]

_SHARED = ("eyes", "judge", "num_scenes", "num_seeds")


@dataclass(frozen=True)
class Standing:
    """A run of a suite: its folder and what its bench.json says."""

    path: Path
    data: Mapping[str, Any]

    @property
    def model(self) -> str:
        """What tables call it."""
        return str(self.data["model"])


@dataclass(frozen=True)
class Board:
    """The runs of one suite.

    Attributes:
        suite: its name.
        runs: in the order given.
        differences: model -> it minus the first run, over the rows that both have measured.
        by_subset: the same for each subset and column, in the table's units.
        cautions: why some of them cannot be compared.
    """

    suite: str
    runs: tuple[Standing, ...]
    differences: Mapping[str, tuple[PairedDifference, ...]]
    by_subset: Mapping[str, tuple[ColumnDifference, ...]]
    cautions: tuple[str, ...]


def read_boards(folders: Sequence[Path]) -> list[Board]:
    """The finished runs of some folders, by suite, in the order of their first run.

    Raises:
        RequestError: two runs of a suite bear the same name.
        DataError: a folder that holds no finished run of a suite.
    """
    runs: dict[str, list[Standing]] = {}
    for folder in folders:
        path = folder / "bench.json"
        data = read_json(path)
        if data.get("suite") not in SUITES or "lines" not in data:
            raise DataError(f"{path}: no finished run of a suite; run `personae bench` again")
        others = runs.setdefault(data["suite"], [])
        for other in others:
            if other.model == data["model"]:
                raise RequestError(
                    f"{folder} and {other.path} are both called {data['model']!r}; run one again "
                    "with another --name and --out"
                )
        others.append(Standing(folder, data))
    return [
        Board(
            suite, tuple(each), _differences(suite, each), _by_subset(suite, each), _cautions(each)
        )
        for suite, each in runs.items()
    ]


def _differences(suite: str, runs: Sequence[Standing]) -> dict[str, tuple[PairedDifference, ...]]:
    """Of the metrics that stand in the suite's columns; a run with no row in common has none."""
    columns = SUITES[suite].card.columns
    metrics = {metric for column in columns for metric in (column.official, column.strict)}
    metrics |= {metric for column in columns for pair in column.swapped.values() for metric in pair}
    found = {}
    for run in runs[1:]:
        try:
            differences = compare_runs(runs[0].path, run.path)
        except RequestError:
            differences = []
        found[run.model] = tuple(item for item in differences if item.metric in metrics)
    return found


def _by_subset(suite: str, runs: Sequence[Standing]) -> dict[str, tuple[ColumnDifference, ...]]:
    card, first = SUITES[suite].card, (runs[0].path, runs[0].data)
    return {run.model: subset_differences(card, first, (run.path, run.data)) for run in runs[1:]}


def _cautions(runs: Sequence[Standing]) -> tuple[str, ...]:
    first = runs[0]
    return tuple(
        f"{run.model} and {first.model} differ in {name.replace('_', ' ')} "
        f"({run.data[name]}, {first.data[name]}): their means do not compare"
        for run in runs[1:]
        for name in _SHARED
        if run.data[name] != first.data[name]
    )
