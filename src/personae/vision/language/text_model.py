"""What a language model has to offer, with or without eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from personae.errors import RequestError

__all__ = ["Message", "RefusedError", "Reply", "SeeingModel", "TextModel"]


class RefusedError(RequestError):
    """A model will not answer this one question (its content, its length); others it may."""


@dataclass(frozen=True)
class Message:
    """One turn of a talk: who says it, and what; ``pictures`` are PNG files, seen before it."""

    role: Literal["system", "user", "assistant"]
    content: str
    pictures: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Reply:
    """The next turn, and ``served``: the model that gave it, as it calls itself."""

    text: str
    served: str | None = None


class TextModel(Protocol):
    """Answers a talk.

    Attributes:
        name: what the answers depend on, for files: address and model, or a folder.
    """

    name: str

    def complete(self, messages: Sequence[Message]) -> str:
        """The next turn, as text; empty where the model says nothing.

        Raises:
            WorkError: it does not answer, for now.
            RequestError: it will not answer this way: a key, an address, a model's name.
        """
        ...


class SeeingModel(Protocol):
    """Answers a talk with pictures in it.

    Attributes:
        temperature: 0 is the likeliest answer; above, answers are drawn.
        max_tokens: of an answer.
    """

    temperature: float
    max_tokens: int

    @property
    def name(self) -> str:
        """What the answers depend on, for rows: a model and where it is, or its weights' hash."""
        ...

    def reply(
        self,
        messages: Sequence[Message],
        *,
        seed: int | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Reply:
        """The next turn; ``seed`` of the draw, ``schema`` of a JSON answer where it knows such.

        Raises:
            WorkError: it does not answer, for now.
            RefusedError: it will not answer this question.
            RequestError: it will not answer this way: a key, an address, a model's name.
        """
        ...
