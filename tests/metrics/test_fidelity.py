from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.errors import DataError, RequestError
from personae.metrics import (
    detect_and_compare,
    ip_similarity,
    reference_similarity,
    strict_detect_and_compare,
    strict_id_similarity,
    strict_reference_similarity,
    strict_subject_consistency,
    subject_consistency,
)
from tests.metrics.matrices import both_agree
from tests.reference import metric_loops as slow

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())
MUDI = GOLDEN["detect_and_compare"]
EXPECTED = np.array(MUDI["expected"])


def random_case(seed):
    rng = np.random.default_rng(seed)
    count, boxes = rng.integers(1, 5), rng.integers(0, 6)
    half = rng.uniform(0, 0.5, (count, count))
    expected = (half + half.T) / 2 + 0.5 * np.eye(count)
    return rng.uniform(-0.2, 1, (boxes, count)), expected


@pytest.mark.parametrize("case", MUDI["cases"])
@pytest.mark.parametrize("assignment", ["greedy", "hungarian"])
def test_detect_and_compare_gives_the_published_numbers(case, assignment):
    similarity = np.array(case["similarity"])
    value = float(detect_and_compare(similarity, EXPECTED, assignment))
    assert value == pytest.approx(case["value"], abs=0.001)
    assert float(detect_and_compare(similarity[::-1], EXPECTED, assignment)) == value


def test_the_norm_is_spectral_and_greedy_depends_on_the_order_of_subjects():
    good = np.array(MUDI["cases"][0]["similarity"])
    frobenius = 1 - np.linalg.norm(good - EXPECTED)
    assert frobenius == pytest.approx(0.912, abs=0.001)
    assert abs(float(detect_and_compare(good, EXPECTED)) - frobenius) > 0.01
    greedy_trap = np.array([[0.8, 0.79], [0.7, 0.1]])
    assert float(detect_and_compare(greedy_trap, EXPECTED)) < float(
        detect_and_compare(greedy_trap, EXPECTED, "hungarian")
    )


@given(st.integers(0, 10_000))
def test_both_agree_with_the_slow_ones(seed):
    similarity, expected = random_case(seed)
    for assignment in ("greedy", "hungarian"):
        fast = float(detect_and_compare(similarity, expected, assignment))
        assert fast == pytest.approx(
            slow.detect_and_compare(similarity, expected, assignment), abs=1e-4
        )
    strict = float(strict_detect_and_compare(similarity, expected))
    assert strict == pytest.approx(slow.strict_detect_and_compare(similarity, expected), abs=1e-4)
    assert 0 <= strict <= 1


def test_strict_counts_the_absent_and_the_doubled_and_compares_sizes():
    assert float(strict_detect_and_compare(EXPECTED, EXPECTED)) == 1.0
    assert float(strict_detect_and_compare(np.zeros((0, 2)), EXPECTED)) == 0.0
    one_missing = float(strict_detect_and_compare(EXPECTED[:1], EXPECTED))
    assert 0 < one_missing < 0.5
    doubled = np.vstack([EXPECTED, EXPECTED[:1]])
    assert float(strict_detect_and_compare(doubled, EXPECTED)) == pytest.approx(0.5)
    stranger = np.vstack([EXPECTED, [[0.1, 0.1]]])
    assert float(strict_detect_and_compare(stranger, EXPECTED)) == 1.0
    for count in (1, 2, 4):  # the same small fault everywhere costs the same for any N
        fault = float(strict_detect_and_compare(0.9 * np.eye(count), np.eye(count)))
        assert fault == pytest.approx(0.9)


def test_arrays_and_tensors_agree_and_gradients_flow():
    similarity, expected = np.array([[0.72, 0.26], [0.29, 0.71], [0.1, 0.2]]), EXPECTED
    both_agree(detect_and_compare, similarity[:2], expected)
    both_agree(strict_detect_and_compare, similarity, expected)
    both_agree(strict_subject_consistency, similarity)
    both_agree(subject_consistency, similarity)
    tensor = torch.tensor(similarity[:2], requires_grad=True)
    fixed = torch.tensor(expected)
    assert torch.autograd.gradcheck(lambda s: detect_and_compare(s, fixed), tensor)
    assert torch.autograd.gradcheck(lambda s: strict_detect_and_compare(s, fixed), tensor)


