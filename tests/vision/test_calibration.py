"""The common similarity: monotone, differentiable, and true to the medians it was fitted on."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.errors import DataError
from personae.vision.calibration import Calibration, fit_calibration

numbers = st.floats(-5, 5)


@given(numbers, st.floats(0.01, 2), numbers, numbers)
def test_never_falls_and_stays_in_unit_range(midpoint, width, first, second):
    calibration = Calibration(midpoint, width, "test")
    low, high = calibration(torch.tensor(sorted([first, second]), dtype=torch.float64))
    assert 0 <= low <= high <= 1


def test_gradient_is_that_of_the_logistic():
    raw = torch.linspace(-1, 1, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Calibration(0.1, 0.3, "test"), raw)


@pytest.mark.parametrize("ends", [0.8, 0.95])
def test_fit_puts_the_medians_at_the_ends(ends):
    rng = np.random.default_rng(0)
    same, different = rng.normal(0.8, 0.05, 51), rng.normal(0.3, 0.1, 201)
    fitted = fit_calibration(same, different, "test", ends)
    medians = torch.tensor([np.median(different), np.median(same)])
    torch.testing.assert_close(fitted(medians), torch.tensor([1 - ends, ends]).double())


def test_one_wrong_pair_moves_a_fit_little():
    same, different = np.linspace(0.7, 0.9, 101), np.linspace(0.0, 0.4, 101)
    clean = fit_calibration(same, different, "test")
    dirty = fit_calibration(np.append(same, -100.0), different, "test")
    assert abs(clean.midpoint - dirty.midpoint) < 0.01


@pytest.mark.parametrize(("same", "different"), [([], [0.1]), ([0.9], []), ([0.1], [0.9])])
def test_refuses_what_cannot_be_calibrated(same, different):
    with pytest.raises(DataError, match="made up"):
        fit_calibration(np.array(same), np.array(different), "made up")


@pytest.mark.parametrize(("midpoint", "width"), [(0.0, 0.0), (0.0, -1.0), (np.nan, 1.0)])
def test_refuses_senseless_parameters(midpoint, width):
    with pytest.raises(DataError, match="width"):
        Calibration(midpoint, width, "made up")
