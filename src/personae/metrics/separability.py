"""Can these eyes tell these subjects apart? Asked of the references, before any verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from personae.errors import DataError
from personae.metrics.array_or_tensor import Array, finite

__all__ = ["PairSeparability", "separability"]


@dataclass(frozen=True)
class PairSeparability:
    """Two subjects, reference against reference, in the eyes' calibrated similarity.

    ``worst_same`` the lowest similarity of two photos of one of them (None where neither has two
    references), ``best_different`` the highest across them, ``auc`` how often a same pair is
    above a different one (ties half; None like ``worst_same``), ``reason`` why they cannot be
    told apart, empty where they can.
    """

    subjects: tuple[str, str]
    worst_same: float | None
    best_different: float
    auc: float | None
    separable: bool
    reason: str


def separability(
    embeddings_by_subject: Mapping[str, Array] | Sequence[Array],
    similarity: Callable[[Tensor, Tensor], Tensor],
    limit: float = 0.5,
) -> list[PairSeparability]:
    """Every pair of subjects, (R_i, D) descriptors each, under a calibrated similarity.

    A pair cannot be told apart where a photo of the one resembles a photo of the other at
    ``limit`` or more (the eyes would take one for the other), or at least as much as some two
    photos of one subject resemble each other (the two kinds of pairs overlap). With a single
    reference each there is no pair of the same, and the limit alone decides.

    Raises:
        DataError: a subject without a reference, or a NaN.

    >>> faces = {"ann": np.array([[1.0, 0.0]]), "bob": np.array([[0.8, 0.6]])}
    >>> separability(faces, lambda a, b: a @ b.T)[0].reason
    'ann and bob: two photos of them resemble each other at 0.80; from 0.50 on they cannot be
    told apart'
    """
    named: Mapping[str, object] = (
        embeddings_by_subject
        if isinstance(embeddings_by_subject, Mapping)
        else {str(index): rows for index, rows in enumerate(embeddings_by_subject)}
    )
    return _all_pairs({name: _rows(name, rows) for name, rows in named.items()}, similarity, limit)


def _all_pairs(
    known: Mapping[str, Tensor], similarity: Callable[[Tensor, Tensor], Tensor], limit: float
) -> list[PairSeparability]:
    with torch.no_grad():
        same = {name: _same(rows, similarity) for name, rows in known.items()}
        return [
            _pair((a, b), [*same[a], *same[b]], _values(similarity(known[a], known[b])), limit)
            for a, b in combinations(known, 2)
        ]


def _rows(name: str, rows: object) -> Tensor:
    tensor = finite(rows, f"descriptors of subject {name!r}")
    if tensor.ndim != 2 or tensor.shape[0] == 0:
        raise DataError(
            f"descriptors of subject {name!r}: expected (R, D), R at least 1; "
            f"got {tuple(tensor.shape)}"
        )
    return tensor


def _values(similarity: Tensor) -> np.ndarray:
    return similarity.detach().cpu().double().numpy().ravel()


def _same(rows: Tensor, similarity: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
    """Similarities of different photos of one subject."""
    upper = torch.ones(len(rows), len(rows), dtype=torch.bool, device=rows.device).triu(1)
    return _values(similarity(rows, rows)[upper])


def _pair(
    subjects: tuple[str, str], same: Sequence[float], different: np.ndarray, limit: float
) -> PairSeparability:
    best = float(different.max())
    worst = float(min(same)) if same else None
    reason = ""
    if best >= limit:
        reason = (
            f"{subjects[0]} and {subjects[1]}: two photos of them resemble each other at "
            f"{best:.2f}; from {limit:.2f} on they cannot be told apart"
        )
    elif worst is not None and best >= worst:
        reason = (
            f"{subjects[0]} and {subjects[1]}: two photos of them resemble each other at "
            f"{best:.2f}, no less than two photos of one of them ({worst:.2f})"
        )
    return PairSeparability(subjects, worst, best, _auc(same, different), not reason, reason)


def _auc(same: Sequence[float], different: np.ndarray) -> float | None:
    if not same:
        return None
    difference = np.asarray(same)[:, None] - different[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())
