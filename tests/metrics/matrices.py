"""Similarity matrices for property tests, and what both kinds of input must give."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

CELLS = st.floats(-1, 1).map(lambda value: round(value, 4))


@st.composite
def matrices(draw, min_rows=0, max_rows=4, min_columns=0, max_columns=5):
    """(M, N) float64 in [-1, 1]; ties are likely enough."""
    shape = (draw(st.integers(min_rows, max_rows)), draw(st.integers(min_columns, max_columns)))
    return draw(arrays(np.float64, shape, elements=CELLS))


def both_agree(function, *inputs, **options):
    """Call on arrays and on tensors of both precisions; return the float64 array's answer."""
    expected = np.asarray(function(*inputs, **options))
    assert expected.dtype == np.float64
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        tensors = [torch.tensor(item, dtype=dtype) for item in inputs]
        answer = function(*tensors, **options)
        assert isinstance(answer, torch.Tensor)
        assert answer.dtype == dtype
        np.testing.assert_allclose(answer.numpy(), expected, atol=tolerance, rtol=0)
    return expected
