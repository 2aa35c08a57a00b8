"""One-to-one assignment of faces to references: SciPy's, for one picture or many at once."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from personae.metrics.array_or_tensor import matrix

__all__ = ["assign", "matched", "matched_mask", "places"]


def places(similarity: Tensor) -> Tensor:
    r"""The one-to-one assignment that maximizes the sum of similarities (Hungarian method).

    .. math:: \hat\sigma = \arg\max_\sigma \sum_i s_{i \sigma(i)}

    (..., M, N) -> (..., min(M, N)) int64, flat places ``i * N + j`` of the matched cells, ordered
    by reference. No gradient. UMO (arXiv 2509.06818) Eq. 3.

    >>> places(torch.tensor([[0.9, 0.8], [0.7, 0.1]]))
    tensor([1, 2])
    """
    *batch, num_rows, num_columns = similarity.shape
    size = min(num_rows, num_columns)
    if not size:
        return torch.zeros((*batch, 0), dtype=torch.int64, device=similarity.device)
    costs = similarity.detach().cpu().double().numpy().reshape(-1, num_rows, num_columns)
    if num_rows <= num_columns:
        cells = _best_columns(costs) + np.arange(num_rows) * num_columns
    else:
        pairs = [linear_sum_assignment(cost, True) for cost in costs]
        both = np.array(pairs, dtype=np.int64).reshape(-1, 2, size)
        cells = both[:, 0] * num_columns + both[:, 1]
    return torch.from_numpy(cells.reshape(*batch, size)).to(similarity.device)


def _best_columns(costs: np.ndarray) -> np.ndarray:
    """Column of each row, (B, M <= N) int64.

    Where each row's largest cell lies in a column of its own, those cells are the assignment: no
    total can be larger. SciPy is asked only about the other matrices.
    """
    columns: np.ndarray = costs.argmax(axis=2)
    ordered = np.sort(columns, axis=1)
    for index in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1)):
        columns[index] = linear_sum_assignment(costs[index], True)[1]
    return columns


def assign(similarity: np.ndarray | Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The same of one (M, N) matrix, as SciPy says it: rows, columns.

    Raises:
        DataError: a similarity is NaN or infinite.

    >>> rows, columns = assign(np.array([[0.9, 0.8], [0.7, 0.1]]))
    >>> columns
    array([1, 0])
    """
    rows, columns = linear_sum_assignment(matrix(similarity).detach().cpu().double().numpy(), True)
    return rows, columns


def matched_mask(similarity: Tensor) -> Tensor:
    """The assignment as a bool mask (..., M, N), True on matched cells."""
    flat = torch.zeros(similarity.shape, dtype=torch.bool, device=similarity.device).flatten(-2)
    return flat.scatter(-1, places(similarity), True).reshape(similarity.shape)


def matched(similarity: Tensor, mask: Tensor) -> Tensor:
    """Similarity of each reference to its matched face, 0 where it has none: (..., M)."""
    return torch.where(mask, similarity, torch.zeros_like(similarity)).sum(-1)
