"""The questions of PSRBench and OmniContext, in words of our own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from personae.errors import RequestError
from personae.subjects.scene import Claim
from personae.vision.judges.question import Question, Shown

__all__ = ["PSR_INTENTS", "omnicontext_questions", "psr_question"]

_ALL_OF_IT = (
    "Is everything there that the instruction says: each subject, once, with the looks, the doing "
    "and the surroundings it gives them? Every part of the instruction counts the same, and a "
    "subject that is missing or melted into another loses all that is said of it."
)

PSR_INTENTS: dict[str, str] = {
    "attribute": "Does each subject have the looks that the instruction gives it: what it wears, "
    "its color, its material, its state? What is said of one subject and seen on another is wrong.",
    "action": "Does each subject do what the instruction says it does? The pose has to show the "
    "doing itself; a subject that merely stands there does not do it.",
    "background": "Is the picture set where and when the instruction says: place, surroundings, "
    "light, weather, time of day? The subjects have to be in these surroundings.",
    "complex": _ALL_OF_IT,
    "three": _ALL_OF_IT,
    "four": _ALL_OF_IT,
}
"""PSRBench's subsets that a judge marks, and what of the instruction counts in each."""

_REFERENCES_TOO = (
    "The references show what the subjects look like: a subject counts only if it is the very one "
    "of its reference, however unusual that is for its kind."
)


def psr_question(
    intent: str,
    instruction: str,
    picture: np.ndarray,
    references: Sequence[Shown] = (),
    claims: Sequence[Claim] = (),
) -> Question:
    """PSRBench's semantic alignment: one mark for a whole instruction (PSR, arXiv 2512.01236).

    Without references it asks what the published program asks, intent by intent; with them it is
    the strict question, in which a subject that is another one is not aligned: the published one
    rewards the usual look of a noun where a reference looks unusual.
    ``instruction`` is told as it stands: of a scene give its ``words``, not the prompt with braces.

    Raises:
        RequestError: another intent; ``position`` is measured by boxes, not judged.
    """
    if intent not in PSR_INTENTS:
        raise RequestError(
            f"PSRBench intent {intent!r}: expected one of {list(PSR_INTENTS)}; position is "
            "measured by position_score"
        )
    words = [f"Instruction: {instruction}", PSR_INTENTS[intent]]
    words += [_REFERENCES_TOO] if references else []
    name = f"{'strict_' if references else ''}psr_{intent}"
    return Question("mark", name, "\n\n".join(words), picture, tuple(references), tuple(claims))


_PROMPT_FOLLOWING = (
    "How well does the picture follow the instruction: the scene, what is done in it, how its "
    "parts lie to each other, and every detail it names? The references are shown because the "
    "instruction may speak of them by number; whether a subject still looks like its reference "
    "does not count here."
)
_SUBJECT_CONSISTENCY = (
    "Is every subject of the instruction in the picture the very one that its reference shows: a "
    "person by the face, hair and build, an animal or a thing by its shape, colors, pattern and "
    "material? A subject that is missing, doubled or mixed with another is not itself. What the "
    "instruction changes on purpose (clothes, pose, surroundings) does not count; nor does what "
    "else it says."
)


def omnicontext_questions(
    instruction: str,
    picture: np.ndarray,
    references: Sequence[Shown],
    claims: Sequence[Claim] = (),
) -> dict[str, Question]:
    """OmniContext's two marks (OmniGen2, arXiv 2506.18871): PF, and SC with the references.

    Both show the references, for instructions name them by their number. ``claims`` go with PF:
    that a subject is the very one is measured, not claimed.

    Raises:
        RequestError: no reference.
    """
    if not references:
        raise RequestError("OmniContext: no reference; its marks are about given subjects")
    told = f"Instruction: {instruction}"
    shown = tuple(references)
    return {
        "PF": Question(
            "mark", "omnicontext_pf", f"{told}\n\n{_PROMPT_FOLLOWING}", picture, shown,
            tuple(claims),
        ),
        "SC": Question(
            "mark", "omnicontext_sc", f"{told}\n\n{_SUBJECT_CONSISTENCY}", picture, shown
        ),
    }  # fmt: skip
