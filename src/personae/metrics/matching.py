"""Matching rewards: how well a picture's faces (or things) are those that were asked for.

Rows are references, columns what was found; batch dimensions may stand before both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from personae.errors import DataError
from personae.metrics.array_or_tensor import Array, as_tensor, finite, like, matrix
from personae.metrics.assignment import matched_mask, places

__all__ = [
    "matching_reward",
    "matching_rewards",
    "single_identity_reward",
    "strict_matching_reward",
    "strict_matching_rewards",
]


def single_identity_reward(similarity: Array) -> Array:
    """SIR of UMO (arXiv 2509.06818, Eq. 2): the one reference against the picture's face.

    (..., N) similarities of one reference to N faces -> (...); higher is better. The paper
    defines it for one face. For several we take the most similar one (what the authors did is
    not published), for none 0, as their released class does for the matching reward.

    Raises:
        DataError: a similarity is NaN or infinite.

    >>> float(single_identity_reward(np.array([0.25, 0.75])))
    0.75
    """
    values = finite(similarity, "similarity (faces)")
    best = values.max(-1).values if values.shape[-1] else values.sum(-1)
    return like(best, similarity)


def matching_reward(
    similarity: Array,
    positive: float = 1.0,
    negative: float = -1.0,
    validity: Array | None = None,
    *,
    unmatched_margin: float | None = None,
    per_subject: bool = False,
) -> Array:
    r"""MIMR of UMO (arXiv 2509.06818, Eq. 4) as the released class computes it; higher is better.

    .. math:: \frac{1}{MN} \sum_{ij} w_{ij} v_{ij} s_{ij}, \qquad
              w_{ij} = \lambda_1 \text{ if } j = \sigma(i) \text{ else } \lambda_2

    with :math:`\sigma` the Hungarian assignment on s (not on v s; without gradient),
    :math:`\lambda_1` = ``positive``, :math:`\lambda_2` = ``negative``, v = ``validity``, the
    detectors' weights (1 where not given). (..., M, N) -> (...), in [-1, 1] for cosines. 0
    without a face or a reference. Known faults (kept): dropping a person is free, bystanders
    dilute, the size shrinks with M; see ``strict_matching_reward``.

    Two options are ours, not the paper's. ``unmatched_margin`` m makes an unmatched cell cost
    :math:`[s_{ij} - m]_+` instead of :math:`s_{ij}`, so that strangers are not pushed below what
    strangers are. ``per_subject`` divides by M instead of M N, so that a subject's share does not
    shrink with the number of faces.

    Raises:
        DataError: a similarity is NaN or infinite.

    >>> float(matching_reward(np.array([[0.75, 0.25], [0.25, 0.75]])))
    0.25
    >>> float(matching_reward(np.array([[0.75, 0.25], [0.25, 0.75]]), unmatched_margin=0.25))
    0.375
    """
    values = matrix(similarity)
    own_cells = places(values)
    if validity is not None:
        values = values * as_tensor(validity).to(values)
    cells = values.flatten(-2)
    if cells.shape[-1] == 0:
        return like(cells.sum(-1), similarity)
    own = cells.gather(-1, own_cells).sum(-1)
    if unmatched_margin is None:
        others = cells.sum(-1) - own
    else:
        beyond = (cells - unmatched_margin).clamp(min=0)
        others = beyond.sum(-1) - beyond.gather(-1, own_cells).sum(-1)
    total = positive * own + negative * others
    return like(total / (values.shape[-2] if per_subject else cells.shape[-1]), similarity)


def matching_rewards(
    similarities: Sequence[Array] | Array, positive: float = 1.0, negative: float = -1.0
) -> Array:
    """``matching_reward`` of many pictures at once: B matrices, of any sizes -> (B,).

    A stacked (B, M, N) array or tensor is fastest; of a list, matrices of one size are scored
    together. No picture gives an empty array.

    Raises:
        DataError: a similarity is NaN or infinite.

    >>> matching_rewards([np.array([[0.5]]), np.array([[0.75, 0.25]])])
    array([0.5 , 0.25])
    """
    return _by_size(lambda values: matching_reward(values, positive, negative), similarities)


def strict_matching_rewards(similarities: Sequence[Array] | Array, margin: float = 0.3) -> Array:
    """``strict_matching_reward`` of many pictures at once: B matrices, of any sizes -> (B,).

    Raises:
        DataError: a similarity is NaN or infinite, or the margin is not in [0, 1).

    >>> strict_matching_rewards([np.array([[1.0]]), np.array([[0.65, 0.0]])])
    array([1. , 0.5])
    """
    return _by_size(lambda values: strict_matching_reward(values, margin), similarities)


def _by_size(function: Callable[[Tensor], Tensor], similarities: Sequence[Array] | Array) -> Array:
    """The function of each picture, those of one size together, in the order they came."""
    if isinstance(similarities, (np.ndarray, Tensor)):
        return like(function(as_tensor(similarities)), similarities)
    if not similarities:
        return cast(Array, np.zeros(0))
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, similarity in enumerate(similarities):
        groups.setdefault(tuple(similarity.shape), []).append(index)
    order = torch.tensor([index for members in groups.values() for index in members]).argsort()
    rewards = [
        function(_stacked([similarities[index] for index in members]))
        for members in groups.values()
    ]
    return like(torch.cat(rewards)[order.to(rewards[0].device)], similarities[0])


def _stacked(similarities: Sequence[Array]) -> Tensor:
    """Many matrices of one size as one tensor (B, M, N)."""
    if isinstance(similarities[0], Tensor):
        return torch.stack([as_tensor(similarity) for similarity in similarities])
    return as_tensor(np.stack([np.asarray(similarity) for similarity in similarities]))


def strict_matching_reward(
    similarity: Array, margin: float = 0.3, reference_similarity: Array | None = None
) -> Array:
    r"""Matching reward that neither absence, nor doubling, nor blending pays; in [0, 1].

    Credit of a face, what it may claim, and what a subject gets; the reward is the mean over
    subjects, so its size does not depend on how many there are:

    .. math::
        c_{ij} &= \mathrm{clip}\left(\frac{s_{ij} - m}{1 - m}, 0, 1\right) \\
        w_{ij} &= \left[c_{ij} - \sum_{k \ne i} c_{kj}\right]_+ \\
        r_i &= \left[w_{i1} - \sum_{j \ne 1} w_{ij}\right]_+

    m is the ``margin``: what resembles nobody beyond it, such as a bystander, changes nothing. A
    face claims at most one subject, and none where it resembles two equally. Face 1 is, of those
    that claim subject i, the one with the largest credit (of equals the one with the smallest
    claim); others that claim i are duplicates. An absent subject gets 0, the floor.

    Where ``reference_similarity`` (M, M) is given, resembling subject k costs only what goes
    beyond how much reference i itself resembles k (siblings): with g its credit, the cost
    :math:`c_{kj}` becomes :math:`[c_{kj} - g_{ik}]_+`, and a face claims only the subject that it
    resembles most.

    (..., M, N) -> (...). Ours, not a paper's. **Gradient**: the value is exactly the above; the
    gradient is that of the same sum without the clips that would silence it, over the Hungarian
    match: a weak, blended or doubled face is still pulled towards its own subject and away from
    the others. Where no clip acts the two agree.

    Raises:
        DataError: a similarity is NaN or infinite, the margin is not in [0, 1), or the
            references' matrix has another size.

    >>> float(strict_matching_reward(np.array([[1.0, 0.3], [0.3, 0.65]])))
    0.75
    """
    values = matrix(similarity)
    if not 0 <= margin < 1:
        raise DataError(f"margin {margin}: expected a similarity in [0, 1)")
    if 0 in values.shape[-2:]:
        return like(values.flatten(-2).sum(-1), similarity)
    spared = _spared(values, margin, reference_similarity)
    credit = ((values - margin) / (1 - margin)).clamp(0, 1)
    claims = _claims(credit, spared)
    reward = _subject_rewards(credit, claims).mean(-1)
    if values.requires_grad:
        pull = _pull((values - margin) / (1 - margin), claims, spared, matched_mask(values))
        reward = pull + (reward - pull).detach()
    return like(reward, similarity)


def _spared(values: Tensor, margin: float, references: object | None) -> Tensor:
    """G of the card, (..., M, M): likeness of references that costs a face nothing."""
    num_subjects = values.shape[-2]
    if references is None:
        return values.new_zeros(num_subjects, num_subjects)
    alike = matrix(references, "reference_similarity (references, references)").detach().to(values)
    if alike.shape[-2:] != (num_subjects, num_subjects):
        raise DataError(
            f"reference_similarity is {tuple(alike.shape)}; expected "
            f"({num_subjects}, {num_subjects}), a row and a column a reference"
        )
    return ((alike - margin) / (1 - margin)).clamp(0, 1)


def _others(num_subjects: int, device: torch.device) -> Tensor:
    """(M, M, 1) bool: True where i and k are two different subjects."""
    return ~torch.eye(num_subjects, dtype=torch.bool, device=device).unsqueeze(-1)


def _blend_cost(credit: Tensor, spared: Tensor) -> Tensor:
    """(..., M, N): what each face loses on subject i by resembling the other subjects."""
    cost = (credit.unsqueeze(-3) - spared.unsqueeze(-1)).clamp(min=0)
    return (cost * _others(credit.shape[-2], credit.device)).sum(-2)


def _claims(credit: Tensor, spared: Tensor) -> Tensor:
    """Claims, w of the card: (..., M, N), at most one positive entry in a column."""
    others = _others(credit.shape[-2], credit.device)
    as_much = (credit.unsqueeze(-3) >= credit.unsqueeze(-2)) & others
    claim = (credit - _blend_cost(credit, spared)).clamp(min=0)
    # Without siblings the claim is 0 there anyway.
    return claim.masked_fill(as_much.any(-2), 0)


def _subject_rewards(credit: Tensor, claims: Tensor) -> Tensor:
    """Rewards, r of the card: (..., M)."""
    rank = torch.where(claims > 0, credit, torch.full_like(credit, -1))
    first = rank == rank.max(-1, keepdim=True).values
    claim = torch.where(first, claims, torch.full_like(claims, torch.inf)).min(-1).values
    return (2 * claim - claims.sum(-1)).clamp(min=0)


def _pull(ramp: Tensor, claims: Tensor, spared: Tensor, mask: Tensor) -> Tensor:
    """The reward without the clips that silence its gradient: (...)."""
    wanted = ramp - _blend_cost(ramp.clamp(min=0), spared)
    return torch.where(mask, wanted, -claims).sum(-1).mean(-1)
