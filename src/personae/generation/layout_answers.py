"""A language model's answer read as a layout: strictly, or with a complaint; never guessed."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any, Never

from personae.errors import DataError
from personae.generation.holding import overlap
from personae.generation.planners import LayoutRequest
from personae.generation.relation_words import OVERLAPPING, relations_of
from personae.subjects.layout import Layout
from personae.vision.language.json_answers import read_json_object

__all__ = ["check_boxes", "read_answer"]

_MIN_SIDE = 0.05
# Of a box that its subject, at its own aspect, has to fill.
_MIN_FILLED = 1 / 3
# Of the smaller of two boxes; as much as people who stand arm in arm.
_MAX_OVERLAP = 0.25


def read_answer(text: str, request: LayoutRequest) -> Layout:
    """The boxes of an answer, from back to front, checked by `check_boxes`.

    The answer is read by `read_json_object`: one JSON object, perhaps in a code fence, perhaps
    after thoughts, and nothing else.

    Raises:
        DataError: a complaint, in words that a model can be told.
    """
    return check_boxes(read_json_object(text), request)


def check_boxes(data: dict[str, Any], request: LayoutRequest) -> Layout:
    """One usable box for each subject and for nobody else.

    Each is [left, top, right, bottom] in [0, 1], at least 0.05 wide and high; a third of it at
    least is filled by the subject at its own aspect; two share at most a quarter of the smaller
    one, unless the prompt says that they touch, or that one is on, in or behind the other.

    Raises:
        DataError: a complaint, in words that a model can be told.
    """
    names = list(request.scene.subjects)
    odd = [name[:40] for name in data if name not in names]
    if odd:
        _complain(f"unknown keys {odd[:3]}; expected exactly {names}")
    missing = [name for name in names if name not in data]
    if missing:
        _complain(f"no box for {missing}; expected exactly {names}")
    layout = {name: _box(name, data[name]) for name in data}
    for name, box in layout.items():
        _check_aspect(name, box, request.aspects[name])
    _check_overlap(layout, request)
    return layout


def _box(name: str, values: Any) -> tuple[float, float, float, float]:
    expected = f"box of {name!r}: expected [left, top, right, bottom], each from 0 to 1"
    if not isinstance(values, list) or len(values) != 4:
        _complain(f"{expected}; got {_brief(values)}")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        _complain(f"{expected}; got {_brief(values)}")
    if not all(0 <= value <= 1 and math.isfinite(value) for value in values):
        _complain(f"{expected}; got {_brief(values)}, which leaves the picture")
    left, top, right, bottom = (float(value) for value in values)
    if left >= right or top >= bottom:
        _complain(f"{expected}, with left < right and top < bottom; got {_brief(values)}")
    if right - left < _MIN_SIDE or bottom - top < _MIN_SIDE:
        _complain(
            f"box of {name!r} is too small: {_brief(values)}; expected at least {_MIN_SIDE} wide "
            "and high"
        )
    return left, top, right, bottom


def _check_aspect(name: str, box: tuple[float, float, float, float], aspect: float) -> None:
    width, height = box[2] - box[0], box[3] - box[1]
    fitting = min(height, width / aspect)
    if fitting * fitting * aspect < _MIN_FILLED * width * height:
        _complain(
            f"box of {name!r} is {width:.2f} wide and {height:.2f} high; its picture is "
            f"{aspect:.2f} times as wide as high and would fill too little of it"
        )


def _check_overlap(layout: Layout, request: LayoutRequest) -> None:
    allowed = {
        frozenset((one.first, one.second))
        for one in relations_of(request.scene)
        if one.kind in OVERLAPPING
    }
    for first, second in combinations(layout, 2):
        shared = overlap(layout[first], layout[second])
        smaller = min(overlap(box, box) for box in (layout[first], layout[second]))
        if shared > _MAX_OVERLAP * smaller and frozenset((first, second)) not in allowed:
            _complain(
                f"boxes of {first!r} and {second!r} overlap by {shared / smaller:.0%} of the "
                f"smaller one; expected at most {_MAX_OVERLAP:.0%}"
            )


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _complain(what: str) -> Never:
    raise DataError(what) from None
