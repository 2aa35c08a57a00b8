"""Layouts: where each subject is asked to be, as fractions of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from personae.errors import DataError
from personae.subjects.box import Box

__all__ = ["Layout", "layout_box_px", "parse_layout"]

Layout = dict[str, tuple[float, float, float, float]]


def parse_layout(data: Mapping[str, object], subjects: Sequence[str]) -> Layout:
    """Check a layout: per subject left, top, right, bottom in [0, 1].

    >>> parse_layout({"ann": [0, 0, 0.5, 1]}, ["ann"])
    {'ann': (0.0, 0.0, 0.5, 1.0)}

    Raises:
        DataError: an unknown subject, or numbers that make no box inside the picture.
    """
    return {name: _fractions(name, values, subjects) for name, values in data.items()}


def _fractions(
    name: str, values: object, subjects: Sequence[str]
) -> tuple[float, float, float, float]:
    if name not in subjects:
        raise DataError(f"layout names {name!r}, which is no subject of the scene {list(subjects)}")
    expected = f"layout of {name!r}: expected [left, top, right, bottom] in 0 to 1; got {values!r}"
    if not isinstance(values, list | tuple) or len(values) != 4:
        raise DataError(expected)
    if not all(isinstance(value, int | float) and 0 <= value <= 1 for value in values):
        raise DataError(expected)
    left, top, right, bottom = (float(value) for value in values)
    if not (left < right and top < bottom):
        raise DataError(expected)
    return left, top, right, bottom


def layout_box_px(fractions: Sequence[float], width: int, height: int) -> Box:
    """A layout's box in the pixels of a picture of this size."""
    left, top, right, bottom = fractions
    return Box(left * width, top * height, right * width, bottom * height)
