"""How well people agree with each other, and a metric with people; pure arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from personae.errors import DataError
from personae.metrics.summary import Interval

__all__ = [
    "agrees",
    "alpha_interval",
    "krippendorff_alpha",
    "rank_correlation",
    "rank_correlation_interval",
]

# Fewer resamples than these in a hundred have a value: the interval would speak of the few.
_LEAST_DEFINED = 50


def krippendorff_alpha(units: Sequence[Sequence[Hashable]]) -> float | None:
    r"""Krippendorff's alpha for names, in [-1, 1]: 1 all agree, 0 as by chance, below: worse.

    .. math:: \alpha = 1 - (n - 1) \frac{\sum_{c \neq k} o_{ck}}{\sum_{c \neq k} n_c n_k}

    A unit is a thing that was judged, with the values that its raters gave, each as often as it
    was given; who did not judge it is simply not there, so designs may be incomplete. With
    :math:`m_u` values in a unit, each ordered pair of values adds :math:`1 / (m_u - 1)` to
    :math:`o_{ck}`; units of one value say nothing. None where no unit has two values, or where
    all values are one and the same: nothing could have been disagreed upon.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.

    >>> round(krippendorff_alpha([["y", "y"], ["y", "n"], ["n", "n"]]), 4)
    0.4444
    """
    disagreement, counts = _tallies(units)
    return _alpha(disagreement.sum(), counts.sum(0))


def alpha_interval(
    units: Sequence[Sequence[Hashable]],
    clusters: Sequence[Hashable],
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """95% percentile interval of `krippendorff_alpha`, resampling whole clusters (scenes).

    None with fewer than two clusters, or where more than half of the resamples have no alpha.

    Raises:
        DataError: units and clusters of different lengths.
    """
    codes, num_clusters = _codes(clusters, len(units))
    if num_clusters < 2:
        return None
    disagreement, counts = _tallies(units)
    by_cluster = np.zeros((num_clusters, 1 + counts.shape[1]))
    np.add.at(by_cluster, codes, np.column_stack([disagreement, counts]))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), num_resamples)
    sums = drawn @ by_cluster
    return _ends([_alpha(row[0], row[1:]) for row in sums])


def _tallies(units: Sequence[Sequence[Hashable]]) -> tuple[np.ndarray, np.ndarray]:
    """Of each unit the pairs that disagree, weighted (U,), and how often each value is (U, V)."""
    names = sorted({value for unit in units for value in unit}, key=str)
    disagreement, counts = np.zeros(len(units)), np.zeros((len(units), len(names)))
    for place, unit in enumerate(units):
        if len(unit) < 2:
            continue
        given = Counter(unit)
        counts[place] = [given[name] for name in names]
        pairs = len(unit) ** 2 - (counts[place] ** 2).sum()
        disagreement[place] = pairs / (len(unit) - 1)
    return disagreement, counts


def _alpha(disagreement: float, counts: np.ndarray) -> float | None:
    n = counts.sum()
    by_chance = n**2 - (counts**2).sum()
    return None if by_chance == 0 else float(1 - (n - 1) * disagreement / by_chance)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation in [-1, 1]; equal values share the mean of their ranks.

    None where either has no two different values: there is no order to follow.

    >>> rank_correlation([1, 2, 3, 4], [0.1, 0.2, 0.4, 0.3])
    0.8
    """
    if len(first) != len(second):
        raise DataError(f"{len(first)} values against {len(second)}: expected as many")
    return _spearman(np.asarray(first, dtype=float), np.asarray(second, dtype=float))


def rank_correlation_interval(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable],
    num_resamples: int = 1000,
    seed: int = 0,
) -> Interval | None:
    """95% percentile interval of `rank_correlation`, resampling whole clusters (scenes).

    None with fewer than two clusters, or where more than half of the resamples have no order.

    Raises:
        DataError: lists of different lengths.
    """
    codes, num_clusters = _codes(clusters, len(first))
    if num_clusters < 2:
        return None
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    members = [np.flatnonzero(codes == code) for code in range(num_clusters)]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num_resamples):
        chosen = rng.integers(0, num_clusters, num_clusters)
        drawn = np.concatenate([members[code] for code in chosen])
        found.append(_spearman(x[drawn], y[drawn]))
    return _ends(found)


def agrees(metric: float, people: float) -> float:
    """Does a metric's difference between two pictures point where people's does? 1, 0, or 0.5.

    0.5 where the metric sees no difference. People's is not 0: they preferred one.

    >>> agrees(0.25, 1.0), agrees(-0.25, 1.0), agrees(0.0, -1.0)
    (1.0, 0.0, 0.5)
    """
    return 0.5 if metric == 0 else float((metric > 0) == (people > 0))


def _spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    if len(x) < 2 or (x == x[0]).all() or (y == y[0]).all():
        return None
    from scipy.stats import rankdata

    first, second = rankdata(x), rankdata(y)
    first, second = first - first.mean(), second - second.mean()
    correlation = float(first @ second / np.sqrt((first @ first) * (second @ second)))
    # The root may round so that a perfect order exceeds 1 by a bit.
    return min(1.0, max(-1.0, correlation))


def _codes(clusters: Sequence[Hashable], expected: int) -> tuple[np.ndarray, int]:
    """Clusters as 0, 1, ... in the order of their names, and how many there are."""
    if len(clusters) != expected:
        raise DataError(f"{expected} values for {len(clusters)} clusters: expected as many")
    places = {name: place for place, name in enumerate(sorted(set(clusters), key=str))}
    return np.array([places[name] for name in clusters], dtype=np.int64), len(places)


def _ends(values: Sequence[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    if 100 * len(known) < _LEAST_DEFINED * len(values):
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
