"""Layouts by a language model: asked in words, answered in JSON, told what was wrong with it."""

from __future__ import annotations

import json

from personae.errors import DataError, RequestError
from personae.generation.layout_answers import read_answer
from personae.generation.planners import LayoutRequest
from personae.subjects.layout import Layout
from personae.vision.language.text_model import Message, TextModel

__all__ = ["LanguagePlanner", "question"]

_TASK = """\
You plan where subjects stand in a picture. You are given the picture's size in pixels, its
description, in which each subject stands in braces, and of each subject what it is, how wide it is
for its height (aspect), and where sizes matter its height against the tallest (relative_height).

Answer with one JSON object and nothing else: for each subject its id and its box
[left, top, right, bottom], as fractions of the picture from 0 to 1; left and right are fractions of
the width, top and bottom of the height, and 0, 0 is the top left corner. For example:
{"dog": [0.1, 0.4, 0.45, 0.95], "girl": [0.5, 0.1, 0.9, 0.95]}

Rules:
- Every subject once, and nobody else. Order them from back to front.
- The boxes do what the description says: who is left of, above, on, behind, next to whom, who
  chases or hugs whom.
- Each box has about the aspect of its subject, in pixels, and is as large as the picture allows.
- Heights have the ratios of relative_height where it is given.
- Boxes do not overlap, unless the description wants subjects to touch or to hide one another.
"""


class LanguagePlanner:
    """Asks a language model for a layout, and again with the complaint while the answer is bad.

    Args:
        text_model: who is asked.
        tries: answers that are read before it is given up.

    Raises:
        RequestError: no try.
    """

    name = "llm"

    def __init__(self, text_model: TextModel, *, tries: int = 3) -> None:
        if tries < 1:
            raise RequestError(f"tries {tries}: expected at least 1")
        self._text_model, self._tries = text_model, tries
        self.model = text_model.name

    def plan(self, request: LayoutRequest) -> Layout:
        """A box for every subject, as the model says; never guessed.

        Raises:
            DataError: no answer was a layout; it says the scene and the last complaint.
            WorkError: the model does not answer.
        """
        talk = question(request)
        complaint = ""
        for _ in range(self._tries):
            answer = self._text_model.complete(talk)
            try:
                return read_answer(answer, request)
            except DataError as error:
                complaint = str(error)
            talk = [
                *talk,
                Message("assistant", answer[:2000] or "(nothing)"),
                Message("user", f"That cannot be used: {complaint}. Answer with the JSON alone."),
            ]
        scene = request.scene
        raise DataError(
            f"{scene.where}: no layout of scene {scene.id!r} by {self.model} in {self._tries} "
            f"tries; the last complaint: {complaint}; try another model, or --layout planned"
        )


def question(request: LayoutRequest) -> list[Message]:
    """What a model is asked: the task, and the picture as JSON."""
    width, height = request.size
    subjects = {
        name: {
            "is": subject.noun,
            "aspect": round(request.aspects[name] * width / height, 3),
            **({"relative_height": round(request.sizes[name], 3)} if request.sizes else {}),
        }
        for name, subject in request.scene.subjects.items()
    }
    asked = {
        "picture": {"width": width, "height": height},
        "description": request.scene.prompt,
        "subjects": subjects,
    }
    if relation := request.scene.relation:
        asked["relation"] = [relation.first, relation.words, relation.second]
    return [
        Message("system", _TASK),
        Message("user", json.dumps(asked, indent=1, ensure_ascii=False)),
    ]
