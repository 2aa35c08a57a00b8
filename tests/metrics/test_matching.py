from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from personae.errors import DataError
from personae.metrics import matching_reward, matching_rewards, single_identity_reward
from personae.metrics.assignment import places
from tests.metrics.matrices import both_agree, matrices
from tests.reference import metric_loops as slow

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["matching_reward"]["cases"], ids=lambda case: case["name"])
def test_toy_values_of_the_released_formula(case):
    assert float(matching_reward(np.array(case["similarity"]))) == pytest.approx(case["value"])


@given(st.integers(1, 6), st.floats(0.1, 1), st.floats(-1, 0.05))
def test_reward_shrinks_with_the_number_of_subjects_as_published(count, right, wrong):
    similarity = np.where(np.eye(count, dtype=bool), right, wrong)
    value = float(matching_reward(similarity))
    assert value == pytest.approx((right - (count - 1) * wrong) / count)


@given(matrices(max_columns=4), st.floats(0, 2), st.floats(-2, 0))
def test_reward_agrees_with_the_slow_one(similarity, positive, negative):
    value = float(matching_reward(similarity, positive, negative))
    assert value == pytest.approx(slow.matching_reward(similarity, positive, negative), abs=1e-12)


def test_validity_weighs_cells_but_not_the_assignment():
    similarity, validity = np.array([[0.9, 0.8]]), np.array([[0.0, 1.0]])
    value = float(matching_reward(similarity, validity=validity))
    assert value == pytest.approx(-0.4)
    assert value == pytest.approx(slow.matching_reward(similarity, validity=validity))


@given(matrices(min_rows=1, min_columns=1))
def test_assignment_has_the_largest_sum_of_all_permutations(similarity):
    cells = places(torch.tensor(similarity)).numpy()
    rows, columns = np.divmod(cells, similarity.shape[1])
    assert len(set(rows)) == len(set(columns)) == min(similarity.shape)
    best = slow.pairs_of_best_assignment(similarity)
    assert similarity[rows, columns].sum() == pytest.approx(sum(similarity[i, j] for i, j in best))


def test_batches_and_ragged_lists_equal_single_pictures():
    rng = np.random.default_rng(0)
    shapes = list(itertools.product(range(4), range(5))) * 2
    pictures = [rng.uniform(-1, 1, shape) for shape in shapes]
    singles = [float(matching_reward(picture)) for picture in pictures]
    np.testing.assert_allclose(matching_rewards(pictures), singles, atol=1e-12)
    tensors = [torch.tensor(picture, requires_grad=True) for picture in pictures]
    rewards = matching_rewards(tensors)
    np.testing.assert_allclose(rewards.detach().numpy(), singles, atol=1e-12)
    rewards.sum().backward()
    for tensor in tensors:
        alone = tensor.detach().clone().requires_grad_()
        matching_reward(alone).backward()
        assert torch.equal(tensor.grad, alone.grad)
    batch = rng.uniform(-1, 1, (6, 4, 3))
    np.testing.assert_allclose(
        both_agree(matching_reward, batch), [float(matching_reward(item)) for item in batch]
    )
    np.testing.assert_array_equal(matching_rewards(batch), matching_reward(batch))


def test_gradient_is_the_weights():
    similarity = torch.tensor([[0.9, 0.2, 0.3]], dtype=torch.float64, requires_grad=True)
    matching_reward(similarity).backward()
    np.testing.assert_allclose(similarity.grad.numpy(), [[1 / 3, -1 / 3, -1 / 3]])
    assert torch.autograd.gradcheck(matching_reward, similarity)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (4, 0, 3)])
def test_nobody_gives_zero_and_no_gradient(shape):
    similarity = torch.zeros(shape, requires_grad=True)
    reward = matching_reward(similarity)
    assert reward.shape == shape[:-2]
    assert (reward == 0).all()
    reward.sum().backward()
    assert similarity.grad.numel() == 0


def test_single_identity_reward_equals_the_matching_reward_of_one_by_one():
    assert float(single_identity_reward(np.array([0.3]))) == float(
        matching_reward(np.array([[0.3]]))
    )
    assert both_agree(single_identity_reward, np.array([[0.1, 0.4], [0.3, 0.2]])).tolist() == [
        0.4,
        0.3,
    ]
    assert float(single_identity_reward(np.zeros(0))) == 0.0


def test_bad_input_is_refused():
    assert matching_rewards([]).shape == (0,)
    with pytest.raises(DataError, match="NaN or infinity"):
        matching_rewards([np.array([[np.nan]])])


def test_read_only_backwards_and_integer_arrays_are_taken():
    similarity = np.eye(2, dtype=np.int64)[::-1]
    similarity.setflags(write=False)
    assert float(matching_reward(similarity)) == 0.5
    assert matching_reward(np.eye(2, dtype=np.float32)).dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 5), (4, 6), (5, 3)])
def test_many_assignments_at_once_are_scipys(shape):
    """Also where the largest cells clash, and where they do not: both kinds are among them."""
    batch = torch.rand(200, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for matrix, cells in zip(batch, places(batch), strict=True):
        rows, columns = linear_sum_assignment(matrix.numpy(), maximize=True)
        assert cells.tolist() == (rows * shape[1] + columns).tolist()
