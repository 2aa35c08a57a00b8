"""Kernel distance and diversity against second, slow implementations, and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personae.errors import DataError
from personae.metrics.quality import kernel_distance, seed_diversity


def slow_distance(x: np.ndarray, y: np.ndarray) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    def pairs(z: np.ndarray) -> float:
        values = [k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]
        return sum(values) / len(values)

    across = [k(a, b) for a in x for b in y]
    return pairs(x) + pairs(y) - 2 * sum(across) / len(across)


@pytest.mark.parametrize("seed", range(5))
def test_the_distance_is_the_slow_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(4, 3)), rng.normal(0.5, 2, size=(6, 3))
    assert float(kernel_distance(x, y)) == pytest.approx(slow_distance(x, y), rel=1e-9)
    assert float(kernel_distance(torch.tensor(x), torch.tensor(y))) == pytest.approx(
        slow_distance(x, y), rel=1e-9
    )


def test_one_distribution_is_nothing_apart_on_average_and_two_are() -> None:
    rng = np.random.default_rng(0)
    same = [kernel_distance(*rng.normal(size=(2, 30, 8))) for _ in range(400)]
    # Unbiased: the mean is 0 within three of its standard errors.
    assert abs(np.mean(same)) < 3 * np.std(same) / 20
    near, far = (
        kernel_distance(rng.normal(size=(100, 8)), rng.normal(shift, 1, size=(100, 8)))
        for shift in (0.3, 1.0)
    )
    assert 0.01 < float(near) < float(far)


def test_diversity_by_hand() -> None:
    features = np.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 3.0]], [[1, 0.0], [-2, 0]]])
    np.testing.assert_allclose(seed_diversity(features), [0.0, 1.0, 2.0], atol=1e-12)
    three = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert float(seed_diversity(three)) == pytest.approx(1 - 1 / 3)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="at least"):
        kernel_distance(np.zeros((1, 3)), np.zeros((2, 3)))
    with pytest.raises(DataError, match=r"\(m, d\)"):
        kernel_distance(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(DataError, match="no NaN or infinity"):
        kernel_distance(np.full((2, 3), np.nan), np.zeros((2, 3)))
    with pytest.raises(DataError, match="two seeds"):
        seed_diversity(np.zeros((1, 3)))
