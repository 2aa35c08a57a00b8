from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.errors import DataError
from personae.metrics import (
    id_confusion,
    id_similarity,
    strict_id_confusion,
    strict_id_similarity,
)
from tests.metrics.matrices import both_agree, matrices
from tests.reference import metric_loops as slow

ALL = [id_similarity, id_confusion, strict_id_similarity, strict_id_confusion]


@given(matrices())
def test_official_functions_agree_with_the_slow_ones(similarity):
    assert id_similarity(similarity).tolist() == slow.id_similarity(similarity.tolist())
    np.testing.assert_allclose(
        id_confusion(similarity), slow.id_confusion(similarity.tolist()), atol=1e-12
    )


@given(matrices(max_rows=3, max_columns=4))
def test_strict_functions_agree_with_the_slow_ones_up_to_equal_assignments(similarity):
    # Noise decides between assignments of equal sum, in both alike.
    noise = np.random.default_rng(0).uniform(0, 1e-7, similarity.shape)
    rows = (similarity + noise).tolist()
    strict = strict_id_similarity(similarity + noise)
    np.testing.assert_allclose(strict, slow.strict_id_similarity(rows), atol=1e-6)
    confusion = strict_id_confusion(similarity + noise)
    if (similarity > 0).all():
        np.testing.assert_allclose(confusion, slow.strict_id_confusion(rows), atol=1e-5)
    assert ((confusion >= 0) & (confusion <= 1)).all()


@pytest.mark.parametrize("function", ALL)
def test_arrays_and_tensors_agree_and_a_batch_equals_its_pictures(function):
    batch = np.random.default_rng(1).uniform(-0.2, 1, (7, 3, 4))
    together = both_agree(function, batch)
    assert together.shape == (7, 3)
    for similarity, values in zip(batch, together, strict=True):
        np.testing.assert_allclose(both_agree(function, similarity), values, atol=1e-12)


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 1), (2, 3, 0)])
def test_empty_matrices_work(function, shape):
    values = function(np.zeros(shape))
    assert values.shape == shape[:-1]
    undefined = function is id_confusion and shape[-1] < 2
    assert np.isnan(values).all() if undefined else (values == 0).all()


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused_with_its_place(function, bad):
    similarity = np.array([[0.5, 0.5], [bad, 0.5]])
    with pytest.raises(DataError, match=r"\[1, 0\]"):
        function(similarity)
    with pytest.raises(DataError, match=r"shape \(2,\)"):
        function(np.zeros(2))


@pytest.mark.parametrize("function", ALL)
def test_gradients_are_those_of_the_value(function):
    similarity = torch.tensor(
        [[0.9, 0.2, 0.35], [0.1, 0.7, 0.3]], dtype=torch.float64, requires_grad=True
    )
    assert torch.autograd.gradcheck(function, similarity)


def test_one_face_serves_two_references_officially_and_one_strictly():
    blended = np.array([[0.5], [0.5]])
    assert id_similarity(blended).mean() == 0.5
    assert strict_id_similarity(blended).mean() == 0.25


def test_no_face_is_credited_below_absence_and_none_is_lost_to_a_negative_cell():
    assert strict_id_similarity(np.array([[-0.5]])).tolist() == [0.0]
    similarity = np.array([[0.9, 0.1], [0.3, -1.0]])
    assert strict_id_similarity(similarity).tolist() == [0.9, 0.0]


def test_strict_confusion_of_a_stranger_and_of_a_blended_face_is_low():
    assert id_confusion(np.array([[0.05, 0.0]]))[0] == 1.0  # the published oddity
    assert strict_id_confusion(np.array([[0.05, 0.0]]))[0] == pytest.approx(0.1)
    assert strict_id_confusion(np.array([[0.8], [0.8]])).max() == 0.0
    assert strict_id_confusion(np.array([[0.8, 0.2], [0.0, 0.9]]))[0] == pytest.approx(0.75)


@given(matrices(min_rows=2, min_columns=2), st.randoms())
def test_strict_values_do_not_depend_on_order(similarity, random):
    noise = np.random.default_rng(0).uniform(0, 1e-6, similarity.shape)
    similarity = 0.99 * np.abs(similarity) + noise
    rows, columns = list(range(len(similarity))), list(range(similarity.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    shuffled = similarity[rows][:, columns]
    for function in (strict_id_similarity, strict_id_confusion):
        np.testing.assert_allclose(function(shuffled), function(similarity)[rows], atol=1e-9)
