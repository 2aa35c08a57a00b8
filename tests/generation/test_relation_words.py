"""What is read of a prompt, and what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from personae.generation.relation_words import relations_of, sizes_said
from personae.subjects.scene import Relation, Scene
from personae.subjects.subject import ReferenceFile, Subject


def scene(prompt: str, *names: str, relation: Relation | None = None) -> Scene:
    photo = (ReferenceFile(Path("photo.png")),)
    cast = {name: Subject(name, f"noun {name}", "object", photo) for name in names or "abcd"}
    return Scene("s", prompt, cast, relation=relation)


def said(prompt: str, *names: str, **more) -> list[str]:
    found = relations_of(scene(prompt, *names, **more))
    return [" ".join(filter(None, (x.first, x.kind, x.second, x.third))) for x in found]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("{a} left of {b}", ["a left of b"]),
        ("{a} stands to the right of the {b}", ["b left of a"]),
        ("{a} on the left side of {b}", ["a left of b"]),
        ("{a} is chasing {b} in a park", ["a after b"]),
        ("{a} chased by a big {b}", ["b after a"]),
        ("{a} sitting on top of {b}", ["a on b"]),
        ("{a} is riding {b}", ["a on b"]),
        ("{a} behind {b}", ["a behind b"]),
        ("{a} in front of {b}", ["b behind a"]),
        ("{a} hovering above {b}", ["a above b"]),
        ("{a} under {b}", ["b above a"]),
        ("{a} below {b}", ["b above a"]),
        ("{a} in a park next to {b}", ["a next to b"]),
        ("{a} facing {b}", ["a next to b"]),
        ("{a} hugging {b}", ["a hugging b"]),
        ("{a} and {b} hugging in the rain", ["a hugging b"]),
        ("{a} and {b} are standing next to each other", ["a next to b"]),
        ("{a} inside a red {b}", ["a inside b"]),
        ("{a} between {b} and {c}", ["a between b c"]),
        ("{a} bigger than {b}", ["a bigger b"]),
        ("{a} is much smaller than {b}", ["b bigger a"]),
        ("{a} and {b} on top of {c}", ["a on c", "b on c"]),
        ("{a} left of {b} and {c} right of {d}", ["a left of b", "d left of c"]),
        ("{a} on the left and {b} on the right", ["a left of b"]),
        ("{a} left of {b}, {b} left of {c}. {d} above {c}",
         ["a left of b", "b left of c", "d above c"]),
        ("In a park, {a} looks at the sky while {b} is next to {c}", ["b next to c"]),
        ("{A} Next To {b}", []),
        # Nothing of it, or not of these two.
        ("{a} and {b} in a park", []),
        ("{a} with {b} on a beach", []),
        ("{a} not next to {b}", []),
        ("{a} isn't left of {b}", []),
        ("{a} next to a tree, {b} above the clouds", []),
        ("{a} in a house and {b}", []),
        ("{a} next to {a}", []),
        ("{a} between {b}", []),
        ("{x} left of {b}", []),
        ("", []),
        ("{a", []),
    ],
)  # fmt: skip
def test_relations_are_read_as_they_are_worded(prompt: str, expected: list[str]) -> None:
    names = "abcd" if "{c}" in prompt else "ab"
    assert said(prompt, *names) == expected


def test_the_scene_s_relation_comes_first_and_once() -> None:
    relation = Relation("b", "to the left of", "a")
    assert said("{a} above {b}, {b} left of {a}", relation=relation) == ["b left of a", "a above b"]
    assert said("{a}", relation=Relation("b", "in cahoots with", "a")) == []


def test_names_are_taken_as_they_are_written() -> None:
    assert said("{Ann. X} LEFT of {ann. x}", "Ann. X", "ann. x") == ["Ann. X left of ann. x"]


@pytest.mark.parametrize(
    ("prompt", "sizes"),
    [
        ("a tiny {a} and {b}", {"a": 0.35}),
        ("a Huge {a} and a little {b}", {"a": 2.0, "b": 0.6}),
        ("{a} bigger than {b}", {"a": 1.0, "b": 0.6}),
        ("{b} half the size of {a}", {"a": 1.0, "b": 0.5}),
        ("a big {a}, twice as tall as {b}", {"a": 1.5}),
        ("a small town with {a} and {b}", {}),
    ],
)
def test_sizes_are_read(prompt: str, sizes: dict[str, float]) -> None:
    assert sizes_said(scene(prompt, "a", "b")) == pytest.approx(sizes)
    assert sizes_said(replace(scene(prompt, "c"), id="t")) == {}
