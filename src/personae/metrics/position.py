"""Does the one lie to the other as the scene says?"""

from __future__ import annotations

import torch
from torch import Tensor

from personae.errors import DataError
from personae.metrics.arrays import Array, as_tensor, like

__all__ = ["RELATIONS", "WORDINGS", "parse_relation", "position_score", "strict_position_score"]

RELATIONS = ("left of", "right of", "above", "below", "next to")
# Published wordings (PSRBench), each with the relation it means.
WORDINGS = {
    "left of": "left of",
    "to the left of": "left of",
    "on the left of": "left of",
    "right of": "right of",
    "to the right of": "right of",
    "on the right of": "right of",
    "above": "above",
    "on top of": "above",
    "below": "below",
    "under": "below",
    "next to": "next to",
    "on side of": "next to",
    "on the side of": "next to",
    "near": "next to",
    "beside": "next to",
}
# Unit vectors from the first subject to the second; y points down.
_DIRECTIONS = {
    "left of": (1.0, 0.0),
    "right of": (-1.0, 0.0),
    "above": (0.0, 1.0),
    "below": (0.0, -1.0),
}
_MAX_IOU = 0.1
_NEAR_PX = 150.0


def parse_relation(words: str) -> str:
    """One of `RELATIONS` for a wording.

    >>> parse_relation("on top of")
    'above'

    Raises:
        DataError: an unknown wording.
    """
    relation = WORDINGS.get(" ".join(words.lower().split()))
    if relation is None:
        raise DataError(f"relation {words!r} is not known; expected one of {sorted(WORDINGS)}")
    return relation


def position_score(boxes_xyxy_px: Array, relation: str) -> Array:
    r"""Position (PSR) as the published script computes it, in [0, 1]; higher is better.

    ``boxes_xyxy_px`` (2, 4): the first and the second subject's box, y down -> scalar. On the
    right side: 1 if IoU < 0.1, else 0.1 / IoU; else 0. Left and right ask that the horizontal
    distance of the centers be the larger one, above and below do not ask it (kept fault). ``next
    to``: 1 if either distance is below 150 px, else 150 over the larger (in the script never
    reached).

    >>> float(position_score(np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]]), "left of"))
    1.0
    """
    boxes, words = _checked(boxes_xyxy_px), parse_relation(relation)
    dx, dy = _center(boxes[1]) - _center(boxes[0])
    if words == "next to":
        far = torch.maximum(dx.abs(), dy.abs())
        close = (dx.abs() < _NEAR_PX) | (dy.abs() < _NEAR_PX)
        score = torch.where(close, torch.ones_like(far), _NEAR_PX / far.clamp(min=_NEAR_PX))
        return like(score, boxes_xyxy_px)
    right, down = _DIRECTIONS[words]
    side = dx * right + dy * down > 0
    if right:
        side = side & (dx.abs() > dy.abs())
    iou, union = _iou(boxes)
    clear = torch.where(iou < _MAX_IOU, torch.ones_like(iou), _MAX_IOU / iou.clamp(min=_MAX_IOU))
    return like(torch.where(side & (union > 0), clear, torch.zeros_like(iou)), boxes_xyxy_px)


def strict_position_score(boxes_xyxy_px: Array, relation: str) -> Array:
    r"""Position by direction and separation, free of scale, in [0, 1]; higher is better.

    For a direction: with the centers' distance :math:`a` along it and :math:`b` across it, and
    :math:`e` the boxes' mean extent along it,

    .. math:: \mathrm{clip}(2 - 2|b|/a, 0, 1) \cdot \mathrm{clip}(2a/e, 0, 1), \quad 0 if a \le 0

    so up to 26 degrees off counts in full, 45 degrees and more not at all, and boxes may touch and
    overlap by half their extent (a cup *on top of* a table). ``next to``: full while the gap
    between the boxes is at most half their mean side, falling to 0 at two sides; overlap beyond
    IoU 0.5 counts against it. Differs from `position_score`: one rule for all four sides, contact
    allowed, graded, the same in every resolution.

    >>> float(strict_position_score(np.array([[0.0, 0, 10, 10], [10, 0, 20, 10]]), "left of"))
    1.0
    """
    boxes, words = _checked(boxes_xyxy_px), parse_relation(relation)
    apart = _center(boxes[1]) - _center(boxes[0])
    extent = (boxes[:, 2:] - boxes[:, :2]).mean(dim=0)
    if words == "next to":
        gap = (apart.abs() - extent).clamp(min=0).amax()
        near = (4 / 3 - gap / extent.mean() * 2 / 3).clamp(0, 1)
        score = near * (2 - 2 * _iou(boxes)[0]).clamp(0, 1)
        return like(score, boxes_xyxy_px)
    direction = boxes.new_tensor(_DIRECTIONS[words])
    along = (apart * direction).sum()
    across = (apart * direction.flip(0)).sum().abs()
    angle = (2 - 2 * across / along.clamp(min=1e-9)).clamp(0, 1)
    separation = (2 * along / (extent * direction.abs()).sum()).clamp(0, 1)
    return like(angle * separation, boxes_xyxy_px)


def _checked(boxes: Array) -> Tensor:
    tensor = as_tensor(boxes)
    if tensor.shape != (2, 4) or not torch.isfinite(tensor).all():
        raise DataError(
            f"expected two finite boxes (2, 4), left top right bottom in px; got {boxes!r}"
        )
    return tensor


def _center(box: Tensor) -> Tensor:
    return (box[:2] + box[2:]) / 2


def _iou(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and the union."""
    size = torch.minimum(boxes[0, 2:], boxes[1, 2:]) - torch.maximum(boxes[0, :2], boxes[1, :2])
    overlap = size.clamp(min=0).prod()
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
    union = areas.sum() - overlap
    return overlap / torch.where(union > 0, union, 1.0), union
