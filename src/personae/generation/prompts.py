"""Prompts as a model gets them: each subject by its noun and the place of its reference."""

from __future__ import annotations

import re

from personae.diffusion.backbone import Limits
from personae.errors import DataError
from personae.subjects.scene import Scene

__all__ = ["words_for"]

_NAME = re.compile(r"\{([^{}]*)\}")


def words_for(scene: Scene, limits: Limits) -> str:
    """The scene's prompt with each ``{id}`` as this model's prompts name a subject.

    ``limits.subject_words`` is a pattern of ``{noun}`` and ``{index}``; the index counts the
    scene's subjects from 1, in the order in which their references stand in context: with
    ``"the {noun} from image {index}"``, "{ann} in a park" becomes "the woman from image 1 in a
    park". A subject with a token is named by token and noun. What a noun holds is not replaced
    again.

    Raises:
        DataError: the prompt names a subject that the scene does not have.
    """
    words = {
        name: limits.subject_words.replace("{index}", str(index)).replace("{noun}", subject.name)
        for index, (name, subject) in enumerate(scene.subjects.items(), start=1)
    }

    def named(match: re.Match[str]) -> str:
        if match[1] not in words:
            raise DataError(
                f"{scene.where}: the prompt of scene {scene.id!r} names {match[0]}, which is no "
                f"subject of it; subjects are {list(words)}"
            )
        return words[match[1]]

    return _NAME.sub(named, scene.prompt)
