"""Rows to a suite's own table: columns, averages, subsets, with intervals, n and n missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personae.evaluation.measure import EYES_JOINT
from personae.evaluation.suites.card import OVERALL, Average, Column
from personae.evaluation.suites.suite import LoadedSuite
from personae.metrics.scoring import Protocol
from personae.metrics.summary import cluster_bootstrap

__all__ = ["Cell", "Line", "is_of_eyes", "suite_table"]

_RESAMPLES = 2000
Row = Mapping[str, Any]
# Of one column, subset and protocol: scene -> values.
Values = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Cell:
    """A number of the table; ``mean`` None with the reason.

    ``n`` values were measured, of ``n`` + ``n_missing`` that the suite asks for.
    """

    mean: float | None
    ci95: tuple[float, float] | None = None
    n: int = 0
    n_missing: int = 0
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**vars(self), "ci95": None if self.ci95 is None else list(self.ci95)}


@dataclass(frozen=True)
class Line:
    """A line of the table: of a subset, under a protocol, its cells by column."""

    subset: str
    protocol: Protocol
    cells: Mapping[str, Cell]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        cells = {name: cell.as_json() for name, cell in self.cells.items()}
        return {"subset": self.subset, "protocol": self.protocol, "cells": cells}


@dataclass(frozen=True)
class _Measured:
    """What a column is made of: values by scene, scaled, and how many were to be there."""

    values: Values
    num_wanted: int
    num_unmeasured: int
    reason: str

    @property
    def cell(self) -> Cell:
        flat = [value for values in self.values.values() for value in values]
        scenes = [name for name, values in self.values.items() for _ in values]
        missing = max(self.num_wanted - len(flat), self.num_unmeasured)
        if not flat:
            return Cell(None, None, 0, missing, self.reason)
        return Cell(float(np.mean(flat)), cluster_bootstrap(flat, scenes), len(flat), missing)


def suite_table(
    loaded: LoadedSuite,
    rows: Iterable[Row],
    *,
    protocols: Sequence[Protocol],
    eyes: frozenset[str],
    num_seeds: int,
) -> list[Line]:
    """A line for each protocol and subset, then one over all where the card asks for it.

    Only rows of these ``eyes`` (judges and models that read prompts among them) count: a folder may
    hold those of others. ``num_seeds`` pictures a scene are what is wanted. Averages are means of
    the columns' means; their intervals resample scenes for all columns at once.
    """
    sorted_rows = _by_metric(rows, eyes)
    lines: list[Line] = []
    for protocol in protocols:
        held: dict[str, dict[str, _Measured]] = {}
        for subset in loaded.subsets:
            held[subset] = {
                column.name: _measured(loaded, column, subset, protocol, sorted_rows, num_seeds)
                for column in loaded.card.columns
                if column.stands_in(subset) and _is_asked(column, subset, protocol)
            }
            lines.append(Line(subset, protocol, _cells(loaded, subset, held[subset])))
        if loaded.card.overall and len(loaded.subsets) > 1:
            lines.append(Line(OVERALL, protocol, _overall(loaded, held)))
    return lines


def _is_asked(column: Column, subset: str, protocol: Protocol) -> bool:
    """A column without any metric is told of, with its reason; one of the other protocol is not."""
    has_none = column.metric(subset, "official") is None and column.metric(subset, "strict") is None
    return has_none or column.metric(subset, protocol) is not None


def is_of_eyes(row: Row, eyes: Collection[str]) -> bool:
    """Was it made by these eyes alone? A folder may hold the rows of others."""
    return row["eyes"] in eyes or all(name in eyes for name in row["eyes"].split(EYES_JOINT))


def _by_metric(rows: Iterable[Row], eyes: frozenset[str]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if is_of_eyes(row, eyes):
            found[row["metric"], row["protocol"]].append(row)
    return found


def _measured(
    loaded: LoadedSuite,
    column: Column,
    subset: str,
    protocol: Protocol,
    rows: Mapping[tuple[str, str], Sequence[Row]],
    num_seeds: int,
) -> _Measured:
    metric = column.metric(subset, protocol)
    scenes = {item.id: item for item in loaded.scenes if loaded.subset_of[item.id] == subset}
    slots = {
        name: len(scene.of_kind(*column.kinds)) if column.kinds else 1
        for name, scene in scenes.items()
    }
    if metric is None:
        return _Measured({}, num_seeds * sum(slots.values()), 0, f"needs {column.needs}")
    values: dict[str, list[float]] = defaultdict(list)
    reasons: dict[str, int] = defaultdict(int)
    for row in rows.get((metric, protocol), ()):
        scene = scenes.get(row["scene"])
        if scene is None or (column.kinds and not _counts(scene.subjects, row, column)):
            continue
        if row["value"] is None:
            reasons[str(row["unmeasured"])] += 1
        else:
            values[row["scene"]].append(column.scale * row["value"])
    reason = max(reasons, key=lambda text: reasons[text]) if reasons else ""
    if not reason:
        reason = f"needs {column.needs}" if column.needs else "no scene of this subset asks for it"
    return _Measured(values, num_seeds * sum(slots.values()), sum(reasons.values()), reason)


def _counts(subjects: Mapping[str, Any], row: Row, column: Column) -> bool:
    subject = subjects.get(row["subject"])
    return subject is not None and subject.kind in column.kinds


def _cells(loaded: LoadedSuite, subset: str, held: Mapping[str, _Measured]) -> dict[str, Cell]:
    cells = {name: measured.cell for name, measured in held.items()}
    for average in loaded.card.averages:
        # Where a part has no column under this protocol, there is no average to wait for.
        if average.stands_in(subset) and held.keys() >= set(average.of):
            cells[average.name] = _average(average, [held[name] for name in average.of])
    return cells


def _average(average: Average, held: Sequence[_Measured]) -> Cell:
    """The mean of the columns' means, with an interval where all are measured."""
    cells = [measured.cell for measured in held]
    silent = [name for name, cell in zip(average.of, cells, strict=True) if cell.mean is None]
    n, missing = sum(cell.n for cell in cells), sum(cell.n_missing for cell in cells)
    if silent:
        return Cell(None, None, n, missing, f"{', '.join(silent)} unmeasured")
    draws = _draws([measured.values for measured in held])
    return Cell(_mean(cells), _interval(draws), n, missing)


