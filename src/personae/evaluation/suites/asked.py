"""What a suite asks a judge about a picture, and which rows become of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol as TypingProtocol

import numpy as np

from personae.metrics.judged import (
    dpg_score,
    omnicontext_overall,
    semantic_alignment,
    strict_dpg_score,
    strict_omnicontext_overall,
    strict_semantic_alignment,
)
from personae.metrics.scoring import Protocol
from personae.subjects.scene import Scene
from personae.vision.judges import (
    Judgement,
    Question,
    QuestionTree,
    Shown,
    omnicontext_questions,
    psr_question,
    tree_questions,
)

__all__ = ["Answers", "Asked", "AskedAlignment", "AskedOverall", "AskedTree"]

_LOOP = 3

Answers = Mapping[str, Sequence[Judgement]]
"""The judgements of each question, the first to the last repeat."""


class Asked(TypingProtocol):
    """Questions about a picture that end in one row for each of ``rows``."""

    @property
    def rows(self) -> tuple[tuple[str, Protocol], ...]:
        """Metric and protocol of each row."""
        ...

    @property
    def repeats(self) -> int:
        """How often each question is asked."""
        ...

    @property
    def needs_references(self) -> bool:
        """Are the references shown?"""
        ...

    def repeated(self, times: int) -> Asked:
        """The same, each question asked so often at least."""
        ...

    def ask(self, scene: Scene, picture: np.ndarray, shown: Sequence[Shown]) -> dict[str, Question]:
        """The questions, by name; ``picture`` is (H, W, 3) uint8."""
        ...

    def score(self, answers: Answers) -> list[float | None]:
        """A value for each of ``rows``, None where the answers give none."""
        ...


@dataclass(frozen=True)
class AskedAlignment:
    """PSRBench's semantic alignment with an intent; ``strict`` shows the references too."""

    intent: str
    strict: bool
    repeats: int = 1

    @property
    def rows(self) -> tuple[tuple[str, Protocol], ...]:
        """See `Asked`."""
        if self.strict:
            return (("strict_semantic_alignment", "strict"),)
        return (("semantic_alignment", "official"),)

    @property
    def needs_references(self) -> bool:
        """See `Asked`."""
        return self.strict

    def repeated(self, times: int) -> AskedAlignment:
        """See `Asked`."""
        return replace(self, repeats=max(times, self.repeats))

    def ask(self, scene: Scene, picture: np.ndarray, shown: Sequence[Shown]) -> dict[str, Question]:
        """See `Asked`."""
        references = shown if self.strict else ()
        return {"mark": psr_question(self.intent, scene.words, picture, references, scene.claims)}

    def score(self, answers: Answers) -> list[float | None]:
        """See `Asked`."""
        marks = [judgement.value for judgement in answers["mark"]]
        return [strict_semantic_alignment(marks) if self.strict else semantic_alignment(marks)]


@dataclass(frozen=True)
class AskedOverall:
    """OmniContext's PF and SC, asked three times as the published loop does.

    Asked more often, the official row is still of the third time.
    """

    repeats: int = _LOOP
    needs_references: bool = True

    @property
    def rows(self) -> tuple[tuple[str, Protocol], ...]:
        """See `Asked`."""
        return (("omnicontext_overall", "official"), ("strict_omnicontext_overall", "strict"))

    def repeated(self, times: int) -> AskedOverall:
        """See `Asked`."""
        return replace(self, repeats=max(times, self.repeats))

    def ask(self, scene: Scene, picture: np.ndarray, shown: Sequence[Shown]) -> dict[str, Question]:
        """See `Asked`."""
        return omnicontext_questions(scene.words, picture, shown, scene.claims)

    def score(self, answers: Answers) -> list[float | None]:
        """See `Asked`."""
        following, consistency = (
            [judgement.value for judgement in answers[name]] for name in ("PF", "SC")
        )
        return [
            omnicontext_overall(following[:_LOOP], consistency[:_LOOP]),
            strict_omnicontext_overall(following, consistency),
        ]


@dataclass(frozen=True)
class AskedTree:
    """DPG: yes or no to each question of a tree; the first answer counts, however often asked."""

    tree: QuestionTree
    repeats: int = 1
    needs_references: bool = False

    @property
    def rows(self) -> tuple[tuple[str, Protocol], ...]:
        """See `Asked`."""
        return (("dpg_score", "official"), ("strict_dpg_score", "strict"))

    def repeated(self, times: int) -> AskedTree:
        """See `Asked`."""
        return replace(self, repeats=max(times, self.repeats))

    def ask(self, scene: Scene, picture: np.ndarray, shown: Sequence[Shown]) -> dict[str, Question]:
        """See `Asked`."""
        del scene, shown
        return tree_questions(self.tree, picture)

    def score(self, answers: Answers) -> list[float | None]:
        """See `Asked`."""
        said = {name: given[0].value for name, given in answers.items()}
        return [dpg_score(said, self.tree.parents), strict_dpg_score(said, self.tree.parents)]
