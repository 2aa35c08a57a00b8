from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from personae.errors import DataError
from personae.metrics import balance, presence, presence_score, strangers
from tests.metrics.matrices import both_agree, matrices
from tests.reference import metric_loops as slow


@given(matrices(max_rows=3, max_columns=4))
def test_presence_agrees_with_the_slow_one_and_every_face_is_accounted_for(similarity):
    similarity = similarity + np.random.default_rng(0).uniform(0, 1e-6, similarity.shape)
    seen = presence(similarity)
    copies, match, unknown = slow.presence(similarity.tolist())
    if similarity.size:
        assert (seen.copies.tolist(), list(seen.match)) == (copies, match)
        assert list(seen.strangers) == unknown
    assert seen.copies.sum() + strangers(similarity) == similarity.shape[1]
    assert (seen.found == (seen.copies > 0)).all()
    assert len({face for face in seen.match if face is not None}) == seen.found.sum()
    for row, face in enumerate(seen.match):
        assert face is None or similarity[row, face] >= 0.5


def test_presence_score_counts_absence_and_copies():
    similarity = np.array([[0.9, 0.8, 0.7, 0.1], [0.1, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 0.5]])
    assert presence_score(presence(similarity)).tolist() == [pytest.approx(1 / 3), 0.0, 1.0]
    assert presence(similarity, present=0.85).strangers == (1, 2, 3)


def test_presence_refuses_bad_input():
    for bad, present in (
        (np.zeros((2, 2, 2)), 0.5),
        (np.eye(2), 0.0),
        (np.full((2, 2), np.inf), 0.5),
    ):
        with pytest.raises(DataError):
            presence(bad, present)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.8], 1), ([0.8, 0.4], 0.5), ([0.8, 0.0], 0), ([0.8, -0.1], 0), ([0.0], 0), ([0.0, 0.0], 0)],
)
def test_balance(values, expected):
    assert both_agree(balance, np.array(values)) == pytest.approx(expected)


def test_balance_of_nobody_is_refused():
    with pytest.raises(DataError, match="a number a subject"):
        balance(np.zeros(0))
