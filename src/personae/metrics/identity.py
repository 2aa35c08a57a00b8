"""Is each reference's face there, and is it told apart from the others?

Rows are references, columns faces found in the picture; batch dimensions may stand before both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from personae.metrics.array_or_tensor import Array, like, matrix
from personae.metrics.assignment import matched, matched_mask

__all__ = ["id_confusion", "id_similarity", "strict_id_confusion", "strict_id_similarity"]


def id_similarity(similarity: Array) -> Array:
    r"""ID-Sim of XVerseBench and UMO: each reference's most similar face; higher is better.

    .. math:: \max_j s_{ij}, \quad 0 \text{ where no face was found}

    (..., M, N) -> (..., M), in the range of the similarity. Two references may share one face:
    that is the published arithmetic; ``strict_id_similarity`` forbids it.

    Raises:
        DataError: a similarity is NaN or infinite.

    >>> import numpy as np
    >>> id_similarity(np.array([[0.5, 0.1], [0.5, 0.2]]))
    array([0.5, 0.5])
    """
    values = matrix(similarity)
    if values.shape[-1] == 0:
        return like(values.sum(-1), similarity)
    return like(values.max(-1).values, similarity)


def id_confusion(similarity: Array) -> Array:
    r"""ID-Conf of UMO (arXiv 2509.06818, Eq. 5, as the released script): higher, less confused.

    .. math:: \min\left(1, \frac{s_{(1)} - s_{(2)}}{s_{(1)}}\right), \quad
              0 \text{ where } s_{(1)} \le 0

    with :math:`s_{(1)} \ge s_{(2)}` the two most similar faces of a reference. (..., M, N) ->
    (..., M) in [0, 1]. With fewer than two faces the published program makes no entry: NaN here,
    to be marked unmeasured, never averaged.

    Raises:
        DataError: a similarity is NaN or infinite.

    >>> import numpy as np
    >>> id_confusion(np.array([[0.8, 0.2], [0.1, 0.5]]))
    array([0.75, 0.8 ])
    """
    values = matrix(similarity)
    if values.shape[-1] < 2:
        return like(values.new_full(values.shape[:-1], torch.nan), similarity)
    first, second = values.topk(2, dim=-1).values.unbind(-1)
    positive = first > 0
    ratio = (first - second) / torch.where(positive, first, torch.ones_like(first))
    value = torch.where(positive, ratio.clamp(max=1), torch.zeros_like(first))
    return like(value, similarity)


def strict_id_similarity(similarity: Array) -> Array:
    r"""Similarity of each reference to the face that is its own, in [0, 1]; higher is better.

    .. math:: \mathrm{clip}(s_{i \sigma(i)}, 0, 1), \quad 0 \text{ where } i \text{ has no face}

    with :math:`\sigma` one-to-one (Hungarian on the clipped similarity), so one face never
    serves two references, and an absent subject counts. (..., M, N) -> (..., M). No gradient
    where the similarity is below 0: the matched face is then a stranger.

    Raises:
        DataError: a similarity is NaN or infinite.

    >>> import numpy as np
    >>> strict_id_similarity(np.array([[0.5], [0.4]]))
    array([0.5, 0. ])
    """
    values = matrix(similarity).clamp(0, 1)
    return like(matched(values, matched_mask(values)), similarity)


def strict_id_confusion(similarity: Array, present: float = 0.5) -> Array:
    r"""How clearly each reference's own face is its own, in [0, 1]; higher is less confused.

    .. math:: \mathrm{clip}\left(\frac{s_1 - s_2}{\max(s_1, p)}, 0, 1\right)

    with :math:`s_1` the similarity to the matched face (one-to-one), :math:`s_2 \ge 0` the
    largest similarity among the reference's other faces *and* among the matched face's other
    references, p = ``present``. An absent subject scores 0, and so does, nearly, a stranger
    matched to it; from p on it is :math:`1 - s_2 / s_1`. (..., M, N) -> (..., M).

    Raises:
        DataError: a similarity is NaN or infinite.

    >>> import numpy as np
    >>> strict_id_confusion(np.array([[0.8, 0.2], [0.4, 0.5]])).round(3)
    array([0.5, 0.2])
    """
    values = matrix(similarity).clamp(min=0)
    mask = matched_mask(values.clamp(max=1))
    own = matched(values, mask)
    rival = _largest_rival(values, mask)
    value = ((own - rival) / own.clamp(min=present)).clamp(0, 1)
    return like(torch.where(mask.any(-1), value, torch.zeros_like(value)), similarity)


def _largest_rival(values: Tensor, mask: Tensor) -> Tensor:
    """For each reference: its best other face, or its face's best other reference; at least 0."""
    if values.shape[-1] == 0 or values.shape[-2] == 0:
        return values.sum(-1)
    others = values.masked_fill(mask, 0)
    of_face = others.max(-2).values  # (..., N)
    of_matched = torch.where(mask, of_face.unsqueeze(-2), torch.zeros_like(values)).sum(-1)
    return torch.maximum(others.max(-1).values, of_matched)
