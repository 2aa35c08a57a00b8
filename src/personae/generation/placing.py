"""Boxes placed as a prompt says: subjects stand in columns, or on, behind and in each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, permutations, product

import numpy as np

from personae.generation.holding import holds, overlap
from personae.generation.relation_words import OVERLAPPING, Said
from personae.subjects.layout import Layout

__all__ = ["Placing", "placed"]

_MARGIN = 1 / 64
# Least room between two columns; of two that are next to each other as a share of their widths.
_LOOSE, _TIGHT = 0.02, 0.06
_HUG = 0.25
# Children against their parents, as shares of heights: above it, into it, and so on.
_GAP, _SINK, _RISE = 0.08, 0.08, 0.12
_ASIDE = 0.45
_OVER = frozenset({"on", "above"})
_ATTACHED = _OVER | {"behind", "inside"}
# Beyond so many columns only one order is tried: 6! are 720.
_MOST_PERMUTED, _MOST_TRIED = 6, 24
_SHRINKS = tuple(0.85**power for power in range(14))


@dataclass(frozen=True)
class Placing:
    """Boxes from back to front, which relations hold in them, and which could not."""

    layout: Layout
    held: tuple[Said, ...]
    dropped: tuple[Said, ...]


@dataclass(frozen=True)
class _Shape:
    """What a subject's box is in units of the largest one's height."""

    width: float
    height: float


def placed(
    aspects: Mapping[str, float],
    heights: Mapping[str, float],
    said: Sequence[Said],
    size: tuple[int, int],
    seed: int,
) -> Placing:
    """A box for each subject, of its aspect and relative height, as the relations say.

    ``aspects`` is width over height, both as fractions of the picture, ``heights`` against each
    other, ``size`` (width, height) of the picture in pixels. Relations are taken one after the
    other; one that cannot be held together with those before is dropped. Who is in none stands
    beside the others. ``seed`` decides what is left free: size, gaps, sides.
    """
    shapes = {name: _Shape(heights[name] * aspects[name], heights[name]) for name in aspects}
    held: list[Said] = []
    best = _layout(shapes, held, size, seed)
    assert best is not None
    for one in said:
        layout = _layout(shapes, [*held, one], size, seed)
        if layout is not None:
            held, best = [*held, one], layout
    dropped = tuple(one for one in said if one not in held)
    return Placing(best, tuple(held), dropped)


def _layout(
    shapes: Mapping[str, _Shape], said: Sequence[Said], size: tuple[int, int], seed: int
) -> Layout | None:
    """The first layout in which all of it holds and nobody else overlaps; None without one."""
    parents = _parents(shapes, said)
    if parents is None:
        return None
    roots = {name: _root(name, parents) for name in shapes}
    clusters = {
        root: _cluster(root, parents, shapes, np.random.default_rng(seed))
        for root in shapes
        if root not in parents
    }
    for order in islice(_orders(list(clusters), roots, said), _MOST_TRIED):
        for shrink, spread in product(_SHRINKS, ("thrown", "even", "wide")):
            rng = np.random.default_rng(seed)
            layout = _laid(order, clusters, _ties(order, roots, said), shrink, spread, rng)
            if all(holds(one, layout, size) for one in said) and _apart(layout, roots, said):
                return layout
    return None


def _parents(
    shapes: Mapping[str, _Shape], said: Sequence[Said]
) -> dict[str, tuple[str, str]] | None:
    """Who is placed by whom, and how; None where somebody would be placed by himself.

    Who is already placed by another is not placed twice: then `holds` decides.
    """
    parents: dict[str, tuple[str, str]] = {}
    for one in said:
        if one.kind in _ATTACHED and one.first not in parents:
            if _root(one.second, parents) == one.first:
                return None
            parents[one.first] = (one.second, one.kind)
    return parents


def _root(name: str, parents: Mapping[str, tuple[str, str]]) -> str:
    while name in parents:
        name = parents[name][0]
    return name


def _cluster(
    root: str,
    parents: Mapping[str, tuple[str, str]],
    shapes: Mapping[str, _Shape],
    rng: np.random.Generator,
) -> Layout:
    """A root standing at (0, 0) and who is placed by it, from back to front; up is negative."""
    shape = shapes[root]
    boxes = {root: (-shape.width / 2, -shape.height, shape.width / 2, 0.0)}
    _place_children(root, boxes, parents, shapes, float(rng.choice([-1.0, 1.0])))
    return {name: boxes[name] for name in _back_to_front(root, parents)}


def _place_children(
    parent: str,
    boxes: Layout,
    parents: Mapping[str, tuple[str, str]],
    shapes: Mapping[str, _Shape],
    side: float,
) -> None:
    left, top, right, bottom = boxes[parent]
    middle, width, height = (left + right) / 2, right - left, bottom - top
    children = {name: kind for name, (above, kind) in parents.items() if above == parent}
    over = [name for name, kind in children.items() if kind in _OVER]
    x = middle - sum(shapes[name].width for name in over) / 2
    for name, kind in children.items():
        shape = shapes[name]
        center, floor = middle, bottom
        if kind in _OVER:
            center, x = x + shape.width / 2, x + shape.width
            floor = top + (_SINK * height if kind == "on" else -_GAP * height)
        elif kind == "behind":
            center += side * _ASIDE * (width + shape.width) / 2
            floor -= _RISE * min(height, shape.height)
            side = -side
        elif shape.height <= height:
            floor -= (height - shape.height) / 4
        half = shape.width / 2
        boxes[name] = (center - half, floor - shape.height, center + half, floor)
        _place_children(name, boxes, parents, shapes, side)


def _back_to_front(name: str, parents: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    children = [(child, kind) for child, (above, kind) in parents.items() if above == name]
    for child, kind in children:
        if kind == "behind":
            yield from _back_to_front(child, parents)
    yield name
    for child, kind in children:
        if kind != "behind":
            yield from _back_to_front(child, parents)


def _orders(
    names: Sequence[str], roots: Mapping[str, str], said: Sequence[Said]
) -> Iterator[tuple[str, ...]]:
    """Columns from left to right so that none contradicts, the scene's own order first."""
    pairs = [(roots[one.first], roots[one.second]) for one in said if one.kind == "left of"]
    if len(names) > _MOST_PERMUTED:
        yield _sorted(names, pairs)
        return
    ties = [(roots[one.first], roots[one.second]) for one in said if one.kind in _TIED]
    among = [
        (roots[one.first], roots[one.second], roots[one.third])
        for one in said
        if one.kind == "between" and one.third is not None
    ]
    for order in permutations(names):
        place = {name: index for index, name in enumerate(order)}
        if (
            all(place[first] <= place[second] for first, second in pairs)
            and all(abs(place[first] - place[second]) <= 1 for first, second in ties)
            and all((place[a] - place[x]) * (place[b] - place[x]) <= 0 for x, a, b in among)
        ):
            yield order


