"""Prompts as a model gets them: each subject by its noun and the place of its reference."""

from __future__ import annotations

import re
from collections.abc import Mapping

from personae.diffusion.backbone import Limits
from personae.errors import DataError
from personae.subjects.scene import Scene

__all__ = ["named", "negative_words", "words_for"]

_NAME = re.compile(r"\{([^{}]*)\}")


def words_for(scene: Scene, limits: Limits, *, in_context: bool = True) -> str:
    """The scene's prompt with each ``{id}`` as this model's prompts name a subject.

    ``limits.subject_words`` is a pattern of ``{noun}`` and ``{index}``; the index counts the
    scene's subjects from 1, in the order in which their references stand in context: with
    ``"the {noun} from image {index}"``, "{ann} in a park" becomes "the woman from image 1 in a
    park". Without references in context there is nothing to count, and a subject is its token
    and noun alone. What a noun holds is not replaced again.

    Raises:
        DataError: the prompt names a subject that the scene does not have.
    """
    pattern = limits.subject_words if in_context else "{noun}"
    words = {
        name: pattern.replace("{index}", str(index)).replace("{noun}", subject.name)
        for index, (name, subject) in enumerate(scene.subjects.items(), start=1)
    }
    return named(scene.prompt, words, f"{scene.where}: scene {scene.id!r}")


def negative_words(scene: Scene, negative: str) -> str:
    """What to turn away from, each ``{id}`` as its bare noun: its token is what is wanted.

    Raises:
        DataError: it names a subject that the scene does not have.
    """
    words = {name: subject.noun for name, subject in scene.subjects.items()}
    return named(negative, words, f"{scene.where}: negative words of scene {scene.id!r}")


def named(prompt: str, words: Mapping[str, str], where: str) -> str:
    """A prompt with each ``{id}`` as its words.

    >>> named("{a} and {b}", {"a": "olis girl", "b": "hta {a}"}, "here")
    'olis girl and hta {a}'

    Raises:
        DataError: the prompt names somebody without words.
    """

    def said(match: re.Match[str]) -> str:
        if match[1] not in words:
            raise DataError(
                f"{where}: the prompt names {match[0]}, which is no subject of it; "
                f"subjects are {list(words)}"
            )
        return words[match[1]]

    return _NAME.sub(said, prompt)
