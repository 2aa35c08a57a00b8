"""The files of a survey: the key that stays with the researcher, and the answers that come back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personae.errors import DataError

__all__ = [
    "ASPECTS",
    "Answer",
    "Answers",
    "Better",
    "Expected",
    "Key",
    "KeyPicture",
    "KeyQuestion",
    "Kind",
    "SubjectAnswer",
    "read_all_answers",
    "read_answers",
    "read_key",
]

Kind = Literal["each", "pair"]
Expected = Literal["yes", "no", "left", "right"]
Said = Literal["yes", "no", "unclear"]
Side = Literal["left", "right", "equal"]
ASPECTS = ("subjects", "text", "naturalness")
"""What two pictures are compared by, in the order of the page (MuDI's questions)."""


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class KeyPicture(_Checked):
    """A picture that the page shows: one of a model's, or one made for checks of attention.

    ``references`` is the scene's reference photos side by side, ``plain`` a gray square.
    ``sha256`` (of the file) tells whether the picture is still the one that people judged.
    """

    what: Literal["picture", "references", "plain"]
    model: str | None = None
    scene: str | None = None
    seed: int | None = None
    image: str | None = None
    sha256: str | None = None


class KeyQuestion(_Checked):
    """A question on a sheet: what was asked, what was shown (left first), and why.

    ``expected`` is the known answer of a check: ``yes`` (every subject is there and itself),
    ``no`` (none is), ``left`` or ``right`` (by subjects). ``repeats`` is the question that this
    one asks again.
    """

    id: str
    rater: int = Field(ge=1)
    kind: Kind
    scene: str
    shown: tuple[int, ...] = Field(strict=False)
    expected: Expected | None = None
    repeats: str | None = None


class Key(_Checked):
    """key.json: what the page does not say.

    ``models`` names each results folder, relative to the key; ``judges`` how many raters each
    question goes to; ``scenes`` the subjects of a scene in the order in which they are asked.
    """

    format: Literal["personae.survey.key"]
    version: Literal[1]
    survey: str
    seed: int
    raters: int = Field(ge=1)
    judges: dict[Kind, int]
    models: dict[str, str]
    scenes: dict[str, list[str]]
    pictures: list[KeyPicture]
    questions: list[KeyQuestion]

    def sheet(self, rater: int) -> list[KeyQuestion]:
        """The questions of a rater, in the order in which they are asked."""
        return [question for question in self.questions if question.rater == rater]


class SubjectAnswer(_Checked):
    """Is a subject in the picture, exactly once; and if so, does it closely resemble?"""

    appears: Said
    resembles: Said | None = None


class Better(_Checked):
    """Which of two pictures is better, by each aspect; sides as the page showed them."""

    subjects: Side
    text: Side
    naturalness: Side


class Answer(_Checked):
    """One question answered: ``subjects`` of one picture, or ``better`` of two; time on it."""

    question: str
    ms: int = Field(ge=0)
    subjects: list[SubjectAnswer] | None = None
    better: Better | None = None


class Answers(_Checked):
    """What a rater sends back."""

    format: Literal["personae.survey.answers"]
    version: Literal[1]
    survey: str
    rater: int = Field(ge=1)
    answers: list[Answer]


Model = TypeVar("Model", Key, Answers)


def read_key(path: Path) -> Key:
    """Read key.json.

    Raises:
        DataError: missing, or not a key; the message says where in it.
    """
    key = _read(path, Key)
    for place, question in enumerate(key.questions):
        if any(not 0 <= shown < len(key.pictures) for shown in question.shown):
            raise DataError(
                f"{path}: questions[{place}].shown: expected places among {len(key.pictures)} "
                f"pictures; got {list(question.shown)}; take the key that survey wrote"
            )
    return key


def read_all_answers(paths: Sequence[Path], key: Key) -> list[Answers]:
    """Read every file of answers, by rater; a folder stands for its ``*.json`` and ``*.txt``.

    Raises:
        DataError: a file that is broken, half, of another survey, or a second one of a rater.
    """
    found: dict[int, tuple[Path, Answers]] = {}
    for path in _files(paths):
        answers = read_answers(path, key)
        if answers.rater in found:
            raise DataError(
                f"{path}: rater {answers.rater} has answered already, in "
                f"{found[answers.rater][0]}; two people used one sheet, or a file came twice: "
                "keep one of them"
            )
        found[answers.rater] = path, answers
    return [found[rater][1] for rater in sorted(found)]


def read_answers(path: Path, key: Key) -> Answers:
    """Read one file of answers and hold it against the key.

    Raises:
        DataError: broken, of another survey, an unknown rater, a question that is not on the
            sheet, answered twice, answered in another form, or not at all.
    """
    answers = _read(path, Answers)
    if answers.survey != key.survey:
        raise DataError(
            f"{path}: survey: these are answers of survey {answers.survey!r}, the key is of "
            f"{key.survey!r}; name the folder of that survey"
        )
    sheet = {question.id: question for question in key.sheet(answers.rater)}
    if not sheet:
        raise DataError(f"{path}: rater: expected 1 to {key.raters}; got {answers.rater}")
    seen: set[str] = set()
    for place, answer in enumerate(answers.answers):
        where = f"{path}: answers[{place}]"
        if answer.question not in sheet:
            raise DataError(
                f"{where}.question: {answer.question!r} is not on the sheet of rater "
                f"{answers.rater}; was the file edited?"
            )
        if answer.question in seen:
            raise DataError(f"{where}.question: {answer.question!r} is answered a second time")
        seen.add(answer.question)
        _check_form(
            answer, sheet[answer.question], len(key.scenes[sheet[answer.question].scene]), where
        )
    missing = [name for name in sheet if name not in seen]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(sheet)} questions have no answer, the first is "
            f"{missing[0]!r}; ask rater {answers.rater} to finish the sheet and send it again"
        )
    return answers


def _check_form(answer: Answer, question: KeyQuestion, num_subjects: int, where: str) -> None:
    """One picture is answered by subjects, two by which is better."""
    if question.kind == "pair":
        if answer.better is None or answer.subjects is not None:
            raise DataError(f"{where}: expected `better`, of two pictures, and no `subjects`")
        return
    if answer.subjects is None or answer.better is not None:
        raise DataError(f"{where}: expected `subjects`, of one picture, and no `better`")
    if len(answer.subjects) != num_subjects:
        raise DataError(
            f"{where}.subjects: expected {num_subjects} answers, one a subject; "
            f"got {len(answer.subjects)}"
        )
    for place, said in enumerate(answer.subjects):
        if (said.appears == "yes") != (said.resembles is not None):
            raise DataError(
                f"{where}.subjects[{place}].resembles: expected an answer where `appears` is yes, "
                f"and null elsewhere; got {said.resembles!r} beside {said.appears!r}"
            )


def _files(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in (".json", ".txt"))
            if not found:
                raise DataError(f"{path}: no .json or .txt in this folder; put the answers there")
            files += found
        else:
            files.append(path)
    return files


def _read(path: Path, model: type[Model]) -> Model:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    try:
        return model.model_validate_json(json.dumps(json.loads(text)))
    except ValidationError as error:
        first = error.errors()[0]
        came = "" if first["type"] == "missing" else f"; got {first['input']!r}"
        raise DataError(f"{path}: {_where(first['loc'])}: {first['msg']}{came}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not whole JSON ({error}); ask for the file again, or for the whole text"
        ) from error


def _where(place: Sequence[Any]) -> str:
    """A place in a file: answers[3].better.text."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return steps.removeprefix(".") or "the file"
