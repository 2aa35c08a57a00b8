"""Does what a prompt says of two subjects hold between their boxes?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from personae.generation.relation_words import Said
from personae.subjects.box import Box
from personae.subjects.layout import Layout, layout_box_px

__all__ = ["holds", "overlap"]

# As `strict_position_score` counts fully: across at most half of along, centers apart by half of
# what would just touch, a gap of at most half the mean side, overlap up to IoU 0.5.
_ACROSS, _APART, _GAP, _IOU = 0.5, 0.5, 0.5, 0.5
_CONTACT = 0.2
# Rounding must not decide.
_EPS = 1e-9


def holds(said: Said, layout: Layout, size: tuple[int, int]) -> bool:
    """Does it hold in this layout, of a picture of ``size`` (width, height) in pixels?

    Left of, above and next to hold where `strict_position_score` is 1. On: above, and touching.
    Behind: they overlap, the first is drawn before the second and stands no lower. Inside: the
    first lies within the second's box and is drawn after it. Hugging: next to, and overlapping.
    After: side by side without overlap. Between: the center lies between two centers. Bigger: in
    height. The order of the layout is from back to front.

    >>> boxes = {"a": (0.0, 0.0, 0.4, 1.0), "b": (0.5, 0.0, 0.9, 1.0)}
    >>> holds(Said("left of", "a", "b"), boxes, (64, 64))
    True
    """
    boxes = {name: layout_box_px(layout[name], *size) for name in layout}
    first, second = boxes[said.first], boxes[said.second]
    order = list(layout)
    if said.kind == "between":
        assert said.third is not None
        ends = sorted((second.center[0], boxes[said.third].center[0]))
        return ends[0] < first.center[0] < ends[1]
    if said.kind == "behind":
        before = order.index(said.first) < order.index(said.second)
        return before and _meet(first, second) and first.bottom <= second.bottom + _EPS
    if said.kind == "inside":
        before = order.index(said.second) < order.index(said.first)
        return before and _within(first, second)
    return _TESTS[said.kind](first, second)


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """The area that two boxes (left, top, right, bottom) share.

    >>> overlap((0, 0, 2, 2), (1, 1, 3, 3))
    1
    """
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0) * max(height, 0)


def _meet(first: Box, second: Box) -> bool:
    return overlap(first.xyxy, second.xyxy) > _EPS * min(first.area, second.area)


def _left_of(first: Box, second: Box) -> bool:
    along = second.center[0] - first.center[0]
    across = abs(second.center[1] - first.center[1])
    needed = max(_APART * (first.width + second.width) / 2, across / _ACROSS)
    return along > 0 and along >= needed * (1 + _EPS)


def _above(first: Box, second: Box) -> bool:
    along = second.center[1] - first.center[1]
    across = abs(second.center[0] - first.center[0])
    needed = max(_APART * (first.height + second.height) / 2, across / _ACROSS)
    return along > 0 and along >= needed * (1 + _EPS)


def _on(first: Box, second: Box) -> bool:
    touching = abs(first.bottom - second.top) <= _CONTACT * second.height
    meeting = first.left < second.right and first.right > second.left
    return _above(first, second) and touching and meeting


def _within(first: Box, second: Box) -> bool:
    slack = _EPS * (second.width + second.height)
    return (
        first.left >= second.left - slack
        and first.top >= second.top - slack
        and first.right <= second.right + slack
        and first.bottom <= second.bottom + slack
    )


def _next_to(first: Box, second: Box) -> bool:
    across = abs(first.center[0] - second.center[0]) - (first.width + second.width) / 2
    along = abs(first.center[1] - second.center[1]) - (first.height + second.height) / 2
    mean_side = (first.width + second.width + first.height + second.height) / 4
    return max(across, along) <= _GAP * mean_side * (1 - _EPS) and first.iou(second) <= _IOU


def _after(first: Box, second: Box) -> bool:
    sideways = _left_of(first, second) or _left_of(second, first)
    return sideways and not _meet(first, second)


_TESTS: dict[str, Callable[[Box, Box], bool]] = {
    "left of": _left_of,
    "above": _above,
    "on": _on,
    "next to": _next_to,
    "hugging": lambda first, second: _next_to(first, second) and _meet(first, second),
    "after": _after,
    "bigger": lambda first, second: first.height > second.height * (1 + _EPS),
}
