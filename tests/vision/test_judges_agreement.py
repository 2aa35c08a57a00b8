"""Agreement of a judge with itself, against loops."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personae.vision.judges import Judgement, agreement
from tests.reference.judged_loops import agreement_by_loops


def said(*values) -> list[Judgement]:
    return [
        Judgement.missing("no answer") if value is None else Judgement(float(value))
        for value in values
    ]


def test_marks_by_hand() -> None:
    one = agreement([said(6, 6, 9), said(4, None, 8), said(None, 5, None), said(None, None, None)])
    assert one.exact == pytest.approx((1 / 3 + 0) / 2)
    assert one.difference == pytest.approx(((0 + 3 + 3) / 3 + 4) / 2)
    assert one.deviation == pytest.approx((3**0.5 + 8**0.5) / 2)
    assert (one.num_questions, one.num_alone, one.num_missing) == (2, 2, 6)


def test_yes_and_no_by_hand() -> None:
    one = agreement([said(1, 1, 1), said(1, 0, 1)])
    assert one.exact == pytest.approx((1 + 1 / 3) / 2)
    assert one.difference == pytest.approx(1 - one.exact)


def test_nothing_twice_is_no_number() -> None:
    one = agreement([said(7), said(None)])
    assert (one.exact, one.difference, one.deviation) == (None, None, None)
    assert (one.num_questions, one.num_alone, one.num_missing) == (0, 2, 1)
    assert agreement([]).exact is None


marks = st.one_of(st.none(), st.sampled_from([0.0, 2.5, 5.0, 5.5, 10.0]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(marks, min_size=1, max_size=5), max_size=6))
def test_as_loops_say(values) -> None:
    one = agreement([said(*repeats) for repeats in values])
    slow = agreement_by_loops(values)
    for name in ("exact", "difference", "deviation"):
        expected = slow[name]
        found = getattr(one, name)
        assert (found is None) == (expected is None)
        assert expected is None or found == pytest.approx(expected)
    assert one.num_questions == slow["num_questions"]
