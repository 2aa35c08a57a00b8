"""Layouts to start from: who stands where, as fractions of the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from personae.errors import RequestError
from personae.subjects.layout import Layout
from personae.subjects.scene import Scene

__all__ = [
    "LAYOUTS",
    "PLACED",
    "choose_layout",
    "grid",
    "halves",
    "random_layout",
    "relative_heights",
    "resized",
]

LAYOUTS = ("given", "grid", "halves", "llm", "planned", "random")
PLACED = ("given", "grid", "halves", "random")
"""Those that look at no word of the prompt; ``planned`` and ``llm`` do."""

# MuDI (arXiv 2404.04243) leaves 32 of 1024 pixels between a subject and its half's edges.
_MARGIN = 1 / 64
# Seg-Mix draws a subject's scale from U(0.75, 1) of the largest that fits.
_SMALLEST = 0.75
_TRIES_A_SIZE = 50


def choose_layout(
    name: str,
    scene: Scene,
    aspects: Mapping[str, float],
    generator: np.random.Generator,
    relative_sizes: Mapping[str, float] | None = None,
) -> Layout:
    """A box for each subject of the scene by one of ``PLACED``.

    ``given`` takes the scene's own boxes, and a column of `halves` for a subject without one.
    ``aspects`` is width over height of each subject's cut-out, both as fractions of the picture.
    ``relative_sizes`` maps a subject's id or noun to its size against the others.

    Raises:
        RequestError: another name, or a size that is not above 0.
    """
    sizes = relative_heights(scene, relative_sizes or {})
    names = _left_to_right(scene)
    if name == "random":
        return random_layout(aspects, generator, sizes)
    if name in {"halves", "grid"}:
        return resized(halves(names) if name == "halves" else grid(names), sizes)
    if name == "given":
        return resized(halves(names), sizes) | dict(scene.layout)
    raise RequestError(f"layout {name!r}: expected one of {PLACED}")


def halves(names: Sequence[str]) -> Layout:
    """Side by side in the order given, each in a column of the same width.

    >>> halves(["ann", "bob"])
    {'ann': (0.015625, 0.015625, 0.484375, 0.984375), 'bob': (0.515625, 0.015625, 0.984375, 0.984375)}
    """  # noqa: E501 - the boxes of two are what a reader wants to see
    return _cells(names, len(names), 1)


def grid(names: Sequence[str]) -> Layout:
    """In rows and columns, as square as can be; a last row that is not full stands in the middle.

    >>> [box[0] for box in grid(["a", "b", "c"]).values()]
    [0.015625, 0.515625, 0.265625]
    """
    columns = math.ceil(math.sqrt(len(names)))
    return _cells(names, columns, math.ceil(len(names) / columns))


def _cells(names: Sequence[str], columns: int, rows: int) -> Layout:
    layout: Layout = {}
    for index, name in enumerate(names):
        row, column = divmod(index, columns)
        in_row = min(columns, len(names) - row * columns)
        left = (column + (columns - in_row) / 2) / columns
        top = row / rows
        right, bottom = left + 1 / columns, top + 1 / rows
        layout[name] = (left + _MARGIN, top + _MARGIN, right - _MARGIN, bottom - _MARGIN)
    return layout


def random_layout(
    aspects: Mapping[str, float],
    generator: np.random.Generator,
    relative_sizes: Mapping[str, float] | None = None,
) -> Layout:
    """Boxes of the given aspects somewhere in the picture, none over another.

    The largest scale is the one that fits a cell of `grid`; each box takes U(0.75, 1) of it, as
    Seg-Mix does for two, or exactly its relative size where sizes are given. Placed at random
    until none overlaps; after 50 tries all are drawn a tenth smaller.
    """
    names = list(aspects)
    cell = grid(names)[names[0]]
    limit_x, limit_y = cell[2] - cell[0], cell[3] - cell[1]
    heights = {
        name: min(limit_y, limit_x / aspect)
        * ((relative_sizes or {}).get(name) or generator.uniform(_SMALLEST, 1.0))
        for name, aspect in aspects.items()
    }
    shrink = 1.0
    while True:
        for _ in range(_TRIES_A_SIZE):
            layout = _thrown(aspects, heights, shrink, generator)
            if not _any_overlap(list(layout.values())):
                return layout
        shrink *= 0.9


def _thrown(
    aspects: Mapping[str, float],
    heights: Mapping[str, float],
    shrink: float,
    generator: np.random.Generator,
) -> Layout:
    """One throw: each box uniformly where it lies inside the picture."""
    layout: Layout = {}
    for name, aspect in aspects.items():
        height = shrink * heights[name]
        width = height * aspect
        left, top = generator.uniform(0, 1 - width), generator.uniform(0, 1 - height)
        layout[name] = (left, top, left + width, top + height)
    return layout


def _any_overlap(boxes: Sequence[tuple[float, float, float, float]]) -> bool:
    return any(
        a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
        for index, a in enumerate(boxes)
        for b in boxes[index + 1 :]
    )


def resized(layout: Layout, relative_sizes: Mapping[str, float]) -> Layout:
    """Each box scaled by its relative size, standing where it stood: the bottom's middle stays.

    >>> resized({"cat": (0.0, 0.0, 1.0, 1.0)}, {"cat": 0.5})
    {'cat': (0.25, 0.5, 0.75, 1.0)}
    """
    boxes: Layout = {}
    for name, (left, top, right, bottom) in layout.items():
        size = relative_sizes.get(name, 1.0)
        middle, half = (left + right) / 2, size * (right - left) / 2
        boxes[name] = (middle - half, bottom - size * (bottom - top), middle + half, bottom)
    return boxes


def relative_heights(scene: Scene, wanted: Mapping[str, float]) -> dict[str, float]:
    """Sizes of the scene's subjects against the largest, in (0, 1]; empty where none is wanted.

    ``wanted`` maps a subject's id or noun to its size.

    Raises:
        RequestError: a size that is not above 0.
    """
    for name, size in wanted.items():
        if not (math.isfinite(size) and size > 0):
            raise RequestError(f"relative size of {name!r}: expected a number above 0; got {size}")
    known = {
        name: wanted.get(name, wanted.get(subject.noun, 1.0))
        for name, subject in scene.subjects.items()
    }
    largest = max(known.values())
    return {name: size / largest for name, size in known.items()} if wanted else {}


def _left_to_right(scene: Scene) -> list[str]:
    """The subjects' order, two of them exchanged where a relation says left or right otherwise."""
    names = list(scene.subjects)
    relation = scene.relation
    if relation is None or relation.words not in {"left of", "right of"}:
        return names
    pair = (relation.first, relation.second)
    left, right = pair if relation.words == "left of" else pair[::-1]
    first, second = names.index(left), names.index(right)
    if first > second:
        names[first], names[second] = names[second], names[first]
    return names
