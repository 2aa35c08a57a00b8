from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.errors import DataError
from personae.metrics import RELATIONS, position_score, strict_position_score
from tests.metrics.matrices import both_agree

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def boxes_at(first, second, side=10.0):
    half = side / 2
    return np.array([[x - half, y - half, x + half, y + half] for x, y in (first, second)])


def official_by_hand(boxes, relation):
    """The published branches, one after the other."""
    (l1, t1, r1, b1), (l2, t2, r2, b2) = boxes
    dx, dy = (l2 + r2 - l1 - r1) / 2, (t2 + b2 - t1 - b1) / 2
    if relation == "next to":
        return 1.0 if abs(dx) < 150 or abs(dy) < 150 else 150 / max(abs(dx), abs(dy))
    overlap = max(min(r1, r2) - max(l1, l2), 0) * max(min(b1, b2) - max(t1, t2), 0)
    iou = overlap / ((r1 - l1) * (b1 - t1) + (r2 - l2) * (b2 - t2) - overlap)
    right_way = {
        "left of": dx > 0 and abs(dx) > abs(dy),
        "right of": dx < 0 and abs(dx) > abs(dy),
        "above": dy > 0,
        "below": dy < 0,
    }[relation]
    return (1.0 if iou < 0.1 else 0.1 / iou) if right_way else 0.0


@given(
    st.tuples(*[st.integers(0, 400)] * 4),
    st.sampled_from([5, 80, 200]),
    st.sampled_from(sorted(RELATIONS)),
)
def test_official_score_agrees_with_the_published_branches(places, side, words):
    boxes = boxes_at(places[:2], places[2:], side)
    value = float(position_score(boxes, words))
    assert value == pytest.approx(official_by_hand(boxes, RELATIONS[words]))


def test_official_oddities_are_kept():
    diagonal = boxes_at((0, 0), (100, 100))
    assert float(position_score(diagonal, "left of")) == 0.0  # |dx| == |dy|
    assert float(position_score(boxes_at((0, 0), (100, 1)), "above")) == 1.0  # no dominance
    touching = boxes_at((0, 0), (0, 6))
    assert float(position_score(touching, "on top of")) == pytest.approx(0.1 / (40 / 160))
    assert float(position_score(np.zeros((2, 4)), "above")) == 0.0
    nothing = np.array([[0.0, 0, 0, 0], [5, 5, 5, 5]])
    assert float(position_score(nothing, "above")) == 0.0


@given(st.tuples(*[st.integers(-300, 300)] * 4), st.sampled_from(sorted(OPPOSITE)))
def test_strict_score_is_symmetric_and_free_of_scale_and_place(places, relation):
    boxes = boxes_at(places[:2], places[2:], 80)
    value = float(strict_position_score(boxes, relation))
    assert 0 <= value <= 1
    swapped = float(strict_position_score(boxes[::-1], OPPOSITE[relation]))
    assert swapped == pytest.approx(value)
    assert float(strict_position_score(boxes * 3 + 17, relation)) == pytest.approx(value)
    turned = {"left of": "above", "above": "right of", "right of": "below", "below": "left of"}
    quarter = boxes[:, [3, 0, 1, 2]] * np.array([-1, 1, -1, 1])
    assert float(strict_position_score(quarter, turned[relation])) == pytest.approx(value)
    assert float(strict_position_score(boxes, OPPOSITE[relation])) == 0.0 or value == 0.0


@pytest.mark.parametrize(
    ("offset", "relation", "expected"),
    [
        ((-10, 0), "left of", 1.0),
        ((0, -10), "on top of", 1.0),  # contact is no fault
        ((0, -5), "on top of", 1.0),
        ((0, -2.5), "on top of", 0.5),
        ((-30, 20), "left of", 2 / 3),
        ((-20, 20), "left of", 0.0),
        ((0, -30), "left of", 0.0),
        ((10, 0), "left of", 0.0),
        ((0, 15), "next to", 1.0),
        ((22.5, 0), "next to", 0.5),
        ((60, 0), "near", 0.0),
        ((0, 0), "next to", 0.0),
    ],
)
def test_strict_score_by_hand(offset, relation, expected):
    value = float(strict_position_score(boxes_at(offset, (0, 0)), relation))
    assert value == pytest.approx(expected)


def test_boxes_are_cut_to_the_picture_and_gradients_flow():
    boxes = np.array([[-100.0, 0, 10, 10], [20, 0, 30, 10]])
    assert float(strict_position_score(boxes, "left of", (40, 20))) == 1.0
    with pytest.raises(DataError, match="inside"):
        strict_position_score(boxes - 200, "left of", (40, 20))
    tensor = torch.tensor(boxes_at((0, 3), (4, 0)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda b: strict_position_score(b, "left of"), tensor)
    both_agree(strict_position_score, boxes_at((0, 3), (4, 0)), relation="left of")
    both_agree(position_score, boxes_at((0, 3), (4, 0)), relation="left of")


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="next to"):
        position_score(np.zeros((2, 4)), "behind")
    with pytest.raises(DataError, match=r"\(2, 4\)"):
        position_score(np.zeros((3, 4)), "above")
    with pytest.raises(DataError, match="left < right"):
        strict_position_score(np.zeros((2, 4)), "above")
