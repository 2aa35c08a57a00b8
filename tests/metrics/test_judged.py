"""What benchmarks make of a judge's answers: by hand, by loops, by properties."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personae.errors import DataError
from personae.metrics.judged import (
    dpg_score,
    judged_mean,
    omnicontext_overall,
    semantic_alignment,
    strict_dpg_score,
    strict_omnicontext_overall,
    strict_semantic_alignment,
    task_means,
)
from tests.reference.judged_loops import dpg_by_loops, mean_by_loops, strict_dpg_by_loops

marks = st.one_of(st.none(), st.floats(0, 10))


@settings(max_examples=60, deadline=None)
@given(st.lists(marks, min_size=1, max_size=8))
def test_means_as_loops_say_and_within_their_bounds(values) -> None:
    one = judged_mean(values)
    mean, low, high = mean_by_loops(values, 0.0, 10.0)
    assert (one.mean is None) == (mean is None)
    assert mean is None or one.mean == pytest.approx(mean)
    assert (one.low, one.high) == (pytest.approx(low), pytest.approx(high))
    assert mean is None or one.low - 1e-9 <= one.mean <= one.high + 1e-9
    assert one.num_judged + one.num_missing == len(values)


def test_a_mean_of_nothing_or_beyond_the_range_is_an_error() -> None:
    with pytest.raises(DataError, match="nothing"):
        judged_mean([])
    for wrong in (10.5, -0.1, float("nan")):
        with pytest.raises(DataError, match="expected 0 to 10"):
            judged_mean([5.0, wrong])


def test_tasks_weigh_the_same_however_many_items_they_have() -> None:
    one = task_means({"a": [10.0, 10.0, 10.0, None], "b": [4.0]})
    assert one.mean == 7.0
    assert (one.low, one.high) == (5.75, 7.0)
    assert one.tasks["a"].num_missing == 1


def test_a_task_without_any_mark_leaves_no_mean() -> None:
    one = task_means({"a": [10.0], "b": [None, None]})
    assert one.mean is None
    assert (one.low, one.high) == (5.0, 10.0)
    with pytest.raises(DataError, match="no task"):
        task_means({})


def test_what_the_published_program_guesses_is_missing_here() -> None:
    assert semantic_alignment([None]) is None
    assert semantic_alignment([]) is None
    assert strict_semantic_alignment([None, None]) is None
    assert omnicontext_overall([8.0], [None]) is None
    assert strict_omnicontext_overall([], [5.0]) is None


def test_repeats_as_published_and_strict() -> None:
    repeats = [9.0, None, 3.0]
    assert semantic_alignment(repeats) == pytest.approx(0.9)
    assert strict_semantic_alignment(repeats) == pytest.approx(0.6)
    assert omnicontext_overall(repeats, [12 / 3, 3.0]) == pytest.approx(3.0)
    assert omnicontext_overall([9.0, None], [4.0, 4.0]) is None
    assert strict_omnicontext_overall(repeats, [6.0]) == pytest.approx(6.0)


def test_omnicontext_of_the_published_row_of_one_task() -> None:
    """By hand: the items' roots are averaged, not the root of the averages."""
    items = [omnicontext_overall([9.0], [4.0]), omnicontext_overall([10.0], [0.0])]
    assert task_means({"single": items}).mean == pytest.approx(3.0)


@pytest.mark.parametrize("wrong", [11.0, -1.0, float("nan")])
def test_a_mark_beyond_the_range_is_an_error(wrong: float) -> None:
    for call in (
        lambda: semantic_alignment([wrong]),
        lambda: strict_semantic_alignment([5.0, wrong]),
        lambda: omnicontext_overall([wrong], [5.0]),
        lambda: strict_omnicontext_overall([5.0], [wrong]),
    ):
        with pytest.raises(DataError, match="expected 0 to 10"):
            call()


# Entity 1, its attribute 2, a relation 3 of it and of entity 4, which comes last.
TREE = {"1": (), "2": ("1",), "3": ("1", "4"), "4": ()}


