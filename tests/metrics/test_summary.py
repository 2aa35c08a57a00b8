from __future__ import annotations

import time

import numpy as np
import pytest

from personae.errors import DataError
from personae.metrics import (
    METRICS,
    cluster_bootstrap,
    paired_difference,
    paired_differences,
    summarize,
)
from tests.reference import metric_loops as slow


def row(scene, value, metric="presence", seed=0, subject="ann", absent=False):
    return {
        "scene": scene,
        "seed": seed,
        "metric": metric,
        "subject": subject,
        "protocol": "strict",
        "eyes": "eyes-1",
        "value": value,
        "unmeasured": None if value is not None else "no face",
        "details": {"absent": True} if absent else None,
    }


def test_interval_agrees_with_the_slow_bootstrap():
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 30, 200)
    values = rng.normal(size=200) + clusters / 10
    fast = cluster_bootstrap(values, clusters, num_resamples=4000)
    expected = slow.bootstrap(values, clusters, 4000, np.random.default_rng(1))
    np.testing.assert_allclose(fast, expected, atol=0.05)
    assert fast == cluster_bootstrap(values, [f"{name:02}" for name in clusters], 4000)


def test_the_order_of_rows_does_not_move_the_interval():
    rows = [row(f"scene {index}", index % 7 / 7, seed=index % 3) for index in range(60)]
    (there,), (back,) = summarize(rows), summarize(reversed(rows))
    np.testing.assert_allclose(there.ci95, back.ci95, atol=1e-12)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for trial in range(200):
        scenes = rng.normal(size=40)
        values = np.repeat(scenes, 5) + 0.1 * rng.normal(size=200)
        low, high = cluster_bootstrap(values, np.repeat(np.arange(40), 5), 500, seed=trial)
        hits += low <= 0 <= high
    assert 175 <= hits <= 199


def test_pictures_of_one_scene_are_not_taken_for_independent():
    values = np.repeat(np.random.default_rng(0).normal(size=20), 10)
    together = cluster_bootstrap(values, np.repeat(np.arange(20), 10))
    apart = cluster_bootstrap(values, np.arange(200))
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


def test_degenerate_cases_have_no_interval():
    assert cluster_bootstrap([], []) is None
    assert cluster_bootstrap([1.0, 0.0], ["a", "a"]) is None
    assert paired_difference([]) == (None, None)
    with pytest.raises(DataError):
        cluster_bootstrap([np.nan], ["a"])
    with pytest.raises(DataError):
        cluster_bootstrap([1.0], ["a", "b"])


def test_twenty_thousand_scenes_take_no_time_worth_naming():
    values = np.random.default_rng(0).uniform(size=20_000)
    start = time.process_time()
    cluster_bootstrap(values, np.arange(20_000))
    assert time.process_time() - start < 3.0  # 0.3 s alone; the machine may be busy


def test_summary_counts_absent_and_unmeasured_and_follows_the_table():
    rows = [row("a", 1.0), row("b", 0.0, absent=True), row("c", None)]
    rows += [row("a", 2.0, "strangers", subject=None), row("a", 0.5, "my_own")]
    summaries = summarize(iter(rows))
    assert [item.metric for item in summaries] == ["presence", "strangers", "my_own"]
    first = summaries[0]
    assert (first.mean, first.n, first.n_absent, first.n_unmeasured) == (0.5, 2, 1, 1)
    assert first.ci95 == (0.0, 1.0)
    assert not summaries[1].higher_is_better
    assert summaries[1].ci95 is None
    assert set(first.as_json()) == {
        "metric", "protocol", "eyes", "mean", "ci95", "n", "n_absent", "n_unmeasured",
        "higher_is_better",
    }  # fmt: skip
    assert summarize([]) == []
    nothing = summarize([row("a", None)])[0]
    assert (nothing.mean, nothing.ci95, nothing.n, nothing.n_unmeasured) == (None, None, 0, 1)


def test_differences_are_paired_by_key_and_the_rest_is_counted():
    first = [row("a", 0.5), row("b", 0.25), row("c", 0.0), row("d", None)]
    second = [row("a", 0.75), row("b", 0.5), row("c", None), row("d", None), row("e", 1.0)]
    (difference,) = paired_differences(first, second)
    assert (difference.mean, difference.n, difference.n_unpaired) == (0.25, 2, 2)
    assert (difference.first, difference.second) == (0.375, 0.625)
    assert difference.ci95 == (0.25, 0.25)
    (lonely,) = paired_differences(first, [])
    assert (lonely.mean, lonely.first, lonely.n, lonely.n_unpaired) == (None, None, 0, 3)


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(0)
    base = rng.normal(size=50)
    ours, theirs = base + 0.1, base + 0.01 * rng.normal(size=50)
    mean, (low, high) = paired_difference(zip(range(50), ours, theirs, strict=True))
    assert low < mean < high
    assert low > 0.08


def test_every_card_says_what_it_is():
    for name, card in METRICS.items():
        assert card.name == name
        assert card.meaning.endswith(".")
        assert card.protocol == "strict" or card.paper
        strict = METRICS.get(f"strict_{name}")
        if strict is not None:
            highest = card.high if name == "omnicontext_overall" else 1.0
            assert (strict.per_subject, strict.low, strict.high) == (card.per_subject, 0.0, highest)
