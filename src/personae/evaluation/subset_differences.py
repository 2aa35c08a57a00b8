"""Two runs of a suite, paired picture by picture, for each subset and column of its table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personae.compute.runs import read_rows
from personae.evaluation.suite_table import is_of_eyes
from personae.evaluation.suites.card import Column, SuiteCard
from personae.metrics.scoring import PROTOCOLS, Protocol
from personae.metrics.summary import Interval, paired_difference

__all__ = ["ALL_PAIRS", "ColumnDifference", "subset_differences"]

ALL_PAIRS = "all pairs"
"""The subset that stands for all: every pair counts once, however large its subset."""

_LEAST_SCENES = 6

Key = tuple[str, Any, Any, str]


@dataclass(frozen=True, kw_only=True)
class ColumnDifference:
    """Second run minus first in a column of the suite's table, in the table's unit.

    ``mean`` and ``ci95`` (scenes resampled) are over the ``n`` values that both have measured;
    None where there are none, or fewer than two scenes. ``n_unpaired`` are measured in one alone.
    ``n_scenes`` is how many scenes the pairs are of.
    """

    subset: str
    column: str
    protocol: Protocol
    mean: float | None
    ci95: Interval | None
    n: int
    n_scenes: int
    n_unpaired: int
    higher_is_better: bool

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**vars(self), "ci95": None if self.ci95 is None else list(self.ci95)}

    @property
    def tone(self) -> str:
        """Better or worse where the interval leaves zero out; "" where nothing can be said.

        Of five scenes or fewer nothing can: that all of them lean one way by chance happens more
        often than five times in a hundred, and resampling them cannot see it.
        """
        if self.mean is None or self.ci95 is None or self.n_scenes < _LEAST_SCENES:
            return ""
        if self.ci95[0] <= 0 <= self.ci95[1]:
            return ""
        return "better" if (self.mean > 0) == self.higher_is_better else "worse"


def subset_differences(
    card: SuiteCard,
    first: tuple[Path, Mapping[str, Any]],
    second: tuple[Path, Mapping[str, Any]],
) -> tuple[ColumnDifference, ...]:
    """Differences by protocol, subset and column, from two runs' folders and ``bench.json``.

    Rows are paired by scene, seed, subject, protocol and eyes, those of the columns' kinds of
    subject alone. A run of before bench.json told of scenes takes the other's word for subsets;
    where neither has it, nothing can be said: ().

    Raises:
        DataError: a results file that cannot be read.
    """
    scenes = {**(second[1].get("scenes") or {}), **(first[1].get("scenes") or {})}
    if not scenes:
        return ()
    held = [_values(folder, data) for folder, data in (first, second)]
    subsets = [*dict.fromkeys(item["subset"] for item in scenes.values())]
    subsets.sort(key=lambda name: list(card.sizes).index(name) if name in card.sizes else 99)
    found = [
        _difference(card, column, subset, protocol, scenes, held)
        for protocol in PROTOCOLS
        for subset in [*subsets, ALL_PAIRS]
        for column in card.columns
    ]
    return tuple(item for item in found if item is not None)


def _values(folder: Path, data: Mapping[str, Any]) -> dict[str, dict[Key, float | None]]:
    """Metric and protocol -> where -> value."""
    found: dict[str, dict[Key, float | None]] = {}
    for row in read_rows(folder / "results.jsonl"):
        if is_of_eyes(row, data["eyes"]):
            key = (row["scene"], row["seed"], row["subject"], row["eyes"])
            found.setdefault(f"{row['metric']}|{row['protocol']}", {})[key] = row["value"]
    return found


def _difference(
    card: SuiteCard,
    column: Column,
    subset: str,
    protocol: Protocol,
    scenes: Mapping[str, Any],
    held: list[dict[str, dict[Key, float | None]]],
) -> ColumnDifference | None:
    """None where the column does not stand in the subset, or neither run has a row of it."""
    places = [*card.sizes] if subset == ALL_PAIRS else [subset]
    ours, theirs = (
        {
            key: value
            for place in places
            if column.stands_in(place)
            for key, value in _of(each, column, place, protocol, scenes)
        }
        for each in held
    )
    if not ours and not theirs:
        return None
    pairs, alone = [], 0
    for key in ours.keys() | theirs.keys():
        before, after = ours.get(key), theirs.get(key)
        if before is not None and after is not None:
            pairs.append((key[0], column.scale * after, column.scale * before))
        else:
            alone += before is not None or after is not None
    mean, interval = paired_difference(sorted(pairs))
    return ColumnDifference(
        subset=subset,
        column=column.name,
        protocol=protocol,
        mean=mean,
        ci95=interval,
        n=len(pairs),
        n_scenes=len({scene for scene, _, _ in pairs}),
        n_unpaired=alone,
        higher_is_better=column.higher_is_better,
    )


def _of(
    held: Mapping[str, Mapping[Key, float | None]],
    column: Column,
    subset: str,
    protocol: Protocol,
    scenes: Mapping[str, Any],
) -> Iterator[tuple[Key, float | None]]:
    for key, value in held.get(f"{column.metric(subset, protocol)}|{protocol}", {}).items():
        scene = scenes.get(key[0])
        if scene is None or scene["subset"] != subset:
            continue
        if not column.kinds or scene["kinds"].get(key[2]) in column.kinds:
            yield key, value
