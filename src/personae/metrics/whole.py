"""Measures of whole pictures: alike to whole references, and laid in a grid as they are published.

A background counts as much as a subject here: a pasted reference wins. Whether each subject is
there and itself is asked of crops (`subject_consistency`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from personae.errors import DataError
from personae.metrics.array_or_tensor import as_tensor, finite

__all__ = ["grid_of", "whole_similarity"]


def whole_similarity(picture: np.ndarray, references: np.ndarray) -> float:
    r"""CLIP-I and DINO of one picture and one subject, in [-1, 1]; higher is better.

    .. math:: \frac{1}{R} \sum_r \cos(f(\hat I), f(I_r))

    of the embedding (D,) of a picture and those (R, D) of the subject's references, each of the
    whole picture. DreamBooth's number (arXiv 2208.12242, section 4.2) is the mean over pictures; of
    a picture of several subjects, ours is the mean over subjects too (how the published rows of
    several were averaged is not recorded).

    Raises:
        DataError: shapes that do not fit, a number that is not finite, or an embedding of zeros.

    >>> whole_similarity(np.array([3.0, 0.0]), np.array([[1.0, 0.0], [3.0, 4.0]]))
    0.8
    """
    seen, known = (
        finite(as_tensor(values), name).double()
        for values, name in ((picture, "picture"), (references, "references"))
    )
    if seen.ndim != 1 or known.ndim != 2 or known.shape[1] != len(seen) or not len(known):
        raise DataError(
            f"embeddings {tuple(seen.shape)} and {tuple(known.shape)}: expected (D,) of the "
            "picture and (R, D) of at least one reference"
        )
    sizes = known.norm(dim=1) * seen.norm()
    if not bool((sizes > 0).all()):
        raise DataError("an embedding of zeros points nowhere; expected another one")
    return float((known @ seen / sizes).mean())


def grid_of(tiles: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Pictures (H, W, 3) laid row by row in a grid of ``side`` by ``side``.

    Raises:
        DataError: not as many as it holds, or of several sizes.

    >>> grid_of([np.zeros((2, 3, 3), np.uint8)] * 4, 2).shape
    (4, 6, 3)
    """
    sizes = sorted({tile.shape for tile in tiles})
    if len(tiles) != side**2 or len(sizes) != 1:
        raise DataError(
            f"{len(tiles)} pictures of sizes {sizes}: expected {side**2} of one size for a grid"
        )
    rows = [
        np.concatenate(tiles[start : start + side], axis=1) for start in range(0, side**2, side)
    ]
    return np.concatenate(rows, axis=0)