@pytest.mark.parametrize(
    ("answers", "official", "strict"),
    [
        ((1, 1, 1, 1), 1.0, 1.0),
        ((1, 0, 1, 1), 0.75, 0.75),
        ((0, 1, 1, 1), 0.25, 0.25),
        ((1, 1, 1, 0), 0.5, 0.5),
        ((0, 0, 0, 0), 0.0, 0.0),
        ((1, None, 1, 1), 1.0, None),
        ((0, None, 1, 1), 1 / 3, 0.25),
        ((None, 1, 1, 1), 1.0, None),
        ((None, None, None, None), None, None),
    ],
)
def test_children_of_a_failed_parent_fail(answers, official, strict) -> None:
    said = dict(zip(TREE, answers, strict=True))
    assert dpg_score(said, TREE) == (None if official is None else pytest.approx(official))
    assert strict_dpg_score(said, TREE) == strict


def test_a_failed_grandparent_behind_its_grandchild_counts_only_strictly() -> None:
    parents = {"1": ("2",), "2": ("3",), "3": ()}
    answers = {"1": 1, "2": 1, "3": 0}
    assert dpg_score(answers, parents) == pytest.approx(1 / 3)
    assert strict_dpg_score(answers, parents) == 0.0
    in_order = dict(reversed(parents.items()))
    assert dpg_score(answers, in_order) == 0.0


@st.composite
def trees(draw):
    """Any questions without a circle, in any order."""
    number = draw(st.integers(1, 6))
    names = [str(i) for i in range(number)]
    parents = {
        name: tuple(draw(st.sets(st.sampled_from(names[:i])))) if i else ()
        for i, name in enumerate(names)
    }
    order = draw(st.permutations(names))
    answers = {name: draw(st.sampled_from([0.0, 1.0, None])) for name in names}
    return answers, {name: parents[name] for name in order}


@settings(max_examples=150, deadline=None)
@given(trees())
def test_trees_as_loops_say(made) -> None:
    answers, parents = made
    before = dict(answers)
    assert dpg_score(answers, parents) == dpg_by_loops(answers, parents)
    assert strict_dpg_score(answers, parents) == strict_dpg_by_loops(answers, parents)
    assert answers == before


@settings(max_examples=60, deadline=None)
@given(trees())
def test_strict_is_never_more_where_all_is_known_and_does_not_depend_on_the_order(made) -> None:
    answers, parents = made
    answers = {name: value or 0.0 for name, value in answers.items()}
    strict = strict_dpg_score(answers, parents)
    assert strict <= dpg_score(answers, parents) + 1e-12
    assert strict == strict_dpg_score(answers, dict(reversed(parents.items())))


@pytest.mark.parametrize("score", [dpg_score, strict_dpg_score])
def test_trees_are_checked(score) -> None:
    with pytest.raises(DataError, match="expected the same"):
        score({"1": 1.0}, {"2": ()})
    with pytest.raises(DataError, match="expected the same"):
        score({}, {})
    with pytest.raises(DataError, match="which is not there"):
        score({"1": 1.0}, {"1": ("7",)})
    with pytest.raises(DataError, match="1 for yes or 0 for no"):
        score({"1": 0.5}, {"1": ()})
    with pytest.raises(DataError, match="wait for each other"):
        strict_dpg_score({"1": 1.0, "2": 1.0}, {"1": ("2",), "2": ("1",)})


@pytest.mark.skipif("PERSONAE_DATA" not in os.environ, reason="PERSONAE_DATA is not set")
def test_all_yes_is_one_on_every_tree_of_xversebench() -> None:
    folder = Path(os.environ["PERSONAE_DATA"]) / "benchmarks" / "xversebench"
    if not folder.is_dir():
        pytest.skip("no xversebench in PERSONAE_DATA")
    for path in sorted(folder.glob("*_DSG.json")):
        for item in json.loads(path.read_text()):
            parents = {
                name: [str(one) for one in above if one]
                for name, above in item["qid2dependency"].items()
            }
            yes = dict.fromkeys(parents, 1.0)
            assert dpg_score(yes, parents) == strict_dpg_score(yes, parents) == 1.0
            first_no = {**yes, "1": 0.0}
            assert strict_dpg_score(first_no, parents) == strict_dpg_by_loops(first_no, parents)
