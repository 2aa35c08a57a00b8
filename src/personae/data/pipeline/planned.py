"""The step that has a language model write the prompts: for drawing several, and each alone.

PSR (Wang et al., arXiv 2512.01236) asks a language model twice for each set of categories: for one
scene with all subjects, each distinctive, and for each subject in another scene and pose. Their
instructions and their model are not published; the words here are ours, and it is asked once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.plans import COUNTS
from personae.data.pipeline.speaker import Speaker, Talker
from personae.data.pipeline.step import Files
from personae.data.pipeline.telling import (
    PARTS_ASKED,
    Telling,
    check_telling,
    read_model,
    told_words,
)
from personae.errors import DataError, RequestError
from personae.vision.language import Message

__all__ = ["PlanAnswer", "Planned", "check_plan", "plan_question"]

_SALT = 0x11A9
# What a language model is asked for where attributes and actions are to be added by an edit.
_BARE = {"attribute": "background", "action": "background", "complex": "position"}
_MOST = 120

_TASK = (
    """\
You plan pictures for a data set. You are given a task and subjects: an id and a category each.
Write one sentence that describes one picture in which all of the subjects are seen, whole, not
hidden by each other, and nobody and nothing else of their kinds. Name each subject by its id in
braces, such as {a}, and never by its category.

Answer with one JSON object and nothing else:
- "prompt": the sentence, on one line.
"""
    + PARTS_ASKED
    + """\
- "looks": of each id its category with an article and its looks, so distinctive that nobody takes
  one for another: "a gray tabby cat with white paws". No clothes, no action, no place.
- "alone": of each id words that end a sentence about it alone, with another pose, and a place that
  is not that of the sentence: "lying on its side in a meadow".
Leave out attributes, actions and relation where the task does not ask for them. An example:
{"prompt": "{a} and {b} on a kitchen table, {a} left of {b}", "place": "on a kitchen table",
 "relation": ["a", "left of", "b"],
 "looks": {"a": "a gray tabby cat with white paws", "b": "a red enamel teapot with a black lid"},
 "alone": {"a": "lying on its side in a meadow", "b": "seen from above on a stone step"}}
"""
)


class PlanAnswer(Telling):
    """What a language model plans: a sentence, what it tells, and each subject alone."""

    prompt: str
    looks: dict[str, str]
    alone: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A prompt for every plan's categories, by a language model; one that cannot be had is lost.

    Attributes:
        nouns: categories; a plan takes different ones.
        speaker: who is asked. Above temperature 0 each plan draws its own answer.
        seed: of those draws.
    """

    nouns: tuple[str, ...]
    speaker: Speaker
    seed: int = 0
    name: str = "planned"

    def __post_init__(self) -> None:
        most = max(COUNTS.values())
        if len(set(self.nouns)) < most or not all(noun.strip() for noun in self.nouns):
            raise RequestError(
                f"planned.nouns: expected at least {most} different ones, for scenes of so many "
                f"subjects; got {list(self.nouns)}"
            )

    def plan(self, task: str, number: int, seed: int, *, bare: bool = False) -> Mapping[str, Any]:
        """See `Planner`: categories alone, the rest is said by `work`; bare, as another task."""
        rng = np.random.default_rng([_SALT, seed, number])
        ids = "abcd"[: COUNTS.get(task, 2)]
        drawn = rng.choice(sorted(set(self.nouns)), len(ids), replace=False)
        nouns = {"nouns": dict(zip(ids, map(str, drawn), strict=True))}
        return {**nouns, "planned_as": _BARE[task]} if bare else nouns

    def settings(self) -> Mapping[str, Any]:
        """See `Planner` and `Step`."""
        asked = {"speaker": self.speaker.settings(), "seed": self.seed, "words": _TASK}
        return {"planner": "llm", "nouns": list(self.nouns), **asked}

    def build(self) -> Talker:
        """See `Step`."""
        return self.speaker.build(sees=False)

    def work(self, state: Talker, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        made: list[Item] = []
        lost: list[Lost] = []
        for item in items:
            nouns = item.data["nouns"]
            task = item.data.get("planned_as", item.data["task"])
            read = partial(_read, task, nouns)
            seed = int(np.random.default_rng([self.seed, *item.id.encode()]).integers(1 << 31))
            heard = state.ask(plan_question(task, nouns), read, seed)
            if heard.value is None:
                lost.append(heard.lost(item.id))
                continue
            told = heard.value.model_dump(exclude_none=True, exclude_defaults=True)
            made.append(item.child(item.id, self.name, data={**item.data, **told}))
        return Made(tuple(made), tuple(lost))


def plan_question(task: str, nouns: Mapping[str, str]) -> list[Message]:
    """What a model is asked: how plans look, and this one's task and categories as JSON."""
    asked = {"task": task, "which is": told_words(task), "subjects": dict(nouns)}
    return [
        Message("system", _TASK),
        Message("user", json.dumps(asked, indent=1, ensure_ascii=False)),
    ]


def check_plan(task: str, nouns: Mapping[str, str], answer: PlanAnswer) -> None:
    """Is this a plan of the task, with these subjects?

    Raises:
        DataError: a complaint, in words that a model can be told.
    """
    check_telling(task, answer.prompt, nouns, answer)
    for part in ("looks", "alone"):
        said: Mapping[str, str] = getattr(answer, part)
        if set(said) != set(nouns):
            raise DataError(f"{part}: expected one of each of {list(nouns)}; got {sorted(said)}")
        for name, words in said.items():
            if not words.strip() or len(words) > _MOST or re.search(r"[{}\n]", words):
                raise DataError(
                    f"{part}.{name}: expected one line of at most {_MOST} characters without "
                    f"braces; got {words!r:.80}"
                )
    for name, noun in nouns.items():
        if not re.search(rf"\b{re.escape(noun.lower())}\b", answer.looks[name].lower()):
            raise DataError(
                f"looks.{name}: expected words with {noun!r}; got {answer.looks[name]!r}"
            )
        if answer.place.lower() in answer.alone[name].lower():
            raise DataError(f"alone.{name}: expected another place than {answer.place!r}")
    if len({words.lower() for words in answer.looks.values()}) < len(nouns):
        raise DataError("looks: expected different ones; two are the same")


def _read(task: str, nouns: Mapping[str, str], text: str) -> PlanAnswer:
    answer = read_model(text, PlanAnswer)
    check_plan(task, nouns, answer)
    return answer