def _sorted(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Who has nobody left on the left comes next; where all have, the first of them."""
    left, order = list(names), []
    while left:
        waiting = {second for first, second in pairs if first in left and first != second}
        chosen = next((name for name in left if name not in waiting), left[0])
        left.remove(chosen)
        order.append(chosen)
    return tuple(order)


_TIED = ("next to", "hugging")


def _ties(order: Sequence[str], roots: Mapping[str, str], said: Sequence[Said]) -> list[str | None]:
    """Of each two neighboring columns, how they are tied to each other."""
    tied = {frozenset((roots[one.first], roots[one.second])): one.kind for one in said}
    kinds = [tied.get(frozenset(pair)) for pair in pairwise(order)]
    return [kind if kind in _TIED else None for kind in kinds]


def _laid(
    order: Sequence[str],
    clusters: Mapping[str, Layout],
    ties: Sequence[str | None],
    shrink: float,
    spread: str,
    rng: np.random.Generator,
) -> Layout:
    """The columns side by side on one floor, as large as they fit, times ``shrink`` and chance."""
    extents = [_extent(clusters[name]) for name in order]
    widths = [right - left for left, _, right, _ in extents]
    gaps = [_tied_gap(tie, pair) for tie, pair in zip(ties, pairwise(widths), strict=True)]
    num_loose = ties.count(None)
    room = 1 - 2 * _MARGIN
    tall = max(bottom - top for _, top, _, bottom in extents)
    wide = sum(widths) + sum(gaps)
    unit = min(room / tall, (room - _LOOSE * num_loose) / wide) * shrink * rng.uniform(0.85, 1.0)
    slack = room - unit * wide - _LOOSE * num_loose
    shares = _shares(ties, spread, rng) * slack
    floor = 1 - _MARGIN - (room - unit * tall) * rng.uniform(0, 0.3)
    layout: Layout = {}
    x = _MARGIN + shares[0]
    for index, (name, extent) in enumerate(zip(order, extents, strict=True)):
        for member, (left, top, right, bottom) in clusters[name].items():
            layout[member] = (
                x + unit * (left - extent[0]),
                floor + unit * (top - extent[3]),
                x + unit * (right - extent[0]),
                floor + unit * (bottom - extent[3]),
            )
        x += unit * widths[index] + shares[index + 1]
        if index < len(gaps):
            x += unit * gaps[index] + (0 if ties[index] else _LOOSE)
    return layout


def _extent(boxes: Layout) -> tuple[float, float, float, float]:
    lefts, tops, rights, bottoms = zip(*boxes.values(), strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _tied_gap(tie: str | None, widths: tuple[float, float]) -> float:
    if tie is None:
        return 0.0
    return -_HUG * min(widths) if tie == "hugging" else _TIGHT * sum(widths) / 2


def _shares(ties: Sequence[str | None], spread: str, rng: np.random.Generator) -> np.ndarray:
    """How the slack goes to the left end, the gaps and the right end; the sum is 1."""
    ends = 0.0 if spread == "wide" and None in ties else 1.0
    weights = np.array([ends, *(float(tie is None) for tie in ties), ends])
    if spread == "thrown":
        weights *= rng.uniform(0.2, 1.0, len(weights))
    shares: np.ndarray = weights / weights.sum()
    return shares


def _apart(layout: Layout, roots: Mapping[str, str], said: Sequence[Said]) -> bool:
    """Does nobody overlap but who may: those of one column, and those said to?"""
    allowed = {frozenset((one.first, one.second)) for one in said if one.kind in OVERLAPPING}
    names = list(layout)
    return not any(
        overlap(layout[first], layout[second]) > math.ulp(1)
        for index, first in enumerate(names)
        for second in names[index + 1 :]
        if roots[first] != roots[second] and frozenset((first, second)) not in allowed
    )
