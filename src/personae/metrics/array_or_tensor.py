"""One formula for NumPy arrays and torch tensors: computed in torch, given back as it came."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from personae.errors import DataError

__all__ = ["Array", "as_tensor", "finite", "like", "matrix"]

# The type of what comes in is the type of what goes out; gradients flow through the torch form.
Array = TypeVar("Array", np.ndarray, Tensor)


def as_tensor(values: object) -> Tensor:
    """A floating tensor of an array, a tensor or a number; integers become float64.

    >>> as_tensor(np.float32(2)).dtype
    torch.float32
    """
    if not isinstance(values, Tensor):
        # A copy: torch shares no read-only or backwards array.
        values = torch.from_numpy(np.array(values, order="C"))
    return values if values.is_floating_point() else values.double()


def finite(values: object, what: str) -> Tensor:
    """The same as a floating tensor.

    Raises:
        DataError: a value is NaN or infinite.
    """
    tensor = as_tensor(values)
    good = torch.isfinite(tensor)
    if not bool(good.all()):
        at = (~good).nonzero()[0].tolist()
        raise DataError(
            f"{what}: expected no NaN or infinity; got {tensor[tuple(at)].item()} at {at}; "
            "leave out what could not be compared, and say that it is unmeasured"
        )
    return tensor


def matrix(values: object, what: str = "similarity (references, faces)") -> Tensor:
    """A finite floating tensor (..., M, N).

    Raises:
        DataError: fewer than two dimensions, or a value that is NaN or infinite.
    """
    tensor = finite(values, what)
    if tensor.ndim < 2:
        raise DataError(
            f"{what}: expected a matrix, perhaps with batch dimensions before it; "
            f"got shape {tuple(tensor.shape)}"
        )
    return tensor


def like(result: Tensor, original: Array) -> Array:
    """The result as a tensor where a tensor came, else as an array (a NumPy number if 0-d)."""
    if isinstance(original, Tensor):
        return result
    array: np.ndarray = result.detach().numpy()[()]
    return array
