"""Summaries: means with their uncertainty, and what is missing beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from personae.metrics.cards import METRICS

__all__ = [
    "MetricSummary",
    "PairedDifference",
    "cluster_bootstrap",
    "paired_difference",
    "paired_differences",
    "summarize",
]

Row = Mapping[str, Any]
Group = tuple[str, str, str]
# Resamples are drawn in slices, so that memory stays bounded for a hundred thousand scenes.
_SLICE_CELLS = 4_000_000


@dataclass(frozen=True)
class MetricSummary:
    """A metric over a result set; ``mean`` and ``ci95`` are None where nothing was measured.

    ``ci95`` is also None with one scene only: there is nothing to resample.
    """

    metric: str
    protocol: str
    eyes: str
    mean: float | None
    ci95: tuple[float, float] | None
    n: int
    n_absent: int
    n_unmeasured: int
    higher_is_better: bool

    def as_json(self) -> dict[str, Any]:
        """The entry of summary.json."""
        return {**vars(self), "ci95": None if self.ci95 is None else list(self.ci95)}


@dataclass(frozen=True)
class PairedDifference:
    """Second minus first over the keys measured in both; ``n_unpaired`` are in one only."""

    metric: str
    protocol: str
    eyes: str
    first: float | None
    second: float | None
    mean: float | None
    ci95: tuple[float, float] | None
    n: int
    n_unpaired: int
    higher_is_better: bool

    def as_json(self) -> dict[str, Any]:
        """The fields, for a file."""
        return {**vars(self), "ci95": None if self.ci95 is None else list(self.ci95)}


def cluster_bootstrap(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[object],
    num_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile interval of the mean, resampling whole clusters (scenes) with replacement.

    Rows of one scene are not independent: its pictures share references and prompt. Values (n,)
    and the cluster of each -> (low, high), or None with fewer than two clusters. The mean of a
    resample is over its values, so a scene with more values weighs more, as it does in the mean.
    """
    _, index = np.unique(np.array([str(item) for item in clusters]), return_inverse=True)
    count = int(index.max(initial=-1)) + 1
    if count < 2:
        return None
    sums = np.bincount(index, np.asarray(values, float), count)
    sizes = np.bincount(index, minlength=count).astype(float)
    generator = np.random.default_rng(seed)
    step = max(1, _SLICE_CELLS // count)
    means = []
    for start in range(0, num_resamples, step):
        drawn = generator.integers(0, count, (min(step, num_resamples - start), count))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(
    first: Mapping[tuple[Any, ...], float], second: Mapping[tuple[Any, ...], float]
) -> tuple[float | None, tuple[float, float] | None, int]:
    """Mean of second minus first over common keys, its interval over scenes, and how many.

    The first element of a key is its scene.
    """
    keys = sorted(first.keys() & second.keys(), key=repr)
    if not keys:
        return None, None, 0
    differences = np.array([second[key] - first[key] for key in keys])
    interval = cluster_bootstrap(differences, [key[0] for key in keys])
    return float(differences.mean()), interval, len(keys)


@dataclass
class _Collected:
    """What one pass over the rows keeps of a metric: numbers, their scenes, counts."""

    values: list[float] = field(default_factory=list)
    scenes: list[str] = field(default_factory=list)
    num_absent: int = 0
    num_unmeasured: int = 0

    def add(self, row: Row) -> None:
        if row["value"] is None:
            self.num_unmeasured += 1
            return
        self.values.append(float(row["value"]))
        self.scenes.append(row["scene"])
        self.num_absent += bool((row.get("details") or {}).get("absent"))


def summarize(rows: Iterable[Row]) -> list[MetricSummary]:
    """One summary for each metric, protocol and eyes, in the order of first appearance."""
    groups: dict[Group, _Collected] = defaultdict(_Collected)
    for row in rows:
        groups[_group(row)].add(row)
    return [_summary(group, collected) for group, collected in groups.items()]


def paired_differences(first: Iterable[Row], second: Iterable[Row]) -> list[PairedDifference]:
    """Every metric that is in either set, paired by scene, seed and subject."""
    before, after = _keyed(first), _keyed(second)
    return [
        _difference(group, before.get(group, {}), after.get(group, {}))
        for group in dict.fromkeys([*before, *after])
    ]


def _group(row: Row) -> Group:
    return row["metric"], row["protocol"], row["eyes"]


def _keyed(rows: Iterable[Row]) -> dict[Group, dict[tuple[Any, ...], float]]:
    """Measured values by group and key; a group with none measured is there, empty."""
    groups: dict[Group, dict[tuple[Any, ...], float]] = {}
    for row in rows:
        values = groups.setdefault(_group(row), {})
        if row["value"] is not None:
            values[row["scene"], row["seed"], row["subject"]] = float(row["value"])
    return groups


def _summary(group: Group, collected: _Collected) -> MetricSummary:
    values = collected.values
    return MetricSummary(
        *group,
        mean=float(np.mean(values)) if values else None,
        ci95=cluster_bootstrap(values, collected.scenes),
        n=len(values),
        n_absent=collected.num_absent,
        n_unmeasured=collected.num_unmeasured,
        higher_is_better=_higher_is_better(group[0]),
    )


def _difference(
    group: Group, first: Mapping[tuple[Any, ...], float], second: Mapping[tuple[Any, ...], float]
) -> PairedDifference:
    common = first.keys() & second.keys()
    mean, interval, count = paired_difference(first, second)
    return PairedDifference(
        *group,
        first=float(np.mean([first[key] for key in common])) if common else None,
        second=float(np.mean([second[key] for key in common])) if common else None,
        mean=mean,
        ci95=interval,
        n=count,
        n_unpaired=len(first.keys() ^ second.keys()),
        higher_is_better=_higher_is_better(group[0]),
    )


def _higher_is_better(metric: str) -> bool:
    return METRICS[metric].higher_is_better if metric in METRICS else True
