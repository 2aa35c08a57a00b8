"""Yes-or-no questions that hang on each other, as DPG-Bench and XVerseBench keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from personae.compute.runs import read_json
from personae.errors import DataError
from personae.vision.judges.question import Question

__all__ = ["QuestionTree", "read_question_trees", "tree_questions"]

_NO_PARENT = 0


@dataclass(frozen=True)
class QuestionTree:
    """What is asked of a prompt.

    ``questions`` by their number, ``parents`` the numbers of those that have to be answered yes for
    a question to make sense; both in the order of the file.

    Raises:
        DataError: a parent that is no question, or questions that wait for each other.
    """

    prompt: str
    questions: Mapping[str, str]
    parents: Mapping[str, tuple[str, ...]]
    where: str = "(in memory)"

    def __post_init__(self) -> None:
        if not self.questions:
            raise DataError(f"{self.where}: no question; expected at least one")
        if set(self.parents) != set(self.questions):
            raise DataError(
                f"{self.where}: dependencies of {sorted(self.parents)}, questions "
                f"{sorted(self.questions)}; expected the same numbers"
            )
        for name, parents in self.parents.items():
            for parent in parents:
                if parent not in self.questions:
                    raise DataError(f"{self.where}: question {name} hangs on {parent}: not there")
        try:
            tuple(TopologicalSorter(self.parents).static_order())
        except CycleError as error:
            raise DataError(
                f"{self.where}: questions {error.args[1]} wait for each other; expected a tree"
            ) from None


class _Entry(BaseModel):
    """An item of a ``*_DSG.json``."""

    model_config = ConfigDict(strict=True)
    prompt: str
    qid2question: dict[str, Annotated[str, Field(min_length=1)]]
    qid2dependency: dict[str, list[int]]


def read_question_trees(path: Path) -> list[QuestionTree]:
    """The trees of a ``*_DSG.json``: a list of ``prompt, qid2question, qid2dependency``.

    A dependency on 0 is none; ``qid2tuple`` (what a question is about) is not looked at. A parent
    may come behind its child (XVerseBench has one).

    Raises:
        DataError: no such file or another shape; it names the item.
    """
    try:
        entries = TypeAdapter(list[_Entry]).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: item {place}: {first['msg']}") from None
    return [_tree(entry, f"{path}: item {number}") for number, entry in enumerate(entries)]


def tree_questions(tree: QuestionTree, picture: np.ndarray) -> dict[str, Question]:
    """Each question by its number, put to a picture (H, W, 3) uint8."""
    return {
        name: Question("yes_no", "dpg", words, picture) for name, words in tree.questions.items()
    }


def _tree(entry: _Entry, where: str) -> QuestionTree:
    parents = {
        name: tuple(str(number) for number in numbers if number != _NO_PARENT)
        for name, numbers in entry.qid2dependency.items()
    }
    return QuestionTree(entry.prompt, entry.qid2question, parents, where)
