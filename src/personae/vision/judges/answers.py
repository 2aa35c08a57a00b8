"""A judge's answer read strictly: the right type, in the range, and nothing beside it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personae.errors import DataError
from personae.vision.judges.question import HIGHEST_MARK, QuestionKind
from personae.vision.language.json_answers import read_json_object

__all__ = ["MarkAnswer", "YesNoAnswer", "answer_schema", "read_answer"]

_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class MarkAnswer(BaseModel):
    """A mark from 0 to 10, and why."""

    model_config = _STRICT
    reasoning: str = ""
    score: float = Field(ge=0, le=HIGHEST_MARK)

    @property
    def value(self) -> float:
        """The mark."""
        return self.score


class YesNoAnswer(BaseModel):
    """One of two words, and why."""

    model_config = _STRICT
    reasoning: str = ""
    answer: Literal["yes", "no"]

    @property
    def value(self) -> float:
        """1 for yes, 0 for no."""
        return float(self.answer == "yes")


_ANSWERS: dict[QuestionKind, type[MarkAnswer] | type[YesNoAnswer]] = {
    "mark": MarkAnswer,
    "yes_no": YesNoAnswer,
}


def read_answer(text: str, kind: QuestionKind) -> MarkAnswer | YesNoAnswer:
    """The answer, or a complaint; nothing is clipped, rounded, searched for or guessed.

    One JSON object as `read_json_object` takes it, ``{"reasoning": text, "score": number}`` or
    ``{"reasoning": text, "answer": "yes" or "no"}``; the reasoning may be left out.

    Raises:
        DataError: a complaint, in words that a model can be told.

    >>> read_answer('{"score": 7.5}', "mark").value
    7.5
    >>> read_answer('{"score": 11}', "mark")
    Traceback (most recent call last):
    personae.errors.DataError: score: Input should be less than or equal to 10; got 11
    """
    data = read_json_object(text)
    try:
        return _ANSWERS[kind].model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        got = "" if first["type"] == "missing" else f"; got {_brief(first['input'])}"
        raise DataError(f"{where}: {first['msg']}{got}") from None


def answer_schema(kind: QuestionKind) -> dict[str, Any]:
    """JSON schema of an answer, for endpoints that keep a model to one; all keys are wanted.

    >>> answer_schema("yes_no")["required"]
    ['reasoning', 'answer']
    """
    schema = _ANSWERS[kind].model_json_schema()
    properties = {
        name: {key: value for key, value in item.items() if key not in ("default", "title")}
        for name, item in schema["properties"].items()
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
