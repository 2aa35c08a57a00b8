"""Agreement of raters and of metrics: golden values, slow twins, and intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from personae.errors import DataError
from personae.metrics.people import (
    alpha_interval,
    krippendorff_alpha,
    rank_correlation,
    rank_correlation_interval,
)
from tests.reference.people_loops import alpha_of_pairs, correlation_of_ranks

# Krippendorff's own example: four observers, twelve units, some values missing (None).
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)
UNITS = [[v for v in unit if v is not None] for unit in zip(*OBSERVERS, strict=True)]
units = st.lists(st.lists(st.integers(0, 2), max_size=5), max_size=8)


def test_alpha_of_the_published_example():
    assert krippendorff_alpha(UNITS) == pytest.approx(0.743, abs=5e-4)


def test_alpha_worked_by_hand():
    # Two raters, four units: y y, y n, n n, n n. n = 8, n_y = 3, n_n = 5; o_yn + o_ny = 2.
    # alpha = 1 - 7 * 2 / (2 * 3 * 5) = 8 / 15.
    assert krippendorff_alpha(["yy", "yn", "nn", "nn"]) == pytest.approx(8 / 15)


@given(units)
def test_alpha_is_what_counting_pairs_gives(votes):
    found, twin = krippendorff_alpha(votes), alpha_of_pairs(votes)
    assert (found is None) == (twin is None)
    if twin is not None:
        assert found == pytest.approx(twin)


def test_alpha_is_none_where_nothing_could_differ():
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha([["y"], ["n"]]) is None
    assert krippendorff_alpha(["yyy", "yy"]) is None
    assert alpha_interval(["yyy", "yy"], ["a", "b"]) is None
    assert alpha_interval(["yn", "yy"], ["a", "a"]) is None


def test_a_single_vote_changes_nothing():
    assert krippendorff_alpha([*UNITS, [9]]) == krippendorff_alpha(UNITS)


def test_the_interval_of_alpha_is_that_of_resampled_scenes():
    rng = np.random.default_rng(4)
    votes = [list(rng.random(3) < share) for share in rng.random(100)]
    scenes = [place // 2 for place in range(100)]
    low, high = alpha_interval(votes, scenes, 4000)
    found = []
    for _ in range(800):
        drawn = rng.integers(0, 50, 50)
        found.append(krippendorff_alpha([votes[2 * s + k] for s in drawn for k in (0, 1)]))
    twin = np.percentile(found, [2.5, 97.5]).tolist()
    assert [low, high] == pytest.approx(twin, abs=0.03)
    assert low < krippendorff_alpha(votes) < high


def test_the_interval_of_alpha_covers_zero_for_random_raters():
    covered = 0
    for seed in range(100):
        votes = np.random.default_rng(seed).integers(0, 2, (40, 3)).tolist()
        low, high = alpha_interval(votes, range(40), 400)
        covered += low <= 0 <= high
    assert 88 <= covered <= 100


values = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12)


@given(values)
def test_rank_correlation_is_what_ranking_by_hand_gives(pairs):
    first, second = map(list, zip(*pairs, strict=True))
    found, twin = rank_correlation(first, second), correlation_of_ranks(first, second)
    assert (found is None) == (twin is None)
    if twin is not None:
        assert found == pytest.approx(twin)
        assert found == pytest.approx(spearmanr(first, second).statistic)


def test_the_interval_of_a_rank_correlation_covers_the_truth():
    def drawn(rng, num_scenes):
        scene = np.repeat(rng.normal(size=num_scenes), 2)
        metric = 0.6 * scene + 0.8 * rng.normal(size=2 * num_scenes)
        people = np.round(3 / (1 + np.exp(-2 * metric - rng.normal(size=2 * num_scenes))))
        return metric, people, np.repeat(np.arange(num_scenes), 2)

    metric, people, _ = drawn(np.random.default_rng(0), 50_000)
    true = rank_correlation(metric, people)
    covered = 0
    for seed in range(60):
        metric, people, scenes = drawn(np.random.default_rng(seed + 1), 25)
        low, high = rank_correlation_interval(metric, people, scenes, 80)
        covered += low <= true <= high
    assert 52 <= covered <= 60


def test_an_interval_needs_scenes_and_an_order():
    assert rank_correlation_interval([1, 2, 3], [1, 2, 3], ["a", "a", "a"]) is None
    assert rank_correlation_interval([1, 1, 1, 1], [1, 2, 3, 4], "abcd") is None
    with pytest.raises(DataError, match="3 values for 2 clusters"):
        rank_correlation_interval([1, 2, 3], [1, 2, 3], ["a", "b"])
    with pytest.raises(DataError, match="as many"):
        rank_correlation([1], [1, 2])
