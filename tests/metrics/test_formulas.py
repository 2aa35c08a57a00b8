"""Every formula against a second implementation, in NumPy and torch, single and in batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from personae import metrics
from personae.errors import DataError
from tests.reference import slow_metrics as slow

value = st.floats(-1, 1, width=32).map(float)


@st.composite
def matrices(draw, low: float = -1.0, faces: int = 0, most: int = 5) -> np.ndarray:
    m, n = draw(st.integers(1, most)), draw(st.integers(faces, most))
    # Rounded values make ties and exact thresholds frequent enough to be met; a little noise on
    # top keeps the assignment itself unique, so that both implementations mean the same pairs.
    base = draw(
        arrays(np.float64, (m, n), elements=st.integers(int(low * 20), 20).map(lambda v: v / 20))
    )
    noise = np.random.default_rng(draw(st.integers(0, 10_000))).uniform(-1e-3, 1e-3, (m, n))
    return np.clip(base + noise, low, 1.0)


PER_MATRIX = [
    "id_similarity",
    "strict_id_similarity",
    "id_confusion",
    "strict_id_confusion",
    "matching_reward",
    "strict_matching_reward",
]


@pytest.mark.parametrize("name", PER_MATRIX)
@given(matrix=matrices(faces=1))
@settings(max_examples=150, deadline=None)
def test_formula_equals_the_slow_one_in_numpy_and_torch(name: str, matrix: np.ndarray) -> None:
    expected = np.array(getattr(slow, name)(matrix.tolist()))
    fast = getattr(metrics, name)
    np.testing.assert_allclose(fast(matrix), expected, atol=1e-9)
    tensor = fast(torch.from_numpy(matrix))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-9)
    single = fast(torch.from_numpy(matrix).float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, atol=2e-5)


@given(matrices(low=0.0, faces=1), st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_strict_reward_with_siblings_equals_the_slow_one(matrix: np.ndarray, seed: int) -> None:
    m = len(matrix)
    half = np.random.default_rng(seed).uniform(0, 0.8, (m, m))
    expected = np.maximum(half, half.T)
    fast = metrics.strict_matching_reward(matrix, reference_similarity=expected)
    assert float(fast) == pytest.approx(
        slow.strict_matching_reward(matrix.tolist(), expected=expected.tolist()), abs=1e-9
    )


@given(st.integers(1, 4), st.integers(0, 5), st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_detect_and_compare_equals_the_slow_one(n: int, boxes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    gt = generator.uniform(0.1, 1, (n, n))
    gt = (gt + gt.T) / 2
    s = generator.uniform(-0.2, 1, (boxes, n))
    fast = float(metrics.detect_and_compare(s, gt))
    assert fast == pytest.approx(slow.detect_and_compare(s.tolist(), gt.tolist()), abs=1e-6)
    strict = float(metrics.strict_detect_and_compare(s, gt))
    expected = slow.strict_detect_and_compare(s.tolist(), gt.tolist())
    assert strict == pytest.approx(expected, abs=1e-6)
    assert 0 <= strict <= 1


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_reference_similarity_equals_the_slow_one(counts: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    vectors = [generator.normal(size=(count, 3)) for count in counts]
    lists = [item.tolist() for item in vectors]
    np.testing.assert_allclose(
        metrics.reference_similarity(vectors), slow.reference_similarity(lists), atol=1e-9
    )
    named = {str(index): torch.from_numpy(item) for index, item in enumerate(vectors)}
    np.testing.assert_allclose(
        metrics.strict_reference_similarity(named).numpy(),
        slow.reference_similarity(lists, self_pairs=False),
        atol=1e-9,
    )


@given(matrices(low=0.0, faces=1))
@settings(max_examples=150, deadline=None)
def test_presence_equals_the_slow_one(matrix: np.ndarray) -> None:
    found = metrics.presence(matrix)
    copies, strangers = slow.presence(matrix.tolist())
    assert found.copies.tolist() == copies
    assert len(found.strangers) == metrics.strangers(matrix) == strangers
    scores = metrics.presence_score(found)
    assert scores.tolist() == [1 / count if count else 0.0 for count in copies]


@given(value, value, value)
def test_copy_paste_equals_the_slow_one(gt: float, gr: float, tr: float) -> None:
    fast = float(metrics.copy_paste(np.array(gt), np.array(gr), np.array(tr)))
    assert fast == pytest.approx(slow.copy_paste(gt, gr, tr), abs=0.51 if tr > 0.999999 else 1e-3)


@pytest.mark.parametrize("name", ["matching_reward", "strict_matching_reward"])
@given(st.lists(matrices(faces=0, most=4), max_size=6))
@settings(max_examples=60, deadline=None)
def test_many_pictures_at_once_score_as_one_by_one(name: str, pictures: list[np.ndarray]) -> None:
    one, many = getattr(metrics, name), getattr(metrics, f"{name}s")
    expected = [float(one(picture)) for picture in pictures]
    np.testing.assert_allclose(many(pictures), expected, atol=1e-12)
    if pictures:
        tensors = [torch.from_numpy(picture) for picture in pictures]
        np.testing.assert_allclose(many(tensors).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("name", PER_MATRIX)
def test_a_leading_batch_axis_scores_each_matrix(name: str) -> None:
    batch = torch.rand(5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fast = getattr(metrics, name)
    torch.testing.assert_close(fast(batch), torch.stack([fast(item) for item in batch]))


@pytest.mark.parametrize("name", PER_MATRIX)
@pytest.mark.parametrize("shape", [(2, 0), (0, 2), (0, 0)])
def test_nobody_is_no_crash(name: str, shape: tuple[int, int]) -> None:
    scores = np.asarray(getattr(metrics, name)(np.zeros(shape)))
    per_subject = (shape[0],) if "reward" not in name else ()
    assert scores.shape == per_subject
    if name == "id_confusion":
        assert np.isnan(scores).all() or shape == (0, 2)
    else:
        assert (scores == 0).all()


@pytest.mark.parametrize("name", PER_MATRIX)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_is_refused_with_a_reason(name: str, bad: float) -> None:
    with pytest.raises(DataError, match="NaN or infinity"):
        getattr(metrics, name)(np.array([[0.5, bad]]))


def test_validity_weighs_each_cell() -> None:
    similarity = np.array([[0.8, 0.1], [0.2, 0.6]])
    weights = np.array([[1.0, 0.0], [1.0, 0.0]])
    reward = float(metrics.matching_reward(similarity, validity=weights))
    assert reward == pytest.approx((0.8 - 0.2) / 4)


def test_subject_consistency_leaves_out_what_the_program_would_guess() -> None:
    one_box = metrics.subject_consistency(np.array([[0.8], [0.3]]))
    assert one_box[0] == 0.8
    assert np.isnan(one_box[1])
    more = metrics.subject_consistency(np.array([[0.8, 0.1, 0.9], [0.2, 0.7, 0.9]]))
    assert more.tolist() == [0.8, 0.7]
    assert metrics.subject_consistency(np.array([0.4, 0.5])).tolist() == [0.4, 0.5]


def test_copy_paste_without_a_target_needs_two_references() -> None:
    assert np.isnan(metrics.copy_paste_reference(np.array([0.9]), np.eye(1)))
    among = np.array([[1.0, 0.6, 0.6], [0.6, 1.0, 0.6], [0.6, 0.6, 1.0]])
    copied = float(metrics.copy_paste_reference(np.array([1.0, 0.6, 0.6]), among))
    fresh = float(metrics.copy_paste_reference(np.array([0.6, 0.6, 0.6]), among))
    assert copied == pytest.approx(1.0, abs=1e-3)
    assert fresh == pytest.approx(0.0, abs=1e-6)


def test_balance() -> None:
    assert float(metrics.balance(np.array([0.9]))) == 1.0
    assert float(metrics.balance(np.array([0.9, 0.0]))) == 0.0
    assert float(metrics.balance(np.array([0.0, 0.0]))) == 0.0
