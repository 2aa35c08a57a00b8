"""The design: balanced, spread, mixed, and a function of its seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personae.errors import RequestError
from personae.evaluation.survey_design import Place, Plan, Pool, Shown, deal, design, spread

BOTH = ("each", "pair")


def pool(num_scenes=8, seeds=2, num_models=2, apart=True):
    names = [f"s{number}" for number in range(num_scenes)]
    others = {name: [other for other in names if other != name] if apart else [] for name in names}
    return Pool([Place(n, seed) for n in names for seed in range(seeds)], num_models, others)


def real(sheet, kind):
    return [a for a in sheet if a.kind == kind and a.expected is None and a.repeats is None]


@given(st.integers(0, 30), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_dealing_is_even_and_never_twice(num_units, raters, judges, seed):
    judges = min(judges, raters)
    dealt = deal(num_units, raters, judges, np.random.default_rng(seed))
    loads = [len(units) for units in dealt]
    assert max(loads) - min(loads) <= 1
    assert all(len(set(units)) == len(units) for units in dealt)
    counts = Counter(unit for units in dealt for unit in units)
    assert counts == dict.fromkeys(range(num_units), judges)


def test_dealing_mixes_who_judges_together():
    dealt = deal(60, 6, 2, np.random.default_rng(0))
    pairs = {frozenset(rater for rater in range(6) if unit in dealt[rater]) for unit in range(60)}
    assert len(pairs) == 15  # Every two of six meet somewhere.


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 20))
def test_every_beginning_holds_as_many_scenes_as_it_can(seeds, seed):
    places = [Place(str(s), k) for s, count in enumerate(seeds) for k in range(count)]
    order = spread(places, np.random.default_rng(seed))
    assert sorted(order) == sorted(places)
    for length in range(1, len(order) + 1):
        counts = Counter(place.scene for place in order[:length])
        unfinished = [counts[str(s)] for s, count in enumerate(seeds) if counts[str(s)] < count]
        assert max(counts.values()) <= min(unfinished, default=5) + 1


@pytest.mark.parametrize(
    ("raters", "questions", "judges", "models"), [(5, 10, 3, 2), (7, 23, 2, 3), (4, 40, 4, 2)]
)
def test_each_item_has_as_many_judges_and_no_sheet_is_longer_than_asked(
    raters, questions, judges, models
):
    plan = Plan(kinds=BOTH, raters=raters, questions=questions, judges=judges)
    sheets, used = design(pool(num_models=models), plan)
    for kind in BOTH:
        counts = Counter(a.place_and_shown() for s in sheets for a in map(Item, real(s, kind)))
        assert set(counts.values()) == {used[kind]}
        assert used[kind] >= judges
    for sheet in sheets:
        assert len(real(sheet, "each")) + len(real(sheet, "pair")) <= questions
    assert {shown.model for s in sheets for a in s for shown in a.shown} >= set(range(models))


class Item:
    """A question without its side."""

    def __init__(self, asked):
        self.asked = asked

    def place_and_shown(self):
        return self.asked.place, frozenset(self.asked.shown)


@pytest.mark.parametrize("models", [2, 3])
def test_sides_are_balanced_for_every_rater_and_pair_of_models(models):
    sheets, _ = design(pool(num_models=models), Plan(kinds=("pair",), raters=5, questions=21))
    total = Counter()
    for sheet in sheets:
        sides = Counter(tuple(shown.model for shown in a.shown) for a in real(sheet, "pair"))
        for first, second in sides:
            assert abs(sides[first, second] - sides[second, first]) <= 1
        total += sides
    assert all(abs(total[pair] - total[pair[::-1]]) <= 1 for pair in total)


def test_all_models_of_a_place_go_to_the_same_raters():
    sheets, _ = design(pool(num_models=3), Plan(kinds=("each",), raters=4, questions=12, judges=2))
    for sheet in sheets:
        seen = Counter(asked.place for asked in real(sheet, "each"))
        assert set(seen.values()) == {3}


def test_checks_have_known_answers_and_repeats_are_turned_round():
    plan = Plan(kinds=BOTH, raters=3, questions=30, checks=4, repeats=2)
    for sheet in design(pool(), plan)[0]:
        for kind, answers in (("each", {"yes": 2, "no": 2}), ("pair", {"left": 2, "right": 2})):
            checks = [a for a in sheet if a.kind == kind and a.expected is not None]
            assert Counter(a.expected for a in checks) == answers
            for asked in checks:
                held = asked.expected in {"yes", "left"}
                assert (asked.shown[0] == Shown(None, Place(asked.place.scene, 0))) is held
                other = asked.shown[-1 if held else 0]
                if kind == "pair" or not held:
                    assert other.model is not None and other.place.scene != asked.place.scene
            again = [a for a in sheet if a.kind == kind and a.repeats is not None]
            assert len(again) == 2
            for asked in again:
                assert asked.shown == asked.repeats.shown[::-1]
                first = [at for at, a in enumerate(sheet) if a is asked.repeats]
                assert sheet.index(asked.repeats) == first[0]
                assert next(at for at, a in enumerate(sheet) if a is asked) - first[0] >= 3


def test_where_all_scenes_share_their_subjects_a_check_shows_plain_gray():
    sheets, _ = design(pool(apart=False), Plan(kinds=("each",), raters=2, questions=8, judges=1))
    absent = [a.shown[0] for s in sheets for a in s if a.expected == "no"]
    assert absent and set(absent) == {Shown()}


def test_half_of_the_raters_begin_with_the_other_part():
    sheets, _ = design(pool(), Plan(kinds=BOTH, raters=4, questions=8))
    assert [sheet[0].kind for sheet in sheets] == ["each", "pair", "each", "pair"]
    for sheet in sheets:
        kinds = [asked.kind for asked in sheet]
        assert kinds == sorted(kinds, reverse=kinds[0] == "pair")


def test_the_seed_says_all():
    plan = Plan(kinds=BOTH, raters=3, questions=20)
    assert design(pool(), plan) == design(pool(), plan)
    assert design(pool(), plan) != design(pool(), Plan(kinds=BOTH, raters=3, questions=20, seed=1))


def test_orders_differ_between_raters():
    sheets, _ = design(pool(), Plan(kinds=("each",), raters=3, questions=40))
    orders = {tuple(a.place for a in real(s, "each")) for s in sheets}
    assert len(orders) == 3


@pytest.mark.parametrize(
    "changes", [{"raters": 0}, {"questions": 0}, {"judges": 0}, {"checks": -1}, {"judges": 11}]
)
def test_a_plan_that_cannot_be_is_refused(changes):
    with pytest.raises(RequestError, match=r"expected at least|--judges 11"):
        Plan(kinds=("each",), **changes)


def test_a_sheet_too_short_for_one_scene_is_refused():
    with pytest.raises(RequestError, match="raise --questions or --raters"):
        design(pool(num_models=3), Plan(kinds=("each",), raters=3, questions=2))
