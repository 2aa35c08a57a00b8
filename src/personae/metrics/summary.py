"""Summaries: a mean never stands without its interval, its n, and how many are missing."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from personae.errors import DataError
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
Interval = tuple[float, float]
# Random numbers drawn at a time: keeps the memory of a bootstrap at a few megabytes.
_DRAWS = 1 << 19


@dataclass(frozen=True)
class MetricSummary:
    """One metric over a run: an entry of summary.json.

    ``mean`` and ``ci95`` are over the n measured rows, absent ones among them (``n_absent``);
    None where there are none (mean) or fewer than two scenes (interval).
    """

    metric: str
    protocol: str
    eyes: str
    mean: float | None
    ci95: Interval | None
    n: int
    n_absent: int
    n_unmeasured: int
    higher_is_better: bool

    def as_json(self) -> dict[str, Any]:
        """What goes to summary.json."""
        interval = None if self.ci95 is None else list(self.ci95)
        return {**self.__dict__, "ci95": interval}


@dataclass(frozen=True)
class PairedDifference:
    """One metric, second run minus first, over the n rows that both have measured.

    ``first`` and ``second`` are the two runs' means over those rows, ``mean`` their difference.
    ``n_unpaired`` counts rows of either run that are measured there only. ``mean`` is None where
    n is 0, ``ci95`` where there are fewer than two scenes.
    """

    metric: str
    protocol: str
    eyes: str
    first: float | None
    second: float | None
    mean: float | None
    ci95: Interval | None
    n: int
    n_unpaired: int
    higher_is_better: bool

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        interval = None if self.ci95 is None else list(self.ci95)
        return {**self.__dict__, "ci95": interval}


def cluster_bootstrap(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable] | np.ndarray,
    num_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval | None:
    r"""Percentile interval of the mean, resampling whole clusters (scenes) with replacement.

    .. math:: \bar x^* = \frac{\sum_{g \in G^*} \sum_{i \in g} x_i}{\sum_{g \in G^*} n_g}

    Pictures of one scene resemble each other, so they are drawn together. None with fewer than
    two clusters: there is nothing to resample, and an interval of no width would be a lie.

    Raises:
        DataError: values and clusters of different lengths, or a value that is not finite.

    >>> cluster_bootstrap([0.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"])
    (0.0, 1.0)
    """
    numbers = np.asarray(values, dtype=float)
    if numbers.shape != (len(clusters),) or not np.isfinite(numbers).all():
        raise DataError(
            f"{numbers.shape} values for {len(clusters)} clusters: expected as many, all finite"
        )
    codes = _codes(clusters)
    counts = np.bincount(codes).astype(float)
    if len(counts) < 2:
        return None
    means = _resampled_means(np.bincount(codes, numbers), counts, num_resamples, seed)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def _codes(clusters: Sequence[Hashable] | np.ndarray) -> np.ndarray:
    """Clusters as numbers 0, 1, ... in the order of their names: the order of rows is no matter."""
    if isinstance(clusters, np.ndarray) and clusters.dtype.kind in "iu":
        return np.unique(clusters, return_inverse=True)[1]
    places = {name: place for place, name in enumerate(sorted(set(clusters), key=str))}
    return np.fromiter((places[name] for name in clusters), dtype=np.int64)


def _resampled_means(
    sums: np.ndarray, counts: np.ndarray, num_resamples: int, seed: int
) -> np.ndarray:
    """Mean of each resample: (num_resamples,); only sums and counts of a cluster are needed."""
    rng = np.random.default_rng(seed)
    num_clusters = len(sums)
    equal = bool((counts == counts[0]).all())
    means = np.empty(num_resamples)
    step = max(1, _DRAWS // num_clusters)
    for start in range(0, num_resamples, step):
        size = (min(step, num_resamples - start), num_clusters)
        drawn = rng.integers(0, num_clusters, size, dtype=np.int32)
        sizes = num_clusters * counts[0] if equal else counts.take(drawn).sum(1)
        means[start : start + size[0]] = sums.take(drawn).sum(1) / sizes
    return means


def paired_difference(
    pairs: Iterable[tuple[Hashable, float, float]], num_resamples: int = 2000, seed: int = 0
) -> tuple[float | None, Interval | None]:
    """Mean of ours minus theirs over (cluster, ours, theirs), and its 95% cluster interval.

    (None, None) without a pair; no interval with fewer than two clusters.

    >>> paired_difference([("pool", 0.75, 0.5), ("park", 0.5, 0.25)])
    (0.25, (0.25, 0.25))
    """
    rows = list(pairs)
    if not rows:
        return None, None
    differences = np.array([ours - theirs for _, ours, theirs in rows])
    clusters = [cluster for cluster, _, _ in rows]
    interval = cluster_bootstrap(differences, clusters, num_resamples, seed)
    return float(differences.mean()), interval


@dataclass
class _Tally:
    """The rows of one metric as they stream by: eight bytes a value and a scene."""

    values: array[float] = field(default_factory=lambda: array("d"))
    scenes: array[int] = field(default_factory=lambda: array("q"))
    n_absent: int = 0
    n_unmeasured: int = 0


def summarize(rows: Iterable[Row]) -> list[MetricSummary]:
    """Every (metric, protocol, eyes) of a stream of results.jsonl rows, in the table's order.

    A row whose ``value`` is None counts as unmeasured; one whose details say ``absent`` counts
    as absent and, with its value, in the mean. Clusters are scenes. Of a metric that is not in
    ``METRICS`` higher is taken as better.

    Raises:
        DataError: a value that is not finite.
    """
    scenes: dict[str, int] = {}
    tallies: dict[tuple[str, str, str], _Tally] = {}
    for row in rows:
        tally = tallies.setdefault(_series(row), _Tally())
        if row["value"] is None:
            tally.n_unmeasured += 1
            continue
        tally.values.append(row["value"])
        tally.scenes.append(scenes.setdefault(row["scene"], len(scenes)))
        tally.n_absent += bool((row.get("details") or {}).get("absent"))
    by_name = np.argsort(sorted(scenes, key=scenes.__getitem__)).argsort()
    return [_summary(key, tallies[key], by_name) for key in sorted(tallies, key=_rank)]


def _summary(key: tuple[str, str, str], tally: _Tally, by_name: np.ndarray) -> MetricSummary:
    """``by_name`` ranks scenes, numbered as they came, by their names."""
    values = np.array(tally.values)
    scenes = by_name[np.array(tally.scenes, dtype=np.int64)]
    return MetricSummary(
        *key,
        mean=float(values.mean()) if len(values) else None,
        ci95=cluster_bootstrap(values, scenes) if len(values) else None,
        n=len(values),
        n_absent=tally.n_absent,
        n_unmeasured=tally.n_unmeasured,
        higher_is_better=_higher_is_better(key[0]),
    )


def paired_differences(first: Iterable[Row], second: Iterable[Row]) -> list[PairedDifference]:
    """Second minus first for every (metric, protocol, eyes), over rows paired by their key.

    The key is (scene, seed, metric, subject, protocol, eyes); clusters are scenes.
    """
    left = {_key(row): row["value"] for row in first}
    paired: dict[tuple[str, str, str], list[tuple[str, float, float]]] = {}
    unpaired: dict[tuple[str, str, str], int] = {}
    for row in second:
        key, value = _key(row), row["value"]
        other = left.pop(key, None)
        pairs = paired.setdefault(_series(row), [])
        if value is not None and other is not None:
            pairs.append((row["scene"], value, other))
        elif value is not None or other is not None:
            unpaired[_series(row)] = unpaired.get(_series(row), 0) + 1
    for (_, _, metric, _, protocol, eyes), value in left.items():
        series = (metric, protocol, eyes)
        paired.setdefault(series, [])
        unpaired[series] = unpaired.get(series, 0) + (value is not None)
    return [
        _difference(series, paired[series], unpaired.get(series, 0))
        for series in sorted(paired, key=_rank)
    ]


def _difference(
    series: tuple[str, str, str], pairs: list[tuple[str, float, float]], n_unpaired: int
) -> PairedDifference:
    """``pairs`` are (scene, value in the second run, value in the first)."""
    mean, interval = paired_difference(pairs)
    return PairedDifference(
        *series,
        first=float(np.mean([first for _, _, first in pairs])) if pairs else None,
        second=float(np.mean([second for _, second, _ in pairs])) if pairs else None,
        mean=mean,
        ci95=interval,
        n=len(pairs),
        n_unpaired=n_unpaired,
        higher_is_better=_higher_is_better(series[0]),
    )


def _series(row: Row) -> tuple[str, str, str]:
    return row["metric"], row["protocol"], row["eyes"]


def _key(row: Row) -> tuple[Any, ...]:
    return (
        row["scene"],
        row.get("seed"),
        row["metric"],
        row.get("subject"),
        row["protocol"],
        row["eyes"],
    )


def _rank(series: tuple[str, str, str]) -> tuple[int, str, str, str]:
    order = list(METRICS)
    place = order.index(series[0]) if series[0] in METRICS else len(order)
    return (place, *series)


def _higher_is_better(metric: str) -> bool:
    return METRICS[metric].higher_is_better if metric in METRICS else True
