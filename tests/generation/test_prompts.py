"""Words: each subject by its noun and its reference's place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from personae.errors import DataError
from personae.generation import words_for
from personae.subjects.scene import Scene
from personae.subjects.subject import ReferenceFile, Subject
from tests.generation.fake import LIMITS


def scene(prompt: str, **nouns: str) -> Scene:
    photo = (ReferenceFile(Path("photo.png")),)
    return Scene(
        "s", prompt, {name: Subject(name, noun, "object", photo) for name, noun in nouns.items()}
    )


def test_the_index_is_the_place_among_the_subjects_not_in_the_prompt() -> None:
    words = words_for(scene("{b} left of {a}, {b} waves", a="girl", b="man"), LIMITS)
    assert words == "man 2 left of girl 1, man 2 waves"


def test_each_model_has_its_own_way_to_name_a_subject() -> None:
    real = replace(LIMITS, subject_words="the {noun} from image {index}")
    assert words_for(scene("{a} runs", a="dog"), real) == "the dog from image 1 runs"


def test_a_noun_with_braces_is_not_replaced_again() -> None:
    words = words_for(scene("{a} and {b}", a="{b} of {index}", b="cup"), LIMITS)
    assert words == "{b} of {index} 1 and cup 2"


def test_a_prompt_that_names_nobody_known_is_an_error() -> None:
    with pytest.raises(DataError, match=r"names \{c\}.*\['a'\]"):
        words_for(scene("{a} and {c}", a="cup"), LIMITS)
