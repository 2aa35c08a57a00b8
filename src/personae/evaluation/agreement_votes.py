"""Answers of people, freed from sheets and sides: who was attentive, and who voted for what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from personae.evaluation.survey_design import Place
from personae.evaluation.survey_files import (
    ASPECTS,
    Answer,
    Answers,
    Key,
    KeyQuestion,
    SubjectAnswer,
)

__all__ = [
    "PairVote",
    "PictureVote",
    "Rater",
    "judge_rater",
    "majority",
    "pair_votes",
    "picture_votes",
]


@dataclass(frozen=True)
class Rater:
    """How attentively a sheet was answered.

    ``checks`` are questions with known answers, ``same`` of ``repeats`` answers (one a subject or
    an aspect) came out the same when asked again. ``left_out`` says why this rater does not count.
    """

    rater: int
    checks_right: int
    checks: int
    same: int
    repeats: int
    median_seconds: float
    left_out: str | None


@dataclass(frozen=True)
class PictureVote:
    """What a rater says of a model's picture: by subject, is it there once, and itself?

    None: cannot tell, which is no vote.
    """

    rater: int
    model: str
    place: Place
    subjects: tuple[bool | None, ...]

    @property
    def success(self) -> bool | None:
        """Every subject is: False as soon as one is not, None where one cannot be told."""
        if False in self.subjects:
            return False
        return None if None in self.subjects else True


@dataclass(frozen=True)
class PairVote:
    """What a rater says of two models' pictures at a place, models in the key's order.

    ``better`` has for each aspect 1 where the first is better, 0 the second, 0.5 equal.
    """

    rater: int
    first: str
    second: str
    place: Place
    better: dict[str, float]


def judge_rater(answers: Answers, key: Key, least_checks: float, least_consistency: float) -> Rater:
    """How attentive a rater was, and whether they count.

    Left out below ``least_checks`` of the checks right, or below ``least_consistency`` of the
    repeated answers the same; both are shares in [0, 1].
    """
    sheet = {question.id: question for question in key.sheet(answers.rater)}
    given = {answer.question: answer for answer in answers.answers}
    rights = [_is_right(given[q.id], q) for q in sheet.values() if q.expected is not None]
    again = [
        agreed
        for question in sheet.values()
        if question.repeats is not None
        for agreed in _sames(given[question.repeats], given[question.id], question)
    ]
    reasons = []
    for name, found, least in (
        ("checks right", rights, least_checks),
        ("repeated answers the same", again, least_consistency),
    ):
        if found and sum(found) < least * len(found):
            reasons.append(f"{sum(found)} of {len(found)} {name}, needed {least:.0%}")
    return Rater(
        answers.rater,
        checks_right=sum(rights),
        checks=len(rights),
        same=sum(again),
        repeats=len(again),
        median_seconds=median(answer.ms for answer in answers.answers) / 1000,
        left_out="; ".join(reasons) or None,
    )


def picture_votes(sheets: Iterable[Answers], key: Key) -> list[PictureVote]:
    """Every vote on a single picture; checks and repeats are none."""
    votes = []
    for rater, question, answer in _counted(sheets, key, "each"):
        shown = key.pictures[question.shown[0]]
        subjects = tuple(_subject(said) for said in answer.subjects or ())
        place = Place(str(shown.scene), int(shown.seed or 0))
        votes.append(PictureVote(rater, str(shown.model), place, subjects))
    return votes


def pair_votes(sheets: Iterable[Answers], key: Key) -> list[PairVote]:
    """Every vote on two pictures, turned back to the key's order of models."""
    order = list(key.models)
    votes = []
    for rater, question, answer in _counted(sheets, key, "pair"):
        left, right = (key.pictures[place] for place in question.shown)
        turned = order.index(str(left.model)) > order.index(str(right.model))
        first, second = (right, left) if turned else (left, right)
        better = {}
        for aspect in ASPECTS:
            value = {"left": 1.0, "right": 0.0, "equal": 0.5}[getattr(answer.better, aspect)]
            better[aspect] = 1 - value if turned else value
        place = Place(question.scene, int(first.seed or 0))
        votes.append(PairVote(rater, str(first.model), str(second.model), place, better))
    return votes


def majority(votes: Sequence[bool | None]) -> bool | None:
    """What more than half of the votes say; None (undecided) in a tie or without a vote.

    >>> majority([True, True, False, None]), majority([True, False])
    (True, None)
    """
    yes, no = votes.count(True), votes.count(False)
    return None if yes == no else yes > no


def _counted(
    sheets: Iterable[Answers], key: Key, kind: str
) -> Iterable[tuple[int, KeyQuestion, Answer]]:
    for answers in sheets:
        given = {answer.question: answer for answer in answers.answers}
        for question in key.sheet(answers.rater):
            if question.kind == kind and question.expected is None and question.repeats is None:
                yield answers.rater, question, given[question.id]


def _subject(said: SubjectAnswer) -> bool | None:
    """There once, and closely resembling; None where the rater cannot tell."""
    if "no" in (said.appears, said.resembles):
        return False
    return None if "unclear" in (said.appears, said.resembles) else True


def _is_right(answer: Answer, question: KeyQuestion) -> bool:
    """Is the known answer given? Where nobody is there, all but a clear yes is right."""
    if answer.better is not None:
        return answer.better.subjects == question.expected
    subjects = [_subject(said) for said in answer.subjects or ()]
    return all(subjects) if question.expected == "yes" else True not in subjects


def _sames(before: Answer, after: Answer, question: KeyQuestion) -> list[bool]:
    """For each subject or aspect: the same answer again? The second time sides are turned."""
    if before.better is None or after.better is None:
        pairs = zip(before.subjects or (), after.subjects or (), strict=True)
        return [_subject(first) == _subject(second) for first, second in pairs]
    other = {"left": "right", "right": "left", "equal": "equal"}
    return [
        getattr(before.better, aspect) == other[getattr(after.better, aspect)] for aspect in ASPECTS
    ]
