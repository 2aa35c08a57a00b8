"""Judgements kept on disk: what was asked, of whom and how, and what the answer was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from personae.compute.runs import make_folder, write_json
from personae.vision.judges.judgement import Judgement, QuestionJudge
from personae.vision.judges.question import HIGHEST_MARK, Question

__all__ = ["KeptJudge", "judgement_key"]

_FORMAT = 1


class _Kept(BaseModel):
    """A file of the cache; what is not exactly this is asked again."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    format: Literal[1]
    key: str
    asked: dict[str, Any]
    value: float
    reasoning: str
    served: str | None
    tries: int


def judgement_key(judge: QuestionJudge, question: Question, repeat: int) -> str:
    """SHA-256 of all that an answer depends on, and of how often it was asked before."""
    told = {
        "format": _FORMAT,
        "judge": judge.name,
        "settings": judge.settings,
        "question": question.digest,
        "repeat": repeat,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class KeptJudge:
    """A judge whose answers are kept in a folder, one small file each, and read back from there.

    Files are written whole or not at all, so several threads and processes may share the folder.
    What could not be judged is not kept: it is asked again the next time. A file that is damaged,
    or not of this question, is asked again too.

    Args:
        judge: who is asked what is not kept.
        folder: where, made if it is not there.

    Raises:
        WorkError: the folder cannot be made, or (when an answer is there) not written: answers
            that cost money or hours are never lost in silence.
    """

    def __init__(self, judge: QuestionJudge, folder: Path) -> None:
        self._judge, self._folder = judge, make_folder(folder)

    @property
    def name(self) -> str:
        """See `QuestionJudge`."""
        return self._judge.name

    @property
    def num_threads(self) -> int:
        """See `QuestionJudge`."""
        return self._judge.num_threads

    @property
    def settings(self) -> Mapping[str, object]:
        """See `QuestionJudge`."""
        return self._judge.settings

    def judge(self, question: Question, repeat: int = 0) -> Judgement:
        """See `QuestionJudge`."""
        key = judgement_key(self._judge, question, repeat)
        path = self._folder / key[:2] / f"{key}.json"
        found = _read(path, key, question)
        if found is not None:
            return found
        said = self._judge.judge(question, repeat)
        if said.value is not None:
            asked = _asked(self._judge, question, repeat)
            served = None if said.served is None else _readable(said.served)
            said = replace(said, reasoning=_readable(said.reasoning), served=served)
            kept = {**asdict(said), "format": _FORMAT, "key": key, "asked": asked}
            del kept["reason"]
            make_folder(path.parent)
            write_json(path, kept)
        return said


def _read(path: Path, key: str, question: Question) -> Judgement | None:
    try:
        kept = _Kept.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    allowed = (
        0 <= kept.value <= HIGHEST_MARK if question.kind == "mark" else kept.value in (0.0, 1.0)
    )
    if kept.key != key or not allowed:
        return None
    return Judgement(kept.value, None, kept.reasoning, kept.served, kept.tries)


def _asked(judge: QuestionJudge, question: Question, repeat: int) -> dict[str, Any]:
    """For who looks into the file: nothing of it is read back."""
    return {
        "judge": judge.name,
        "kind": question.kind,
        "criterion": question.criterion,
        "words": question.words,
        "references": len(question.references),
        "question": question.digest,
        "repeat": repeat,
    }


def _readable(text: str) -> str:
    """Without halves of surrogate pairs, which JSON may hold and no reader of UTF-8 takes."""
    return text.encode("utf-8", "replace").decode()
