from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.errors import DataError
from personae.metrics import copy_paste, copy_paste_reference
from tests.metrics.matrices import both_agree
from tests.reference import metric_loops as slow

COSINES = st.floats(-0.99, 0.99)


@given(COSINES, COSINES, COSINES)
def test_copy_paste_agrees_with_the_slow_one(to_target, to_reference, between):
    value = float(copy_paste(*map(np.array, (to_target, to_reference, between))))
    assert value == pytest.approx(slow.copy_paste(to_target, to_reference, between), abs=1e-9)
    assert -1 <= value <= 1


def test_pure_copies_and_true_likeness_are_the_ends():
    between = np.array([0.5, 0.3])
    assert both_agree(copy_paste, between, np.ones(2), between).tolist() == [1.0, 1.0]
    assert both_agree(copy_paste, np.ones(2), between, between).tolist() == [-1.0, -1.0]


@given(st.integers(2, 5), st.integers(0, 1000))
def test_copy_paste_reference_agrees_with_the_slow_one(count, seed):
    vectors = np.random.default_rng(seed).normal(size=(count + 1, 8))
    cosines = np.corrcoef(vectors)
    generated, between = cosines[0, 1:], cosines[1:, 1:]
    value = float(copy_paste_reference(generated, between))
    assert value == pytest.approx(slow.copy_paste_reference(generated, between), abs=1e-7)


def test_a_copied_reference_is_found_and_one_reference_cannot_tell():
    between = np.array([[1.0, 0.5, 0.6], [0.5, 1.0, 0.4], [0.6, 0.4, 1.0]])
    assert both_agree(copy_paste_reference, between[1], between) == pytest.approx(1.0, abs=1e-3)
    assert float(copy_paste_reference(np.full(3, 0.5), between)) < 0.3
    assert np.isnan(copy_paste_reference(np.array([0.5]), np.eye(1)))
    with pytest.raises(DataError, match=r"\(R, R\)"):
        copy_paste_reference(np.zeros(2), np.eye(3))


def test_gradients_are_finite_even_for_a_perfect_copy():
    values = torch.tensor([0.3, 0.5, 0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: copy_paste(v[0], v[1], v[2]), values)
    perfect = torch.tensor(1.0, requires_grad=True)
    copy_paste(torch.tensor(0.5), perfect, torch.tensor(0.5)).backward()
    assert torch.isfinite(perfect.grad)
