"""Detect-and-Compare (MuDI) and subject consistency (PSR): does each thing look like itself?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from personae.errors import DataError, RequestError
from personae.metrics.array_or_tensor import Array, as_tensor, finite, like, matrix
from personae.metrics.assignment import matched, matched_mask, places

__all__ = [
    "Assignment",
    "detect_and_compare",
    "ip_similarity",
    "reference_similarity",
    "strict_detect_and_compare",
    "strict_reference_similarity",
    "strict_subject_consistency",
    "subject_consistency",
]

Assignment = Literal["greedy", "hungarian"]
# (M, D), (N, D) -> (M, N); the default is the cosine.
Similarity = Callable[[Tensor, Tensor], Tensor]
Embeddings = Mapping[str, Array] | Sequence[Array]


def reference_similarity(
    embeddings_by_subject: Embeddings[Array], similarity: Similarity | None = None
) -> Array:
    r"""S_GT of MuDI's Detect-and-Compare: how alike the references are, (N, N), symmetric.

    .. math:: S^{GT}_{ij} = \mathrm{mean}_{r \in R_i, r' \in R_j} \cos(f(r), f(r'))

    Self-pairs are counted, as in the published program, and inflate the diagonal (of five
    references, 5 pairs in 25 are 1). Input: a mapping or sequence of (R_i, D) descriptors;
    ``similarity`` takes the place of the cosine.

    Raises:
        DataError: no subject, a subject without a reference, or a NaN.

    >>> import numpy as np
    >>> reference_similarity([np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0]])])
    array([[0.5, 0.5],
           [0.5, 1. ]])
    """
    subjects, original = _descriptors(embeddings_by_subject)
    compare = similarity or _cosine
    rows = [torch.stack([compare(a, b).mean() for b in subjects]) for a in subjects]
    return like(torch.stack(rows), original)


def strict_reference_similarity(
    embeddings_by_subject: Embeddings[Array], similarity: Similarity | None = None
) -> Array:
    """How alike the references are, without comparing a photo with itself: (N, N).

    As ``reference_similarity``, but the diagonal is the mean over *different* references of a
    subject; with a single one there is none, and it is 1 (what a perfect picture would get).

    Raises:
        DataError: no subject, a subject without a reference, or a NaN.

    >>> import numpy as np
    >>> strict_reference_similarity([np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0]])])
    array([[0. , 0.5],
           [0.5, 1. ]])
    """
    subjects, original = _descriptors(embeddings_by_subject)
    compare = similarity or _cosine
    rows = [
        torch.stack([_mean_of_pairs(a, b, compare, a is b) for b in subjects]) for a in subjects
    ]
    return like(torch.stack(rows), original)


def _mean_of_pairs(first: Tensor, second: Tensor, compare: Similarity, same: bool) -> Tensor:
    count = first.shape[0]
    if not same:
        return compare(first, second).mean()
    if count == 1:
        return first.new_ones(())
    itself = torch.eye(count, dtype=torch.bool, device=first.device)
    return compare(first, second).masked_fill(itself, 0).sum() / (count * (count - 1))


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    unit = torch.nn.functional.normalize
    return unit(first, dim=-1) @ unit(second, dim=-1).T


def _descriptors(embeddings: Embeddings[Array]) -> tuple[list[Tensor], Array]:
    named = embeddings if isinstance(embeddings, Mapping) else dict(enumerate(embeddings))
    if not named:
        raise DataError("embeddings_by_subject is empty; expected (R, D) descriptors a subject")
    tensors = []
    for name, rows in named.items():
        tensor = finite(rows, f"descriptors of subject {name!r}")
        if tensor.ndim != 2 or tensor.shape[0] == 0:
            raise DataError(
                f"descriptors of subject {name!r}: expected (R, D), R at least 1; "
                f"got {tuple(tensor.shape)}"
            )
        tensors.append(tensor)
    return tensors, next(iter(named.values()))


def detect_and_compare(
    similarity: Array, reference_similarity: Array, assignment: Assignment = "greedy"
) -> Array:
    r"""Detect-and-Compare of MuDI (arXiv 2404.04243, released program): higher is better.

    .. math:: 1 - \lVert S_{\pi} - S^{GT} \rVert_2, \quad 0 \text{ where } K \ne N

    ``similarity`` is (K boxes, N subjects), ``reference_similarity`` (N, N); the norm is the
    spectral one (largest singular value). Greedy, as published: subject after subject takes the
    box most similar to it of those left; ``"hungarian"`` maximizes the sum. At most 1, not
    clipped below. -> a number.

    Raises:
        DataError: a NaN, or sizes that do not fit.
        RequestError: an unknown assignment.

    >>> import numpy as np
    >>> expected = np.array([[0.78, 0.28], [0.28, 0.77]])
    >>> float(detect_and_compare(np.array([[0.72, 0.26], [0.29, 0.71]]), expected).round(3))
    0.933
    """
    if assignment not in get_args(Assignment):
        raise RequestError(f"assignment {assignment!r}: expected one of {get_args(Assignment)}")
    values, expected = _boxes_and_expected(similarity, reference_similarity)
    num_boxes, num_subjects = values.shape
    if num_boxes != num_subjects:
        return like(values.new_zeros(()), similarity)
    boxes = _greedy(values) if assignment == "greedy" else places(values.T) % num_boxes
    distance = torch.linalg.matrix_norm(values[boxes] - expected, ord=2)
    return like(1 - distance, similarity)


def strict_detect_and_compare(
    similarity: Array, reference_similarity: Array, duplicate: float = 0.5
) -> Array:
    r"""Detect-and-Compare that counts absence and doubling, for any number of subjects.

    .. math:: \mathrm{clip}\left(1 - \frac{\lVert S_\sigma - S^{GT} \rVert_2}
              {\lVert S^{GT} \rVert_2} - \frac{\#\text{duplicates}}{N}, 0, 1\right)

    (K boxes, N subjects) and (N, N) -> a number in [0, 1]; higher is better. :math:`\sigma` is
    one-to-one (Hungarian); an absent subject is a row of zeros. A box left over is a duplicate
    where its similarity to the subject it resembles most reaches ``duplicate`` times that
    subject's diagonal of :math:`S^{GT}`; other boxes left over (strangers) cost nothing here.

    Raises:
        DataError: a NaN, sizes that do not fit, or an expected matrix of zeros.

    >>> import numpy as np
    >>> expected = np.array([[0.8, 0.2], [0.2, 0.8]])
    >>> float(strict_detect_and_compare(np.array([[0.8, 0.2]]), expected).round(3))
    0.175
    """
    values, expected = _boxes_and_expected(similarity, reference_similarity)
    num_subjects = values.shape[1]
    size = torch.linalg.matrix_norm(expected, ord=2)
    if not float(size) > 0:
        raise DataError("reference_similarity is all zeros; expected references alike themselves")
    mask = matched_mask(values.T)  # (N, K)
    rows = mask.to(values) @ values
    best = values.max(-1)
    limit = duplicate * expected.diagonal()[best.indices]
    doubles = (best.values >= limit) & (best.values > 0) & ~mask.any(0)
    distance = torch.linalg.matrix_norm(rows - expected, ord=2)
    value = 1 - distance / size - doubles.sum() / num_subjects
    return like(value.clamp(0, 1), similarity)


def _boxes_and_expected(similarity: object, reference_similarity: object) -> tuple[Tensor, Tensor]:
    values = matrix(similarity, "similarity (boxes, subjects)")
    expected = matrix(reference_similarity, "reference_similarity (subjects, subjects)").to(values)
    num_subjects = values.shape[-1]
    if values.ndim != 2 or num_subjects == 0 or expected.shape != (num_subjects, num_subjects):
        raise DataError(
            f"similarity {tuple(values.shape)} and reference_similarity {tuple(expected.shape)}: "
            "expected (K boxes, N subjects) and (N, N), N at least 1"
        )
    return values, expected


def _greedy(values: Tensor) -> Tensor:
    """Column after column takes the most similar row that is left: rows in column order."""
    left = values.detach().clone()
    boxes = []
    for column in range(values.shape[1]):
        boxes.append(int(left[:, column].argmax()))
        left[boxes[-1]] = -torch.inf
    return torch.tensor(boxes, device=values.device)


def subject_consistency(similarity: Array) -> Array:
    r"""Subject consistency of PSR's released program, a subject at a time; higher is better.

    .. math:: SC_i = \cos(f(\mathrm{crop}(\hat I, c_i)), f(\mathrm{crop}(I_i, c_i)))

    Column i is the crop that the detector returned first for subject i's noun, so the value is
    the diagonal: (M, N) -> (M,); a vector is taken as the diagonal itself. Nothing found is NaN
    (or, at the end, a missing column) and stays NaN: the published program compares the whole
    picture then, a guess that we omit and count as unmeasured. The paper's number, and reward, is
    the mean over subjects. Swapped subjects and doubled boxes cost nothing or too much: see
    ``strict_subject_consistency``.

    Raises:
        DataError: a similarity is infinite, or not a vector or matrix.

    >>> import numpy as np
    >>> subject_consistency(np.array([[0.75, 0.5], [0.25, 0.5]]))
    array([0.75, 0.5 ])
    """
    values = as_tensor(similarity)
    if values.ndim not in (1, 2) or bool(values.isinf().any()):
        raise DataError(
            "similarity: expected a vector or a matrix (subjects, crops) of finite numbers or "
            f"NaN; got shape {tuple(values.shape)}"
        )
    if values.ndim == 1:
        return like(values, similarity)
    found = values.diagonal()
    missing = found.new_full((values.shape[0] - found.shape[0],), torch.nan)
    return like(torch.cat([found, missing]), similarity)


def ip_similarity(
    similarity: Array, boxes_xyxy_px: Array, image_width_px: int, num_instances: int = 3
) -> float:
    r"""IP-Sim of XVerseBench of one thing: its most similar instance; higher is better.

    .. math:: \max_{j \le 3} s_j, \quad 0 \text{ where no instance is left}

    over the boxes (N, 4) that were found for its noun, in the detector's order, without those that
    are too small: on whole pixels, an area below m^2 or a side below m // 4, with m a twentieth of
    the picture's width (rounded down). ``similarity`` is (N,).

    Raises:
        DataError: shapes that do not fit, or a similarity that is not finite.

    >>> import numpy as np
    >>> boxes = np.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 50.0, 50.0]])
    >>> ip_similarity(np.array([0.9, 0.5]), boxes, 200)
    0.5
    >>> ip_similarity(np.array([0.9]), boxes[:1], 200)
    0.0
    """
    values, boxes = finite(as_tensor(similarity), "similarity"), as_tensor(boxes_xyxy_px)
    if values.ndim != 1 or boxes.shape != (values.shape[0], 4):
        raise DataError(
            f"IP-Sim: {tuple(values.shape)} similarities of {tuple(boxes.shape)} boxes; expected "
            "(N,) and (N, 4)"
        )
    least = image_width_px // 20
    pixels = boxes.round()  # the program measures what it cut out
    sides = pixels[:, 2:] - pixels[:, :2]
    large = (sides.prod(-1) >= least**2) & (sides.min(-1).values >= least // 4)
    kept = values[large][:num_instances]
    return float(kept.max()) if len(kept) else 0.0


def strict_subject_consistency(similarity: Array) -> Array:
    """How much each subject looks like itself, in [0, 1]; higher is better.

    (..., M subjects, N candidate boxes) -> (..., M): similarity to the box that is the subject's
    own, one-to-one over all boxes (Hungarian on the clipped similarity), absent 0, clipped. The
    arithmetic of ``strict_id_similarity``, for things.

    Raises:
        DataError: a similarity is NaN or infinite.

    >>> import numpy as np
    >>> strict_subject_consistency(np.array([[0.25, 0.75], [0.5, 0.25]]))
    array([0.75, 0.5 ])
    """
    values = matrix(similarity, "similarity (subjects, boxes)").clamp(0, 1)
    return like(matched(values, matched_mask(values)), similarity)