@given(st.integers(0, 10_000))
def test_reference_similarity_with_and_without_self_pairs(seed):
    rng = np.random.default_rng(seed)
    cast = {name: rng.normal(size=(rng.integers(1, 4), 5)) for name in "abc"[: rng.integers(1, 4)]}
    official, strict = both_agree_on(cast)
    for i, first in enumerate(cast.values()):
        for j, second in enumerate(cast.values()):
            assert official[i, j] == pytest.approx(slow.mean_similarity(first, second))
            alone = i == j and len(first) == 1
            expected = 1.0 if alone else slow.mean_similarity(first, second, i == j)
            assert strict[i, j] == pytest.approx(expected)


def both_agree_on(cast):
    answers = []
    for function in (reference_similarity, strict_reference_similarity):
        array = function(cast)
        tensor = function({name: torch.tensor(rows) for name, rows in cast.items()})
        np.testing.assert_allclose(tensor.numpy(), array)
        np.testing.assert_allclose(function(list(cast.values())), array)
        answers.append(array)
    return answers


def test_reference_similarity_takes_another_similarity_and_refuses_bad_input():
    cast = [np.eye(2), np.eye(2)]
    assert reference_similarity(cast, lambda a, b: a @ b.T * 0 + 0.5).tolist() == [[0.5] * 2] * 2
    for bad in ([], [np.zeros((0, 3))], [np.zeros(3)], [np.array([[np.nan]])]):
        with pytest.raises(DataError):
            reference_similarity(bad)


def test_detect_and_compare_refuses_bad_input():
    with pytest.raises(RequestError, match="hungarian"):
        detect_and_compare(EXPECTED, EXPECTED, "random")
    with pytest.raises(DataError, match="NaN or infinity"):
        detect_and_compare(EXPECTED * np.nan, EXPECTED)
    with pytest.raises(DataError, match=r"\(N, N\)"):
        strict_detect_and_compare(EXPECTED, np.eye(3))
    with pytest.raises(DataError, match="zeros"):
        strict_detect_and_compare(EXPECTED, np.zeros((2, 2)))


def test_subject_consistency_is_the_diagonal_and_omits_what_was_not_found():
    similarity = np.array([[0.7, np.nan, 0.9], [0.2, np.nan, 0.9]])
    values = subject_consistency(similarity)
    assert values[0] == 0.7
    assert np.isnan(values[1])
    assert np.isnan(subject_consistency(similarity[:, :1])[1])
    assert subject_consistency(np.array([0.5, 0.25])).tolist() == [0.5, 0.25]
    with pytest.raises(DataError):
        subject_consistency(np.array([[np.inf]]))


def test_a_swap_costs_officially_and_not_strictly_and_absence_costs_strictly():
    swapped = np.array([[0.2, 0.8], [0.8, 0.2]])
    assert subject_consistency(swapped).mean() == pytest.approx(0.2)
    assert strict_subject_consistency(swapped).mean() == pytest.approx(0.8)
    assert strict_subject_consistency(swapped[:, :1]).tolist() == [0.0, 0.8]
    np.testing.assert_array_equal(
        strict_subject_consistency(swapped), strict_id_similarity(swapped)
    )


@given(seed=st.integers(0, 10_000))
def test_ip_similarity_is_the_slow_one(seed):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 60, (rng.integers(0, 7), 2, 2)), axis=1)
    boxes, values = corners.reshape(-1, 4), rng.uniform(-1, 1, len(corners))
    width = int(rng.integers(16, 800))
    assert ip_similarity(values, boxes, width) == pytest.approx(
        slow.ip_similarity(values, boxes, width)
    )


def test_ip_similarity_by_hand():
    """A picture 200 wide: boxes below 10 x 10 or thinner than 2 (10 // 4) are too small."""
    boxes = np.array(
        [[0, 0, 9, 11], [0, 0, 1, 100], [0, 0, 10, 10], [0, 0, 50, 50], [5, 5, 40, 40]]
    )
    values = np.array([0.9, 0.8, 0.2, 0.1, 0.3])
    assert ip_similarity(values, boxes, 200) == 0.3
    # The fourth that is large enough is not looked at.
    more = np.vstack([boxes, [[0, 0, 90, 90]]])
    assert ip_similarity(np.append(values, 0.99), more, 200) == 0.3
    assert ip_similarity(values[:2], boxes[:2], 200) == 0
    # Sides count in whole pixels: 1.6 to 12.4 are 10, 0 to 1.6 are 2, and 2 of 50 are enough.
    assert ip_similarity(values[:1], np.array([[1.6, 0.4, 12.4, 10.4]]), 200) == 0.9
    assert ip_similarity(values[:1], np.array([[0, 0, 1.6, 50]]), 200) == 0.9
    assert ip_similarity(values[:1], np.array([[0, 0, 1.4, 100]]), 200) == 0
    with pytest.raises(DataError, match="IP-Sim"):
        ip_similarity(values, boxes[:2], 200)
