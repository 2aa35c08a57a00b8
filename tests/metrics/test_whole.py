"""Whole pictures: the formula against loops, grids against cutting them again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from personae.errors import DataError
from personae.evaluation.suite_pictures import cut_grid
from personae.metrics.whole import grid_of, whole_similarity


def slow(picture, references) -> float:
    total = 0.0
    for reference in references:
        product = sum(a * b for a, b in zip(picture, reference, strict=True))
        sizes = [math.sqrt(sum(a * a for a in each)) for each in (picture, reference)]
        total += product / (sizes[0] * sizes[1])
    return total / len(references)


def test_it_is_the_mean_cosine() -> None:
    rng = np.random.default_rng(3)
    for count in (1, 2, 5):
        picture, references = rng.normal(size=7), rng.normal(size=(count, 7)) * 40
        assert whole_similarity(picture, references) == pytest.approx(slow(picture, references))
    assert whole_similarity(np.array([0.0, 2.0]), np.array([[0.0, 5.0], [0.0, -1.0]])) == 0


@pytest.mark.parametrize(
    ("picture", "references", "told"),
    [
        (np.ones(3), np.ones((0, 3)), "at least one reference"),
        (np.ones(3), np.ones((1, 4)), r"expected \(D,\)"),
        (np.zeros(3), np.ones((1, 3)), "points nowhere"),
        (np.full(3, np.nan), np.ones((1, 3)), "no NaN"),
    ],
)
def test_what_has_no_cosine_is_refused(picture, references, told) -> None:
    with pytest.raises(DataError, match=told):
        whole_similarity(picture, references)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_grid_cut_and_laid_again_is_itself(side: int) -> None:
    grid = np.random.default_rng(0).integers(0, 256, (6 * side, 4 * side, 3), np.uint8)
    assert np.array_equal(grid_of(cut_grid(grid, side), side), grid)


def test_other_numbers_and_sizes_are_no_grid() -> None:
    tiles = [np.zeros((2, 2, 3), np.uint8)] * 3
    with pytest.raises(DataError, match="3 pictures of sizes"):
        grid_of(tiles, 2)
    with pytest.raises(DataError, match="4 of one size"):
        grid_of([*tiles, np.zeros((2, 3, 3), np.uint8)], 2)
