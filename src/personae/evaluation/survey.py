"""A survey of people's judgement: results folders to sheets of questions, and the key to them.

The questions are those of MuDI's human evaluation (arXiv 2404.04243, section 5): does every subject
appear and closely resemble its references; and which of two pictures is better, by subjects, text
and naturalness.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from personae.compute.runs import make_folder, write_atomic
from personae.errors import RequestError
from personae.evaluation.survey_design import Asked, Plan, Pool, Shown, design
from personae.evaluation.survey_files import Key, KeyPicture, KeyQuestion, read_key
from personae.evaluation.survey_sources import (
    Source,
    apart,
    common_places,
    model_names,
    read_source,
)
from personae.subjects.scene import Scene

__all__ = ["Survey", "check_folder", "make_survey", "write_key"]


@dataclass(frozen=True)
class Survey:
    """All that the page needs: the key, the scenes asked about, and the key's pictures' files.

    A file is None where the picture is made for a check. ``problems`` tell what was left out.
    """

    key: Key
    scenes: Mapping[str, Scene]
    files: tuple[Path | None, ...]
    problems: tuple[str, ...] = ()


def make_survey(results: Sequence[Path], plan: Plan, out: Path, root: Path | None = None) -> Survey:
    """Plan a survey of these models' pictures; nothing is written.

    ``out`` is where the key will lie: it names the results relative to itself. The survey's id is
    a hash of what is asked about which pictures, so the same call makes the same survey.

    Raises:
        DataError: a results folder cannot be read, or two mean different scenes by one id.
        RequestError: no common pictures, pairs of one model, or no room on the sheets.
    """
    names = model_names(results)
    sources = [read_source(folder, name, root) for folder, name in zip(results, names, strict=True)]
    if "pair" in plan.kinds and len(sources) < 2:
        raise RequestError("--kind pair and both compare models: name a second results folder")
    places, left_out = common_places(sources)
    scenes = {place.scene: sources[0].scenes[place.scene] for place in places}
    sheets, judges = design(Pool(places, len(sources), apart(scenes)), plan)
    shown = _shuffled({one for sheet in sheets for asked in sheet for one in asked.shown}, plan)
    pictures = [_picture(one, sources) for one in shown]
    files = [_file(one, sources) for one in shown]
    survey = _identity(plan, pictures, sheets)
    key = Key(
        format="personae.survey.key",
        version=1,
        survey=survey,
        seed=plan.seed,
        raters=plan.raters,
        judges=judges,
        models={s.name: os.path.relpath(s.folder, out) for s in sources},
        scenes={name: list(scene.subjects) for name, scene in scenes.items()},
        pictures=pictures,
        questions=_questions(survey, sheets, {one: place for place, one in enumerate(shown)}),
    )
    problems = (*(text for source in sources for text in source.problems), *left_out)
    return Survey(key, scenes, tuple(files), problems)


def check_folder(survey: Survey, out: Path) -> None:
    """Refuse a folder that holds another survey, whose answers may be on their way.

    Raises:
        RequestError: it does.
        DataError: its key cannot be read.
    """
    if (out / "key.json").exists():
        before = read_key(out / "key.json").survey
        if before != survey.key.survey:
            raise RequestError(
                f"{out} holds survey {before}, whose answers need its key; this one is "
                f"{survey.key.survey}: use another --out, or --overwrite"
            )


def write_key(survey: Survey, out: Path) -> Path:
    """Write key.json into the survey's folder; gives its path back.

    Raises:
        WorkError: it cannot be written.
    """
    path = make_folder(out) / "key.json"
    write_atomic(path, survey.key.model_dump_json(indent=1) + "\n")
    return path


def _shuffled(shown: set[Shown], plan: Plan) -> list[Shown]:
    """In random order: the place of a picture in the page must not tell whose it is."""
    ordered = sorted(shown, key=repr)
    order = np.random.default_rng([plan.seed, 1]).permutation(len(ordered))
    return [ordered[place] for place in order]


def _picture(shown: Shown, sources: Sequence[Source]) -> KeyPicture:
    if shown.place is None:
        return KeyPicture(what="plain")
    if shown.model is None:
        return KeyPicture(what="references", scene=shown.place.scene)
    source = sources[shown.model]
    path = source.pictures[shown.place]
    return KeyPicture(
        what="picture",
        model=source.name,
        scene=shown.place.scene,
        seed=shown.place.seed,
        image=os.path.relpath(path, source.folder),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _file(shown: Shown, sources: Sequence[Source]) -> Path | None:
    if shown.place is None or shown.model is None:
        return None
    return sources[shown.model].pictures[shown.place]


def _identity(plan: Plan, pictures: Sequence[KeyPicture], sheets: Sequence[list[Asked]]) -> str:
    text = repr((plan, pictures, sheets))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _questions(
    survey: str, sheets: Sequence[list[Asked]], places: Mapping[Shown, int]
) -> list[KeyQuestion]:
    questions = []
    for rater, sheet in enumerate(sheets, start=1):
        names = {id(asked): _name(survey, rater, place) for place, asked in enumerate(sheet)}
        questions += [
            KeyQuestion(
                id=names[id(asked)],
                rater=rater,
                kind=asked.kind,
                scene=asked.place.scene,
                shown=tuple(places[one] for one in asked.shown),
                expected=asked.expected,
                repeats=None if asked.repeats is None else names[id(asked.repeats)],
            )
            for asked in sheet
        ]
    return questions


def _name(survey: str, rater: int, place: int) -> str:
    """An id that tells nothing about what is asked."""
    return hashlib.sha256(f"{survey}|{rater}|{place}".encode()).hexdigest()[:10]
