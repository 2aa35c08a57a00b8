"""Rows of a judge: asked about every picture, kept beside those of the eyes, gone on with later."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from personae.compute.runs import RowLog
from personae.errors import DataError, PersonaeError
from personae.evaluation.judge_agreement import told_repeats
from personae.evaluation.measure import Shot, row
from personae.evaluation.suites.asked import Asked
from personae.metrics.score import Score
from personae.subjects.picture import read_picture
from personae.subjects.references import load_reference
from personae.vision.judges import Judgement, Question, QuestionJudge, Shown, judge_many

__all__ = ["JudgingAccount", "judge_shots"]

Progress = Callable[[int, int], None]
Stamper = Callable[[Shot], str]

_MARK = "judge"
# The stamp of a picture of which something was not judged: it is asked about again.
_UNANSWERED = "unanswered"


@dataclass(frozen=True)
class JudgingAccount:
    """What became of a judge's work.

    Attributes:
        num_pictures: to be judged, each question set of a picture counted.
        num_judged: of them, those with every value, now or before.
        num_missing: of them, those the judge gave no value for.
        num_not_asked: of them, those that it was not asked about, because it stopped.
        stopped: why it stopped; "" where it did not.
        reasons: why values are missing, and how often.
        without_value: the pictures that the judge gave no value for, or was not asked about.
    """

    num_pictures: int
    num_judged: int
    num_missing: int
    num_not_asked: int
    stopped: str
    reasons: Mapping[str, int]
    without_value: tuple[str, ...] = ()


def judge_shots(
    judge: QuestionJudge,
    asked: Mapping[str, Sequence[Asked]],
    shots: Sequence[Shot],
    log: RowLog,
    stamp: Stamper,
    progress: Progress | None = None,
) -> JudgingAccount:
    """Ask what each scene is ``asked`` about each of its pictures, and append the rows.

    A picture that was judged before, of the same files with the same questions by the same judge,
    is not asked about again; one with a missing answer is. An error of the judge ends the asking:
    what was answered is kept, what was not asked about gets no row, and the account says so.
    """
    wanted = {
        _key(judge, one, shot): (one, shot)
        for shot in shots
        for one in asked.get(shot.scene.id, ())
    }
    stamps = {key: _stamp(judge, one, stamp(shot)) for key, (one, shot) in wanted.items()}
    stale = [
        key for key, before in log.done.items() if _is_of(key, judge) and before != stamps.get(key)
    ]
    if stale:
        log.drop(stale)
    missing = [key for key in wanted if key not in log.done]
    todo = iter([(key, *wanted[key]) for key in missing])
    reasons: dict[str, int] = {}
    num_done, stopped = 0, ""
    silent: list[str] = []
    size = max(1, 2 * judge.num_threads)
    try:
        while block := list(islice(todo, size)):
            for key, rows in _judged(judge, block):
                said = [item["unmeasured"] for item in rows if item["unmeasured"]]
                log.append(key, _UNANSWERED if said else stamps[key], rows)
                num_done += 1
                silent += [key] if said else []
                for reason in dict.fromkeys(said):
                    reasons[reason] = reasons.get(reason, 0) + 1
                if progress is not None:
                    progress(len(wanted) - len(missing) + num_done, len(wanted))
    except PersonaeError as error:
        stopped = str(error)
    left = missing[num_done:]
    return JudgingAccount(
        num_pictures=len(wanted),
        num_judged=len(wanted) - len(left) - len(silent),
        num_missing=len(silent),
        num_not_asked=len(left),
        stopped=stopped,
        reasons=reasons,
        without_value=tuple(dict.fromkeys(_picture(wanted[key][1]) for key in [*silent, *left])),
    )


def _picture(shot: Shot) -> str:
    """As the account names it."""
    return shot.scene.id if shot.seed is None else f"{shot.scene.id}, seed {shot.seed}"


Item = tuple[str, Asked, Shot]


def _judged(
    judge: QuestionJudge, block: Sequence[Item]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Rows of each picture of a block, in its order; questions of the whole block at once."""
    plans = [(key, one, shot, _questions(one, shot)) for key, one, shot in block]
    flat = [
        question
        for _, _, _, questions in plans
        if not isinstance(questions, str)
        for question in questions.values()
    ]
    repeats = max(one.repeats for _, one, _ in block)
    answers = judge_many(judge, flat, repeats=repeats)
    for key, one, shot, questions in plans:
        if isinstance(questions, str):
            yield key, _rows(judge, one, shot, [questions] * len(one.rows))
            continue
        given = {name: next(answers)[: one.repeats] for name in questions}
        rows = _rows(judge, one, shot, _values(one, given))
        if one.repeats > 1:
            # Once a picture: the rows of two protocols rest on the same answers.
            rows[0]["details"] = {"repeats": told_repeats(questions, given)}
        yield key, rows


def _questions(one: Asked, shot: Shot) -> dict[str, Question] | str:
    """What is asked about a picture, or why nothing can be."""
    if shot.path is None:
        return "the scene has no picture"
    try:
        picture = read_picture(shot.path)
        shown = _references(shot) if one.needs_references else []
        return one.ask(shot.scene, picture, shown)
    except PersonaeError as error:
        return str(error)


def _references(shot: Shot) -> list[Shown]:
    """Every reference of every subject.

    Raises:
        DataError: one cannot be read: without it the question would be another one.
    """
    return [
        Shown(load_reference(file).image, name, subject.noun)
        for name, subject in shot.scene.subjects.items()
        for file in subject.references
    ]


def _values(one: Asked, given: Mapping[str, Sequence[Judgement]]) -> list[float | str]:
    try:
        values = one.score(given)
    except DataError as error:
        return [str(error)] * len(one.rows)
    silent = [item.reason for answers in given.values() for item in answers if item.reason]
    reason = silent[0] if silent else "the answers give no value"
    return [reason if value is None else value for value in values]


def _rows(
    judge: QuestionJudge, one: Asked, shot: Shot, values: Sequence[float | str]
) -> list[dict[str, Any]]:
    return [
        row(
            shot,
            protocol,
            judge.name,
            Score.unmeasured(metric, value)
            if isinstance(value, str)
            else Score.of(metric, float(value)),
        )
        for (metric, protocol), value in zip(one.rows, values, strict=True)
    ]


def _key(judge: QuestionJudge, one: Asked, shot: Shot) -> str:
    metrics = "+".join(metric for metric, _ in one.rows)
    return "|".join([shot.scene.id, str(shot.seed), _MARK, f"{metrics}={_name(judge)}"])


def _name(judge: QuestionJudge) -> str:
    """Keys of the log are parted by bars."""
    return judge.name.replace("|", "/")


def _is_of(key: str, judge: QuestionJudge) -> bool:
    parts = key.rsplit("|", 2)
    return len(parts) == 3 and parts[1] == _MARK and parts[2].endswith(f"={_name(judge)}")


def _stamp(judge: QuestionJudge, one: Asked, of_picture: str) -> str:
    """Changes with the picture, its scene and references, the questions and how they are asked."""
    told = repr((of_picture, one, sorted(map(str, judge.settings.items()))))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
