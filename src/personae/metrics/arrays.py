"""NumPy in, NumPy out; torch in, torch out with its gradient: one formula for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from personae.errors import DataError

__all__ = ["Array", "as_tensor", "checked", "like"]

Array = TypeVar("Array", np.ndarray, Tensor)


def as_tensor(values: np.ndarray | Tensor | Sequence[object]) -> Tensor:
    """A floating tensor that shares what it can: integers become float64."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    return tensor if tensor.is_floating_point() else tensor.double()


def checked(similarity: np.ndarray | Tensor, num_axes: int = 2) -> Tensor:
    """A similarity matrix as a tensor.

    Raises:
        DataError: too few axes, NaN or infinity: SciPy would fail on it without saying where.
    """
    tensor = as_tensor(similarity)
    if tensor.ndim < num_axes:
        raise DataError(f"expected a matrix (references, faces); got shape {tuple(tensor.shape)}")
    if not torch.isfinite(tensor).all():
        raise DataError(
            "the similarity matrix holds NaN or infinity; a face or reference that could not be "
            "embedded has to be left out, with its reason"
        )
    return tensor


def like(result: Tensor, original: Array | Sequence[Array] | Mapping[str, Array]) -> Array:
    """The result in the kind of array that came in."""
    first: object = original
    if isinstance(original, Mapping):
        first = next(iter(original.values()), None)
    elif isinstance(original, list | tuple):
        first = original[0] if original else None
    answer: Any = result if isinstance(first, Tensor) else result.detach().numpy()
    return cast(Array, answer)


def assign(similarity):
    from scipy.optimize import linear_sum_assignment
    t = as_tensor(similarity).detach().double().numpy()
    return linear_sum_assignment(t, maximize=True)


def matched_similarity(similarity):
    from personae.metrics.identity import strict_id_similarity
    return strict_id_similarity(similarity)
