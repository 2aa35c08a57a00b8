"""Does the first subject lie to the second as the prompt says?"""

from __future__ import annotations

import torch
from torch import Tensor

from personae.errors import DataError
from personae.metrics.array_or_tensor import Array, finite, like

__all__ = ["RELATIONS", "position_score", "relation_of", "strict_position_score"]

# Published wordings (PSRBench's list, and those of its code that the list never reaches) -> ours.
RELATIONS: dict[str, str] = {
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
    "beside": "next to",
    "near": "next to",
}
# Unit step from the second subject to the first, in pixels with y down.
_STEPS = {
    "left of": (-1.0, 0.0),
    "right of": (1.0, 0.0),
    "above": (0.0, -1.0),
    "below": (0.0, 1.0),
}
_NEXT_TO_PX = 150.0
_IOU = 0.1
_LEAST_PX = 1e-9
# Strict: centers apart by this share of the distance at which the boxes would just touch are
# enough: what stands on something, or arm in arm with someone, overlaps it.
_APART = 0.5
# Strict: a gap of up to the first share of the boxes' mean side counts fully as next to, of the
# second not at all.
_NEAR, _FAR = 0.5, 2.0


def relation_of(words: str) -> str:
    """The relation that these words mean, one of the values of ``RELATIONS``.

    >>> relation_of("On the  left of")
    'left of'

    Raises:
        DataError: the words are in no list.
    """
    key = " ".join(words.lower().split())
    if key not in RELATIONS:
        raise DataError(f"relation {words!r} is not known; expected one of {list(RELATIONS)}")
    return RELATIONS[key]


def position_score(boxes_xyxy_px: Array, relation: str) -> Array:
    r"""Position score of PSRBench's released program, in [0, 1]; higher is better.

    ``boxes_xyxy_px`` (2, 4): left, top, right, bottom of the first and the second subject, in
    pixels, y down. With dx, dy from the center of the first to that of the second:

    - left of: dx > 0 and abs(dx) > abs(dy); right of: dx < 0 and the same;
    - above: dy > 0; below: dy < 0 (no test of dominance, as published);
    - where that holds 1 if IoU < 0.1, else 0.1 / IoU (contact is punished); otherwise 0;
    - next to: 1 if abs(dx) < 150 or abs(dy) < 150 pixels, else 150 / max(abs(dx), abs(dy)).

    Boxes without any area (union 0) score 0 but for next to, which asks for no overlap.

    Raises:
        DataError: unknown words, or not two boxes of finite numbers.

    >>> import numpy as np
    >>> boxes = np.array([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
    >>> float(position_score(boxes, "to the left of")), float(position_score(boxes, "above"))
    (1.0, 0.0)
    """
    boxes, name = _two_boxes(boxes_xyxy_px), relation_of(relation)
    delta = _centers(boxes)[1] - _centers(boxes)[0]
    if name == "next to":
        return like(_next_to_px(delta), boxes_xyxy_px)
    step_x, step_y = _STEPS[name]
    along = float(-(delta[0] * step_x + delta[1] * step_y))
    dominant = bool(delta[0].abs() > delta[1].abs()) if step_x else True
    overlap, union = _overlap_and_union(boxes)
    if along <= 0 or not dominant or float(union) <= 0:
        return like(boxes.new_zeros(()), boxes_xyxy_px)
    iou = overlap / union
    value = boxes.new_ones(()) if float(iou) < _IOU else _IOU / iou
    return like(value, boxes_xyxy_px)


def strict_position_score(
    boxes_xyxy_px: Array, relation: str, image_size: tuple[int, int] | None = None
) -> Array:
    r"""How well the first box lies to the second as said, in [0, 1]; higher is better.

    For the four directions, with a the displacement of the centers along the axis (positive the
    right way), b across it, and t = a over the displacement at which the boxes would touch:

    .. math:: \mathrm{clip}\left(2 - \frac{2 |b|}{a}, 0, 1\right) \cdot
              \mathrm{clip}(2 t, 0, 1), \quad 0 \text{ where } a \le 0

    One test of dominance for all four: up to 26 degrees off counts fully, 45 degrees not at all.
    Contact, and overlap by up to half, is not punished. Next to: full while the gap between the
    boxes is at most half their mean side, falling to 0 at two sides, and overlap beyond IoU 0.5
    counts against it. All of it is free of scale. Boxes are cut to ``image_size`` (width, height)
    where it is given. Gradients flow to the boxes. An absent box is the caller's 0.

    Raises:
        DataError: unknown words, not two boxes of finite numbers, or an empty box.

    >>> import numpy as np
    >>> touching = np.array([[0.0, 0.0, 10.0, 10.0], [0.0, 10.0, 10.0, 20.0]])
    >>> float(strict_position_score(touching, "on top of"))
    1.0
    """
    boxes, name = _two_boxes(boxes_xyxy_px), relation_of(relation)
    if image_size is not None:
        limit = boxes.new_tensor(image_size * 2)
        boxes = torch.minimum(boxes.clamp(min=0), limit)
    sides = boxes[:, 2:] - boxes[:, :2]
    if bool((sides <= 0).any()):
        raise DataError(
            f"boxes {boxes.tolist()}: expected left < right and top < bottom, in pixels"
            + ("" if image_size is None else f", inside {image_size}")
        )
    offset = _centers(boxes)[0] - _centers(boxes)[1]
    shares = offset / (sides.mean(0))  # 1 where the boxes would just touch along that axis
    if name == "next to":
        overlap, union = _overlap_and_union(boxes)
        return like(_near(sides, offset) * _clip(2 - 2 * overlap / union), boxes_xyxy_px)
    step = boxes.new_tensor(_STEPS[name])
    along, across = (offset * step).sum(), (offset * step.flip(0)).sum().abs()
    dominance = _clip(2 - 2 * across / along.clamp(min=_LEAST_PX))
    return like(dominance * _clip((shares * step).sum() / _APART), boxes_xyxy_px)


def _two_boxes(values: object) -> Tensor:
    boxes = finite(values, "boxes_xyxy_px")
    if tuple(boxes.shape) != (2, 4):
        raise DataError(f"boxes_xyxy_px: expected (2, 4); got {tuple(boxes.shape)}")
    return boxes


def _centers(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _overlap_and_union(boxes: Tensor) -> tuple[Tensor, Tensor]:
    first, second = boxes[0], boxes[1]
    meeting = torch.minimum(first[2:], second[2:]) - torch.maximum(first[:2], second[:2])
    overlap = meeting.clamp(min=0).prod()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return overlap, areas.sum() - overlap


def _next_to_px(delta: Tensor) -> Tensor:
    distance = delta.abs()
    if bool((distance < _NEXT_TO_PX).any()):
        return distance.new_ones(())
    return _NEXT_TO_PX / distance.max()


def _near(sides: Tensor, offset: Tensor) -> Tensor:
    """1 while the gap is small against the boxes, then falling evenly to 0."""
    # The larger of the two gaps: the slope of a hypotenuse is not defined where both are 0.
    gap = (offset.abs() - sides.mean(0)).max() / sides.mean()
    return _clip((_FAR - gap) / (_FAR - _NEAR))


def _clip(value: Tensor) -> Tensor:
    return value.clamp(0, 1)