def _mean(cells: Sequence[Cell]) -> float:
    return float(np.mean([cell.mean for cell in cells if cell.mean is not None]))


def _draws(columns: Sequence[Values], seed: int = 0) -> np.ndarray | None:
    """(resamples,) mean of the columns' means, scenes drawn for all columns at once.

    Subsets are drawn by seeds of their own: they have no scene in common.
    """
    scenes = sorted({name for values in columns for name in values})
    if len(scenes) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(scenes), (_RESAMPLES, len(scenes)))
    means = []
    for values in columns:
        sums = np.array([np.sum(values.get(name, ())) for name in scenes], dtype=float)
        counts = np.array([len(values.get(name, ())) for name in scenes], dtype=float)
        with np.errstate(invalid="ignore"):
            means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    return np.asarray(np.mean(means, axis=0))


def _interval(draws: np.ndarray | None) -> tuple[float, float] | None:
    """Draws in which a column had no scene say nothing and are left out."""
    if draws is None or not np.isfinite(draws).any():
        return None
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _overall(loaded: LoadedSuite, held: Mapping[str, Mapping[str, _Measured]]) -> dict[str, Cell]:
    """Unweighted mean over the subsets in which a column stands."""
    cells: dict[str, Cell] = {}
    for name in loaded.card.overall:
        parts = [
            (subset, _parts(loaded, name, subset, columns)) for subset, columns in held.items()
        ]
        asked = [(subset, part) for subset, part in parts if part]
        if not asked:
            continue
        each = [_average(Average(name=subset, of=(subset,) * len(p)), p) for subset, p in asked]
        silent = [
            subset for (subset, _), cell in zip(asked, each, strict=True) if cell.mean is None
        ]
        n, missing = sum(cell.n for cell in each), sum(cell.n_missing for cell in each)
        if silent:
            cells[name] = Cell(None, None, n, missing, f"unmeasured in {', '.join(silent)}")
            continue
        draws = [
            _draws([item.values for item in part], seed) for seed, (_, part) in enumerate(asked)
        ]
        known = [item for item in draws if item is not None]
        interval = _interval(np.mean(known, axis=0)) if len(known) == len(draws) else None
        cells[name] = Cell(_mean(each), interval, n, missing)
    return cells


def _parts(
    loaded: LoadedSuite, name: str, subset: str, held: Mapping[str, _Measured]
) -> list[_Measured]:
    """The columns of which this one is made in a subset: itself, or those of an average."""
    if name in held:
        return [held[name]]
    for average in loaded.card.averages:
        if average.name == name and average.stands_in(subset):
            there = [held[part] for part in average.of if part in held]
            return there if len(there) == len(average.of) else []
    return []
