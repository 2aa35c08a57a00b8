"""What a language model has to offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Message", "TextModel"]


@dataclass(frozen=True)
class Message:
    """One turn of a talk: who says it, and what."""

    role: Literal["system", "user", "assistant"]
    content: str


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
