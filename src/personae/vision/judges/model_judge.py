"""A vision-language model as a judge: asked, told what was wrong with its answer, asked again."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from personae.errors import DataError, RequestError, WorkError
from personae.vision.judges.answers import answer_schema, read_answer
from personae.vision.judges.judgement import Judgement
from personae.vision.judges.question import Question
from personae.vision.judges.wording import TASKS, talk_about, told_again
from personae.vision.language.text_model import RefusedError, SeeingModel

__all__ = ["Asking", "ModelJudge"]

_SEEDS = 2**31


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a judge is asked.

    Attributes:
        temperature: 0 asks for the likeliest answer (PSRBench's program: 0.2).
        max_tokens: of an answer.
        tries: answers that are read before a question is given up.
        max_side_px: of a picture; larger ones are scaled down.
        structured: keep the model to the answer's JSON schema (OpenAI's ``response_format``);
            endpoints that know no such thing refuse every question.
        silences: unanswered questions in a row from which nothing more is asked.
        num_threads: questions that are asked at once of an endpoint.
    """

    temperature: float = 0.0
    max_tokens: int = 1024
    tries: int = 3
    max_side_px: int = 2048
    structured: bool = False
    silences: int = 5
    num_threads: int = 8

    def __post_init__(self) -> None:
        least = {"max_tokens": 1, "tries": 1, "max_side_px": 16, "silences": 1, "num_threads": 1}
        for name, lowest in {"temperature": 0, **least}.items():
            if not getattr(self, name) >= lowest:
                raise RequestError(f"judge: {name} is at least {lowest}; got {getattr(self, name)}")


class ModelJudge:
    """A judge that is a vision-language model, at an endpoint or in a folder.

    An answer that cannot be read is told back with the complaint, up to ``asking.tries`` times in
    all; then the question is missing, with the last complaint. So is one that the model refuses or
    does not answer at all. After ``asking.silences`` of the last kind in a row the rest is missing
    without being asked: the model is gone, and waiting for it hundreds of times helps nobody.

    Args:
        model: who is asked; its temperature and length of answers are its own.
        asking: how.
    """

    def __init__(self, model: SeeingModel, asking: Asking | None = None) -> None:
        self._model, self._asking = model, asking or Asking()
        self._silences, self._gone, self._counting = 0, "", threading.Lock()

    @property
    def name(self) -> str:
        """See `QuestionJudge`."""
        return self._model.name

    @property
    def num_threads(self) -> int:
        """See `QuestionJudge`."""
        return self._asking.num_threads

    @property
    def settings(self) -> Mapping[str, object]:
        """See `QuestionJudge`."""
        return {
            "model": self._model.name,
            "temperature": self._model.temperature,
            "max_tokens": self._model.max_tokens,
            "tries": self._asking.tries,
            "max_side_px": self._asking.max_side_px,
            "structured": self._asking.structured,
            "tasks": TASKS,
        }

    def judge(self, question: Question, repeat: int = 0) -> Judgement:
        """See `QuestionJudge`."""
        if self._silences >= self._asking.silences:
            return Judgement.missing(
                f"not asked: {self._silences} questions in a row had no answer ({self._gone})"
            )
        try:
            return self._judged(question, _seed(question, repeat))
        except RefusedError as error:
            return Judgement.missing(str(error), tries=1)
        except WorkError as error:
            with self._counting:
                self._silences, self._gone = self._silences + 1, str(error)
            return Judgement.missing(str(error), tries=1)

    def _judged(self, question: Question, seed: int) -> Judgement:
        talk = talk_about(question, self._asking.max_side_px)
        schema = answer_schema(question.kind) if self._asking.structured else None
        complaint = ""
        for number in range(1, self._asking.tries + 1):
            reply = self._model.reply(talk, seed=seed, schema=schema)
            with self._counting:
                self._silences = 0
            try:
                answer = read_answer(reply.text, question.kind)
            except DataError as error:
                complaint = str(error)
                talk = told_again(talk, reply.text, complaint)
                continue
            return Judgement(answer.value, None, answer.reasoning, reply.served, number)
        return Judgement.missing(
            f"{self.name}: no answer that can be used in {self._asking.tries} tries; "
            f"the last complaint: {complaint}",
            self._asking.tries,
        )


def _seed(question: Question, repeat: int) -> int:
    """Of the draw: a function of the question and how often it was asked, never of the order."""
    digest = hashlib.sha256(f"{question.digest} {repeat}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % _SEEDS
