"""Detect-and-Compare (MuDI) and subject consistency (PSR): boxes against references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from personae.errors import RequestError
from personae.metrics.arrays import Array, as_tensor, checked, like
from personae.metrics.matching import assign, matched_similarity

__all__ = [
    "detect_and_compare",
    "reference_similarity",
    "strict_detect_and_compare",
    "strict_reference_similarity",
    "strict_subject_consistency",
    "subject_consistency",
]

Similarity = Callable[[Tensor, Tensor], Tensor]


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    normalize = torch.nn.functional.normalize
    return normalize(first, dim=-1) @ normalize(second, dim=-1).T


def reference_similarity(
    embeddings_by_subject: Mapping[str, Array] | Sequence[Array],
    similarity: Similarity | None = None,
) -> Array:
    r"""S_GT of MuDI: mean similarity over all pairs of references, self-pairs included.

    .. math:: S^{GT}_{ij} = \mathrm{mean}_{r \in R_i, r' \in R_j} \cos(f(r), f(r'))

    One (R_i, D) array a subject -> (N, N), symmetric. ``similarity`` replaces the cosine. Kept
    fault: self-pairs (1 each) inflate the diagonal.

    >>> reference_similarity([np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])]).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return _between(embeddings_by_subject, similarity, self_pairs=True)


def strict_reference_similarity(
    embeddings_by_subject: Mapping[str, Array] | Sequence[Array],
    similarity: Similarity | None = None,
) -> Array:
    """S_GT without self-pairs; a subject with one reference has 1 on the diagonal."""
    return _between(embeddings_by_subject, similarity, self_pairs=False)


def _between(
    embeddings: Mapping[str, Array] | Sequence[Array],
    similarity: Similarity | None,
    self_pairs: bool,
) -> Array:
    arrays = list(embeddings.values()) if isinstance(embeddings, Mapping) else list(embeddings)
    tensors = [as_tensor(array) for array in arrays]
    compare = similarity or _cosine
    cells = [
        _mean_without_self(compare(a, b)) if i == j and not self_pairs else compare(a, b).mean()
        for i, a in enumerate(tensors)
        for j, b in enumerate(tensors)
    ]
    matrix = torch.stack(cells) if cells else torch.zeros(0, dtype=torch.float64)
    return like(matrix.reshape(len(tensors), len(tensors)), embeddings)


def _mean_without_self(square: Tensor) -> Tensor:
    count = square.shape[0]
    if count < 2:
        return torch.ones((), dtype=square.dtype, device=square.device)
    return (square.sum() - square.diagonal().sum()) / (count * (count - 1))


def detect_and_compare(
    similarity: Array,
    reference_similarity: Array,
    assignment: Literal["greedy", "hungarian"] = "greedy",
) -> Array:
    r"""Detect-and-Compare (MuDI, released version 2/3), at most 1, may be negative; higher better.

    .. math:: 1 - \lVert S^{DC}_\mathrm{sorted} - S^{GT} \rVert_2

    with the spectral norm. ``similarity`` (K boxes, N subjects), ``reference_similarity`` (N, N)
    -> scalar. K other than N gives 0. Rows are taken greedily, column by column: the unused box
    that is most similar to that subject.

    >>> gt = np.array([[0.78, 0.28], [0.28, 0.77]])
    >>> round(float(detect_and_compare(np.array([[0.72, 0.26], [0.29, 0.71]]), gt)), 3)
    0.933
    """
    if assignment not in {"greedy", "hungarian"}:
        raise RequestError(f"assignment is 'greedy' or 'hungarian'; got {assignment!r}")
    tensor, expected = checked(similarity), checked(reference_similarity)
    if tensor.shape[0] != tensor.shape[1]:
        return like(tensor.sum() * 0, similarity)
    order = _greedy(tensor) if assignment == "greedy" else _hungarian(tensor)
    return like(1 - _spectral(tensor[order] - expected.to(tensor)), similarity)


def strict_detect_and_compare(
    similarity: Array, reference_similarity: Array, duplicate: float = 0.5
) -> Array:
    r"""Detect-and-Compare that counts gradually and compares across N; in [0, 1]; higher is better.

    .. math:: \mathrm{clip}(1 - \lVert S - S^{GT} \rVert_2 / \lVert S^{GT} \rVert_2 - d/N, 0, 1)

    with Hungarian assignment, a row of zeros for an absent subject, and d boxes too many: an
    unassigned box whose similarity to its best subject reaches ``duplicate`` times that subject's
    diagonal. Other boxes (bystanders) cost nothing.

    >>> float(strict_detect_and_compare(np.array([[1.0, 0.0]]), np.eye(2)))
    0.0
    >>> float(strict_detect_and_compare(np.eye(2), np.eye(2)))
    1.0
    """
    tensor, expected = checked(similarity), checked(reference_similarity)
    boxes, subjects = assign(tensor)
    rows = [tensor.new_zeros(tensor.shape[1]) for _ in range(tensor.shape[1])]
    for box, subject in zip(boxes, subjects, strict=True):
        rows[subject] = tensor[box]
    distance = _spectral(torch.stack(rows) - expected.to(tensor))
    extra = _num_duplicates(tensor.detach(), expected, boxes, duplicate) / tensor.shape[1]
    score = 1 - distance / _spectral(expected.to(tensor)) - extra
    return like(score.clamp(0, 1), similarity)


def _num_duplicates(
    similarity: Tensor, expected: Tensor, used: np.ndarray, duplicate: float
) -> int:
    idle = [box for box in range(similarity.shape[0]) if box not in set(used.tolist())]
    best = [int(similarity[box].argmax()) for box in idle]
    return sum(
        bool(similarity[box, subject] >= duplicate * expected[subject, subject])
        for box, subject in zip(idle, best, strict=True)
    )


def _greedy(similarity: Tensor) -> list[int]:
    """For each column in turn the unused row with the largest entry."""
    order: list[int] = []
    for column in range(similarity.shape[1]):
        free = [row for row in range(similarity.shape[0]) if row not in order]
        order.append(max(free, key=lambda row: float(similarity[row, column])))
    return order


def _hungarian(similarity: Tensor) -> list[int]:
    rows, columns = assign(similarity)
    return [int(rows[place]) for place in np.argsort(columns)]


def _spectral(matrix: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.matrix_norm(matrix, ord=2)
    return norm


def subject_consistency(similarity: Array) -> Array:
    """Subject consistency (PSR), per subject: its own crop against its reference; higher is better.

    ``similarity`` (M subjects, M crops), where crop i is the first box that the detector returned
    for subject i's noun; the diagonal, (M,) in [-1, 1]. NaN where there was no box: the program
    would score the whole picture there, which is a guess; it is left out, and counted. A vector
    (M,) of such similarities passes as it is. Kept faults: first box, shared boxes, duplicates
    cost nothing.

    >>> subject_consistency(np.array([[0.8, 0.1], [0.2, 0.7]])).tolist()
    [0.8, 0.7]
    """
    tensor = as_tensor(similarity)
    if tensor.ndim == 1:
        return like(tensor, similarity)
    own = tensor.diagonal()
    missing = tensor.new_full((tensor.shape[0] - own.shape[0],), torch.nan)
    return like(torch.cat([own, missing]), similarity)


def strict_subject_consistency(similarity: Array) -> Array:
    """Subject consistency one to one over all candidate boxes; an absent subject scores 0.

    (M subjects, N boxes) -> (M,) in [0, 1]; higher is better.

    >>> strict_subject_consistency(np.array([[0.8], [0.7]])).tolist()
    [0.8, 0.0]
    """
    return matched_similarity(similarity)
