"""Can these eyes tell these subjects apart? Asked of references, before any verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["PairSeparability", "separability"]

_MAX_CROSS = 0.5
_MIN_AUC = 0.9


@dataclass(frozen=True)
class PairSeparability:
    """Two subjects under the eyes: mean and worst same, mean and best different, and the verdict.

    ``auc`` is the chance that a same-subject pair of photos is more alike than a pair across;
    it and the two "same" figures are None where neither subject has two references.
    """

    subjects: tuple[str, str]
    separable: bool
    reason: str
    mean_different: float
    best_different: float
    mean_same: float | None = None
    worst_same: float | None = None
    auc: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields, for a file."""
        return {**vars(self), "subjects": list(self.subjects)}


def separability(
    embeddings_by_subject: Mapping[str, Tensor], similarity: Callable[[Tensor, Tensor], Tensor]
) -> list[PairSeparability]:
    """Every pair of subjects: are photos of one more alike than photos across?

    ``embeddings_by_subject`` holds (R_i, D) a subject, ``similarity`` is the calibrated one. A
    pair is not separable if its mean similarity across reaches 0.5 (the eyes take the one for the
    other), or if there are same-subject pairs and they win against pairs across in fewer than 9
    of 10 cases.
    """
    return [
        _pair((first, second), embeddings_by_subject, similarity)
        for first, second in combinations(embeddings_by_subject, 2)
    ]


def _pair(
    names: tuple[str, str],
    embeddings: Mapping[str, Tensor],
    similarity: Callable[[Tensor, Tensor], Tensor],
) -> PairSeparability:
    first, second = (embeddings[name] for name in names)
    across = _numpy(similarity(first, second)).ravel()
    same = np.concatenate([_upper(_numpy(similarity(item, item))) for item in (first, second)])
    auc = float((same[:, None] > across[None, :]).mean()) if same.size else None
    separable, reason = _verdict(names, float(across.mean()), auc)
    return PairSeparability(
        subjects=names,
        separable=separable,
        reason=reason,
        mean_different=round(float(across.mean()), 4),
        best_different=round(float(across.max()), 4),
        mean_same=round(float(same.mean()), 4) if same.size else None,
        worst_same=round(float(same.min()), 4) if same.size else None,
        auc=None if auc is None else round(auc, 4),
    )


def _verdict(names: tuple[str, str], across: float, auc: float | None) -> tuple[bool, str]:
    first, second = names
    if across >= _MAX_CROSS:
        return False, f"these eyes take {first} for {second} (similarity across {across:.2f})"
    if auc is not None and auc < _MIN_AUC:
        return False, f"these eyes confuse photos of {first} and {second} (AUC {auc:.2f})"
    told = "one photo each" if auc is None else f"AUC {auc:.2f}"
    return True, f"similarity across {across:.2f}, {told}"


def _upper(square: np.ndarray) -> np.ndarray:
    values: np.ndarray = square[np.triu_indices(len(square), k=1)]
    return values


def _numpy(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().cpu().double().numpy()
    return array
