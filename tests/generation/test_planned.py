"""Layouts by the prompt's words: inside, of the right aspect, and as was said."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from personae.generation.planners import LayoutRequest, plan_by_words, sized
from personae.metrics.position import strict_position_score
from tests.generation.test_relation_words import scene

PAIR = ("left of", "right of", "above", "below", "on top of", "next to", "behind", "in front of",
        "chasing", "riding", "hugging", "inside", "facing", "bigger than")  # fmt: skip
POSITIONS = {"left of", "above", "next to", "on"}

names = st.sampled_from("abcde")
clauses = st.one_of(
    st.tuples(names, st.sampled_from(PAIR), names).map(lambda x: f"{{{x[0]}}} {x[1]} {{{x[2]}}}"),
    st.permutations("abcde").map(lambda x: f"{{{x[0]}}} between {{{x[1]}}} and {{{x[2]}}}"),
    names.map(lambda x: f"a tiny {{{x}}}"),
)
prompts = st.lists(clauses, max_size=4).map(", ".join)
aspects = st.lists(st.floats(0.2, 3), min_size=5, max_size=5)
heights = st.one_of(st.none(), st.lists(st.floats(0.3, 1), min_size=5, max_size=5))
pictures = st.sampled_from([(64, 64), (192, 128), (128, 256)])


def request(prompt, count, ratios, sizes, size) -> LayoutRequest:
    cast = "abcde"[:count]
    wanted = {} if sizes is None else dict(zip(cast, sizes[:count], strict=True))
    largest = max(wanted.values(), default=1)
    wanted = {name: height / largest for name, height in wanted.items()}
    kept = dict(zip(cast, ratios[:count], strict=True))
    return LayoutRequest(scene(prompt, *cast), kept, wanted, size)


def shared(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


@settings(deadline=None, max_examples=150)
@given(prompts, st.integers(1, 5), aspects, heights, pictures, st.integers(0, 99))
def test_boxes_are_inside_keep_aspect_and_size_and_hold_what_is_claimed(
    prompt, count, ratios, sizes, size, seed
) -> None:
    asked = request(prompt, count, ratios, sizes, size)
    plan = plan_by_words(asked, seed)
    assert plan == plan_by_words(asked, seed)
    assert set(plan.layout) == set(asked.scene.subjects)
    for name, (left, top, right, bottom) in plan.layout.items():
        assert -1e-9 <= left < right <= 1 + 1e-9
        assert -1e-9 <= top < bottom <= 1 + 1e-9
        assert (right - left) / (bottom - top) == pytest.approx(asked.aspects[name])
    drawn = {name: box[3] - box[1] for name, box in plan.layout.items()}
    for first, second in combinations(asked.sizes, 2):
        ratio = asked.sizes[first] / asked.sizes[second]
        assert drawn[first] / drawn[second] == pytest.approx(ratio)
    for one in plan.held:
        check(one, plan.layout, size)


def check(one, layout, size) -> None:
    """Another look at each relation, in pixels; the four positions by the metric itself."""
    first, second = (np.array(layout[name]) * (size * 2) for name in (one.first, one.second))
    order, middle = list(layout), (first[0] + first[2]) / 2
    if one.kind in POSITIONS:
        words = "above" if one.kind == "on" else one.kind
        assert strict_position_score(np.stack([first, second]), words) >= 1 - 1e-6
    if one.kind == "on":
        assert abs(first[3] - second[1]) <= 0.2 * (second[3] - second[1]) + 1e-9
    elif one.kind in {"behind", "hugging", "inside"}:
        assert shared(first, second) > 0
        if one.kind != "hugging":
            assert (order.index(one.first) < order.index(one.second)) == (one.kind == "behind")
        if one.kind == "inside":
            assert shared(first, second) == pytest.approx(shared(first, first))
    elif one.kind == "after":
        assert shared(first, second) == 0
        scores = [strict_position_score(np.stack([first, second]), f"{side} of")
                  for side in ("left", "right")]  # fmt: skip
        assert max(scores) >= 1 - 1e-6
    elif one.kind == "between":
        third = np.array(layout[one.third]) * (size * 2)
        ends = sorted([second[0] + second[2], third[0] + third[2]])
        assert ends[0] < 2 * middle < ends[1]
    elif one.kind == "bigger":
        assert first[3] - first[1] > second[3] - second[1]


@settings(deadline=None, max_examples=120)
@given(st.sampled_from(PAIR), aspects, pictures, st.integers(0, 99))
@example("above", [0.2, 3.0, 1.0, 1.0, 1.0], (64, 64), 0)
def test_one_relation_of_two_is_always_held(words, ratios, size, seed) -> None:
    asked = request(f"{{a}} {words} {{b}} in a park", 2, ratios, None, size)
    plan = plan_by_words(asked, seed)
    assert len(plan.held) == 1
    assert plan.dropped == ()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(0, 99))
def test_without_a_relation_all_stand_apart_side_by_side(count, seed) -> None:
    cast = "abcdefghi"[:count]
    asked = LayoutRequest(
        scene(" and ".join(f"{{{name}}}" for name in cast), *cast),
        dict.fromkeys(cast, 0.6), {}, (64, 64),
    )  # fmt: skip
    layout = plan_by_words(asked, seed).layout
    assert sorted(cast, key=lambda name: layout[name][0]) == list(cast)
    for first, second in combinations(layout.values(), 2):
        assert shared(first, second) == 0
    assert len({box[3] for box in layout.values()}) == 1, "on one floor"


def test_what_contradicts_is_dropped_and_the_rest_is_held() -> None:
    asked = request("{a} left of {b}, {b} left of {a}, {a} on {b}, {c} behind {b}", 3,
                    [0.5] * 5, None, (64, 64))  # fmt: skip
    plan = plan_by_words(asked, 0)
    assert [(x.first, x.kind, x.second) for x in plan.held] == [
        ("a", "left of", "b"),
        ("c", "behind", "b"),
    ]
    assert [(x.first, x.kind) for x in plan.dropped] == [("b", "left of"), ("a", "on")]


def test_a_seed_decides_what_is_free() -> None:
    asked = request("{a} left of {b}", 2, [0.5] * 5, None, (64, 64))
    assert plan_by_words(asked, 0).layout != plan_by_words(asked, 1).layout


def test_asked_sizes_go_before_the_words() -> None:
    asked = request("a tiny {a} bigger than {b}", 2, [0.5] * 5, [0.5, 1.0], (64, 64))
    plan = plan_by_words(asked, 0)
    drawn = {name: box[3] - box[1] for name, box in plan.layout.items()}
    assert drawn["a"] / drawn["b"] == pytest.approx(0.5)
    assert [one.kind for one in plan.dropped] == ["bigger"]


@given(aspects, heights, st.integers(0, 99))
def test_sizes_are_enforced_and_nobody_grows(ratios, sizes, seed) -> None:
    rng = np.random.default_rng(seed)
    boxes = {name: tuple(np.concatenate([low := rng.uniform(0, 0.5, 2),
             low + rng.uniform(0.05, 0.5, 2)])) for name in "abc"}  # fmt: skip
    asked = request("", 3, ratios, sizes, (64, 64))
    found = sized(boxes, asked.aspects, asked.sizes)
    for name, box in found.items():
        assert shared(box, boxes[name]) == pytest.approx(shared(box, box)), "inside"
        assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(asked.aspects[name])
    if asked.sizes:
        units = [(box[3] - box[1]) / asked.sizes[name] for name, box in found.items()]
        assert units == pytest.approx([units[0]] * 3)
