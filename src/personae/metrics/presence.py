"""Is everybody there, once, and nobody else?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from personae.metrics.arrays import Array, as_tensor, checked, like
from personae.metrics.matching import assign

__all__ = ["Presence", "balance", "presence", "presence_score", "strangers"]


@dataclass(frozen=True, eq=False)
class Presence:
    """Who was found: ``found`` (M,) bool, ``copies`` (M,) int, ``match`` face or None for each.

    ``strangers`` are the faces that resemble no subject.
    """

    found: np.ndarray
    copies: np.ndarray
    match: tuple[int | None, ...]
    strangers: tuple[int, ...]


def presence(similarity: np.ndarray | Tensor, present: float = 0.5) -> Presence:
    """Assign faces to subjects one to one, but only where the similarity reaches ``present``.

    ``similarity`` (M subjects, N faces), calibrated. A face left over counts as a further copy of
    the subject it resembles most, if it reaches ``present`` there, else as a stranger.

    >>> presence(np.array([[0.9, 0.8, 0.1], [0.1, 0.0, 0.2]])).copies.tolist()
    [2, 0]
    """
    values = checked(similarity).detach().cpu().double().numpy()
    m, n = values.shape
    match: list[int | None] = [None] * m
    for i, j in zip(*assign(np.where(values >= present, values, 0.0)), strict=True):
        if values[i, j] >= present:
            match[i] = int(j)
    copies = np.array([int(j is not None) for j in match], dtype=np.int64).reshape(m)
    strangers_: list[int] = []
    for j in sorted(set(range(n)) - {j for j in match if j is not None}):
        best = int(values[:, j].argmax()) if m else -1
        if m and values[best, j] >= present:
            copies[best] += 1
        else:
            strangers_.append(j)
    return Presence(copies > 0, copies, tuple(match), tuple(strangers_))


def presence_score(found: Presence) -> np.ndarray:
    """Per subject (M,): 1 where it is there once, one n-th where n times, 0 where absent.

    >>> presence_score(presence(np.array([[0.9, 0.8], [0.1, 0.0]]))).tolist()
    [0.5, 0.0]
    """
    return np.where(found.found, 1.0 / np.maximum(found.copies, 1), 0.0)


def strangers(similarity: np.ndarray | Tensor, present: float = 0.5) -> int:
    """How many faces resemble no subject; lower is better. For faces only."""
    return len(presence(similarity, present).strangers)


def balance(similarity_per_subject: Array) -> Array:
    r"""Worst subject over best, in [0, 1]; higher is better; 0 where one is absent.

    .. math:: \min_i s_i / \max_i s_i

    (M,) similarities in [0, 1] -> scalar. One subject that is there is balanced: 1.

    >>> float(balance(np.array([0.4, 0.8])))
    0.5
    """
    values = as_tensor(similarity_per_subject).clamp(min=0)
    best = values.amax(dim=-1)
    share = values.amin(dim=-1) / torch.where(best > 0, best, 1.0)
    return like(share, similarity_per_subject)
