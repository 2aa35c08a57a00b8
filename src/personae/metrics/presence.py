"""Who is there, how often, and who else: found, absent, duplicated, strangers; and the balance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from personae.errors import DataError
from personae.metrics.array_or_tensor import Array, finite, like, matrix
from personae.metrics.assignment import matched_mask

__all__ = ["Presence", "balance", "presence", "presence_score", "strangers", "success"]


@dataclass(frozen=True, eq=False)
class Presence:
    """M subjects in a picture of N faces (or boxes).

    ``found`` (M,) bool; ``copies`` (M,) int, how many faces show the subject (0 absent, 1 as it
    should be, more is duplicated); ``match`` the face of each subject, None where absent;
    ``strangers`` the faces that show no subject.
    """

    found: np.ndarray
    copies: np.ndarray
    match: tuple[int | None, ...]
    strangers: tuple[int, ...]


def presence(similarity: Array, present: float = 0.5) -> Presence:
    """Find each subject among the faces: (M, N) calibrated similarity -> Presence (NumPy).

    One-to-one: of the cells that reach ``present``, those with the largest sum. A face left over
    is a copy of its most similar subject where that similarity reaches ``present``, else a
    stranger. No gradient.

    Raises:
        DataError: a similarity is NaN or infinite, or ``present`` is not in (0, 1].

    >>> seen = presence(np.array([[0.9, 0.1, 0.8, 0.2], [0.2, 0.3, 0.1, 0.1]]))
    >>> seen.copies, seen.match, seen.strangers
    (array([2, 0]), (0, None), (1, 3))
    """
    values = matrix(similarity).detach()
    if values.ndim != 2:
        raise DataError(f"similarity: expected (subjects, faces); got {tuple(values.shape)}")
    if not 0 < present <= 1:
        raise DataError(f"present {present}: expected a similarity in (0, 1]")
    enough = values >= present
    mask = matched_mask(torch.where(enough, values, torch.zeros_like(values))) & enough
    copies = (mask | _best_subject(values) & enough & ~mask.any(0)).sum(-1)
    shown = enough.any(0)
    return Presence(
        found=mask.any(-1).cpu().numpy(),
        copies=copies.cpu().numpy(),
        match=tuple(row.index(True) if True in row else None for row in mask.tolist()),
        strangers=tuple(torch.nonzero(~shown).flatten().tolist()),
    )


def _best_subject(values: Tensor) -> Tensor:
    """(M, N) bool, True once a column: at the most similar subject."""
    mask = torch.zeros_like(values, dtype=torch.bool)
    if values.numel():
        mask.scatter_(0, values.argmax(0, keepdim=True), True)
    return mask


def presence_score(seen: Presence) -> np.ndarray:
    r"""Per subject, in [0, 1]: 1 where it is there once, 1 / copies where more often, 0 absent.

    >>> presence_score(presence(np.array([[0.9, 0.6], [0.1, 0.2]])))
    array([0.5, 0. ])
    """
    return np.where(seen.found, 1.0 / np.maximum(seen.copies, 1), 0.0)


def success(seen: Presence) -> float:
    """1 where every subject is there exactly once, else 0; its mean is a success rate.

    What MuDI asks people (arXiv 2404.04243: does each subject appear and closely resemble its
    references?), asked of eyes: there means matched at the present threshold. Somebody else in
    the picture costs nothing here; see `strangers`.

    >>> success(presence(np.array([[0.9, 0.1], [0.1, 0.8]])))
    1.0
    >>> success(presence(np.array([[0.9, 0.6], [0.1, 0.2]])))
    0.0
    """
    return float(np.all(seen.copies == 1))


def strangers(similarity: Array, present: float = 0.5) -> int:
    """How many faces show no subject; lower is better.

    For faces: boxes that were found *as* a subject are no strangers.

    >>> strangers(np.array([[0.9, 0.1, 0.8], [0.2, 0.3, 0.1]]))
    1
    """
    return len(presence(similarity, present).strangers)


def balance(similarity_per_subject: Array) -> Array:
    r"""Worst subject over best, in [0, 1]; 1 where all are equally well kept.

    .. math:: \frac{\min_i [s_i]_+}{\max_i [s_i]_+}

    (M,) -> a number. 0 where one subject is absent (scores 0 or less); a single present subject
    is balanced: 1.

    Raises:
        DataError: no subject, or a NaN.

    >>> float(balance(np.array([0.75, 0.375])))
    0.5
    """
    values = finite(similarity_per_subject, "similarity_per_subject").clamp(min=0)
    if values.ndim != 1 or values.shape[0] == 0:
        raise DataError(
            f"similarity_per_subject: expected a number a subject; got {tuple(values.shape)}"
        )
    best = values.max()
    safe = torch.where(best > 0, best, torch.ones_like(best))
    return like(values.min() / safe, similarity_per_subject)
