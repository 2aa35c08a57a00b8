"""Layouts: inside the picture, apart, and as large as was asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personae.errors import RequestError
from personae.generation.layouts import (
    LAYOUTS,
    choose_layout,
    grid,
    halves,
    random_layout,
    resized,
)
from personae.subjects.scene import Relation, Scene
from personae.subjects.subject import ReferenceFile, Subject

counts = st.integers(1, 7)


def scene(*names: str, **more) -> Scene:
    photo = (ReferenceFile(Path("photo.png")),)
    cast = {name: Subject(name, f"noun-{name}", "object", photo) for name in names}
    return Scene("s", "x", cast, **more)


def overlap(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def assert_inside_and_apart(layout) -> None:
    boxes = list(layout.values())
    for index, box in enumerate(boxes):
        assert 0 <= box[0] < box[2] <= 1 + 1e-9
        assert 0 <= box[1] < box[3] <= 1 + 1e-9
        assert all(overlap(box, other) == 0 for other in boxes[index + 1 :])


@given(counts)
def test_halves_and_grids_are_inside_apart_and_equal(count: int) -> None:
    names = [str(number) for number in range(count)]
    for make in (halves, grid):
        layout = make(names)
        assert list(layout) == names
        assert_inside_and_apart(layout)
        assert len({round(b[2] - b[0], 9) for b in layout.values()}) == 1


@given(counts, st.integers(0, 1000), st.lists(st.floats(0.2, 3), min_size=7, max_size=7))
def test_random_boxes_are_inside_apart_and_keep_their_aspect(count, seed, ratios) -> None:
    aspects = {str(number): ratios[number] for number in range(count)}
    layout = random_layout(aspects, np.random.default_rng(seed))
    assert_inside_and_apart(layout)
    for name, (left, top, right, bottom) in layout.items():
        assert (right - left) / (bottom - top) == pytest.approx(aspects[name])
    assert layout == random_layout(aspects, np.random.default_rng(seed))
    assert layout != random_layout(aspects, np.random.default_rng(seed + 1))


def test_relative_sizes_are_kept_whatever_the_layout() -> None:
    pair = scene("a", "b")
    for name in ("halves", "grid", "random", "given"):
        generator = np.random.default_rng(0)
        layout = choose_layout(name, pair, {"a": 0.4, "b": 0.4}, generator, {"noun-b": 0.5})
        heights = {key: box[3] - box[1] for key, box in layout.items()}
        assert heights["b"] / heights["a"] == pytest.approx(0.5)


def test_a_smaller_subject_stands_on_the_same_floor() -> None:
    assert resized({"a": (0.2, 0.0, 0.6, 0.8)}, {"a": 0.25})["a"] == pytest.approx(
        (0.35, 0.6, 0.45, 0.8)
    )


def test_given_boxes_are_taken_and_the_rest_gets_columns() -> None:
    box = (0.1, 0.1, 0.3, 0.9)
    layout = choose_layout(
        "given", scene("a", "b", layout={"b": box}), {}, np.random.default_rng(0)
    )
    assert layout == {"a": halves(["a", "b"])["a"], "b": box}


@pytest.mark.parametrize(
    ("words", "order"), [("left of", "ba"), ("right of", "ab"), ("above", "ab"), (None, "ab")]
)
def test_columns_do_not_contradict_the_relation(words: str | None, order: str) -> None:
    relation = None if words is None else Relation("b", words, "a")
    layout = choose_layout(
        "halves", scene("a", "b", relation=relation), {}, np.random.default_rng(0)
    )
    assert "".join(sorted(layout, key=lambda name: layout[name][0])) == order


def test_a_wrong_name_or_size_is_refused() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(RequestError, match="expected one of"):
        choose_layout("circle", scene("a"), {"a": 1.0}, generator)
    for size in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(RequestError, match="above 0"):
            choose_layout("halves", scene("a"), {"a": 1.0}, generator, {"a": size})
    assert sorted(LAYOUTS) == list(LAYOUTS)
