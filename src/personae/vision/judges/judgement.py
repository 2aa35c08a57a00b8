"""What a judge says of a question, and what every judge has to offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from personae.vision.judges.question import Question

__all__ = ["Judgement", "QuestionJudge"]


@dataclass(frozen=True)
class Judgement:
    """A mark (0 to 10), or a yes (1) or no (0); or why there is none.

    Exactly one of ``value`` and ``reason`` is there. ``reasoning`` is what the judge said about it,
    ``served`` the model that answered, as it calls itself, ``tries`` how often it was asked until
    its answer could be read.

    >>> Judgement.missing("status 500").value is None
    True
    """

    value: float | None
    reason: str | None = None
    reasoning: str = ""
    served: str | None = None
    tries: int = 1

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"a value or a reason; got {self.value!r} and {self.reason!r}")

    @classmethod
    def missing(cls, reason: str, tries: int = 0) -> Judgement:
        """It could not be judged, and why."""
        return cls(None, reason, tries=tries)


class QuestionJudge(Protocol):
    """Answers questions about pictures."""

    @property
    def name(self) -> str:
        """As rows call it: what was judged by judges of other names is not comparable."""
        ...

    @property
    def num_threads(self) -> int:
        """How many may ask it at once."""
        ...

    @property
    def settings(self) -> Mapping[str, object]:
        """All that an answer depends on beside the question: model, wording, temperature, ..."""
        ...

    def judge(self, question: Question, repeat: int = 0) -> Judgement:
        """What it says; ``repeat`` counts how often the same was asked before.

        A question that it cannot answer is a `Judgement` with the reason, never an error.

        Raises:
            RequestError: nothing can be asked this way: a key, an address, a model's name.
            WeightsError: its weights cannot be read.
        """
        ...
