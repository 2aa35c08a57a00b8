"""The step that writes the words to train on: by the plan, or by a model that sees the picture.

In PSR (Wang et al., arXiv 2512.01236) a multimodal model describes the final picture again as the
instruction, and may not say how a subject looks, so that the references cannot be left unread. Its
instructions and its name are not published; the words here are ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.located import subject_boxes
from personae.data.pipeline.speaker import Speaker, Talker, picture_bytes
from personae.data.pipeline.step import Files
from personae.data.pipeline.telling import (
    PARTS_ASKED,
    Telling,
    check_names,
    check_telling,
    read_model,
    told_words,
)
from personae.errors import DataError, RequestError
from personae.metrics.position import relation_of, strict_position_score
from personae.subjects.box import Box
from personae.vision.language import Message

__all__ = ["CannotAnswer", "CaptionAnswer", "Captioned", "caption_question"]

_UNSHOWN = "the picture does not show who is where"
_TASK = (
    """\
You write the instruction for a picture, from which it could be made by somebody who has a photo of
each subject. You are shown the picture, and told a task and the subjects: an id, a category, and
the box [left, top, right, bottom] around it, as fractions of the picture; 0, 0 is the top left
corner. Write one sentence that says what the picture shows of the task, and nothing that it does
not show. Name each subject exactly once, by its id in braces, such as {a}, and never by its
category. Never say how a subject looks (color, breed, shape, material): the photos show it.

Answer with one JSON object and nothing else:
- "caption": the sentence, on one line.
"""
    + PARTS_ASKED
    + """\
Leave out attributes, actions and relation where the task does not ask for them. An example:
{"caption": "On a kitchen table, {a} lies left of {b}", "place": "on a kitchen table",
 "relation": ["a", "left of", "b"]}
Where the picture does not show what the task asks for, answer {"cannot": "what is missing"}.
"""
)


class CaptionAnswer(Telling):
    """A sentence, and what it tells."""

    caption: str


class CannotAnswer(BaseModel):
    """That the picture does not show its task, and what is missing."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    cannot: str


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """``caption`` of each item: its prompt to train on, subjects by their ids in braces.

    Whether the subjects lie to each other as it says is looked at in pictures that a model drew;
    of faces, whose bodies are not known, in the four directions alone.

    Attributes:
        speaker: a vision-language model, told task, nouns and boxes; what it says is checked
            strictly. None: the plan's own words stand.
        least_position: `strict_position_score` of a relation that is told; 0 asks nothing.
        seed: of a model's draws.
    """

    speaker: Speaker | None = None
    least_position: float = 0.5
    seed: int = 0
    name: str = "captioned"

    def __post_init__(self) -> None:
        if not 0 <= self.least_position <= 1:
            raise RequestError(
                f"captioned.least_position: expected 0 to 1; got {self.least_position}"
            )

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        told = {"least_position": self.least_position}
        if self.speaker is None:
            return told
        return {**told, "speaker": self.speaker.settings(), "seed": self.seed, "words": _TASK}

    def build(self) -> Talker | None:
        """See `Step`."""
        return None if self.speaker is None else self.speaker.build(sees=True)

    def work(self, state: Talker | None, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        made: list[Item] = []
        lost: list[Lost] = []
        for item in items:
            told = self._planned(item) if state is None else self._seen(state, item, files)
            if isinstance(told, Lost):
                lost.append(told)
            else:
                made.append(item.child(item.id, self.name, data={**item.data, **told}))
        return Made(tuple(made), tuple(lost))

    def _planned(self, item: Item) -> dict[str, Any] | Lost:
        check_names(item.data["prompt"], list(item.data["nouns"]))
        relation = item.data.get("relation")
        if relation and "world" not in item.data and not self._shows(item, relation):
            return Lost(item.id, _UNSHOWN, detail=" ".join(relation))
        return {"caption": item.data["prompt"]}

    def _seen(self, talker: Talker, item: Item, files: Files) -> dict[str, Any] | Lost:
        assert self.speaker is not None
        picture = files.picture(item)
        png = picture_bytes(picture, self.speaker.max_side_px)
        talk = caption_question(item, subject_boxes(item), picture.shape[:2], png)
        seed = int(np.random.default_rng([self.seed, *item.id.encode()]).integers(1 << 31))
        heard = talker.ask(talk, partial(self._read, item), seed)
        if heard.value is None:
            return heard.lost(item.id)
        if isinstance(heard.value, CannotAnswer):
            detail = heard.value.cannot[:200]
            return Lost(item.id, "the picture does not show its task", detail=detail)
        told: dict[str, Any] = {"caption": heard.value.caption, "relation": heard.value.relation}
        return told

    def _read(self, item: Item, text: str) -> CaptionAnswer | CannotAnswer:
        try:
            return read_model(text, CannotAnswer)
        except DataError:
            answer = read_model(text, CaptionAnswer)
        check_telling(item.data["task"], answer.caption, item.data["nouns"], answer, once=True)
        if answer.relation and not self._shows(item, answer.relation):
            raise DataError(f"relation: the boxes say that {answer.relation} is not so")
        return answer

    def _shows(self, item: Item, relation: Sequence[str]) -> bool:
        """Do the boxes lie as the relation says, as far as they can tell?"""
        first, words, second = relation
        if relation_of(words) == "next to" and "things" not in item.data:
            return True
        boxes = subject_boxes(item)
        pair = np.array([boxes[first].xyxy, boxes[second].xyxy], np.float64)
        return float(strict_position_score(pair, words)) >= self.least_position


def caption_question(
    item: Item, boxes: Mapping[str, Box], shape: tuple[int, int], picture: bytes
) -> list[Message]:
    """What a model is asked: how captions look, the picture, and its task and subjects as JSON."""
    frame = (shape[1], shape[0], shape[1], shape[0])
    subjects = {
        name: {
            "is": noun,
            "box": [round(v / side, 3) for v, side in zip(boxes[name].xyxy, frame, strict=True)],
        }
        for name, noun in item.data["nouns"].items()
    }
    task = item.data["task"]
    asked = {"task": task, "which is": told_words(task), "subjects": subjects}
    return [
        Message("system", _TASK),
        Message("user", json.dumps(asked, indent=1, ensure_ascii=False), (picture,)),
    ]
