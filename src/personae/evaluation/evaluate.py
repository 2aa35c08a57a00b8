"""Evaluate a folder of pictures: rows as they come, resumed where they stopped, then a summary."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from personae import __version__
from personae.compute.device import limited_threads
from personae.compute.runs import RowLog, make_folder, read_json, read_rows, write_json
from personae.compute.workers import make_workers
from personae.errors import RequestError
from personae.evaluation.environment import environment
from personae.evaluation.measure import Shot, measure, scene_groups
from personae.evaluation.pictures import find_pictures
from personae.evaluation.texts import build_text_scorers, score_texts
from personae.metrics.evidence import Witness
from personae.metrics.eyes import Group
from personae.metrics.scoring import Protocol
from personae.metrics.summary import summarize
from personae.metrics.witnesses import EyesChoice, build_witnesses
from personae.subjects.manifest import read_scenes
from personae.subjects.scene import Scene
from personae.subjects.subject import ReferenceFile

__all__ = ["Evaluation", "EvaluationResult", "evaluate", "separability_rows", "shot_stamp"]

Rows = list[dict[str, Any]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What to evaluate and how.

    ``texts`` names models that read prompts too (`build_text_scorers`), which compute on
    ``text_device``. ``num_workers`` 0 means one process a core. ``overwrite`` throws away what
    ``out`` holds.
    """

    scenes: Path
    images: Path
    out: Path
    protocol: Protocol = "strict"
    eyes: EyesChoice = field(default_factory=EyesChoice)
    texts: tuple[str, ...] = ()
    text_device: str = "cpu"
    root: Path | None = None
    num_workers: int = 1
    overwrite: bool = False


@dataclass(frozen=True)
class EvaluationResult:
    """Where the results lie, the summary, and what stands against it.

    ``problems`` could not be used, with reasons; ``inseparable`` says which subjects these eyes
    cannot tell apart.
    """

    out: Path
    summary: dict[str, Any]
    num_pictures: int
    num_scored_now: int
    problems: tuple[str, ...]
    inseparable: tuple[str, ...]


def evaluate(task: Evaluation, progress: Progress | None = None) -> EvaluationResult:
    """Score every picture of every scene and write results.jsonl, summary.json and run.json.

    Rows are appended picture by picture. A picture whose rows are there already, made of the same
    files by the same eyes, is not looked at again. ``progress`` is told (done, of how many).

    Raises:
        DataError: the scenes file or the folder of pictures cannot be read.
        RequestError: ``out`` holds results of something else.
        WeightsError: the eyes cannot be loaded.
        WorkError: a full disk, a worker that died; what was finished is kept.
    """
    manifest = read_scenes(task.scenes, task.root)
    found = find_pictures(task.images, [scene.id for scene in manifest.scenes])
    scenes = {scene.id: scene for scene in manifest.scenes}
    shots = [
        Shot(scenes[picture.scene], picture.seed, picture.path, _name(picture.path, task.images))
        for picture in found.pictures
    ]
    shots += [Shot(scenes[scene]) for scene in found.missing]
    groups = _groups(manifest.scenes)
    witnesses = build_witnesses(task.eyes, groups)
    scorers = build_text_scorers(task.texts, task.text_device)
    settings = _settings(task, witnesses)
    _check_out(task, settings)
    num_new = _score_missing(task, shots, settings["eyes"], groups, progress)
    if scorers:
        with RowLog(task.out / "results.jsonl") as log:
            score_texts(scorers, shots, log, shot_stamp)
    problems = (*manifest.problems, *found.problems)
    separability = separability_rows(witnesses, manifest.scenes)
    inseparable = tuple(row["reason"] for row in separability if not row["separable"])
    facts = {
        "separability": separability,
        "environment": environment(witnesses),
        "references": _references(manifest.scenes, task.out),
        "problems": list(problems),
    }
    write_json(task.out / "run.json", {**settings, **facts})
    summary = {
        "metrics": [item.as_json() for item in summarize(read_rows(task.out / "results.jsonl"))],
        "environment": facts["environment"],
    }
    write_json(task.out / "summary.json", summary)
    return EvaluationResult(task.out, summary, len(found.pictures), num_new, problems, inseparable)


def separability_rows(
    witnesses: dict[Group, Witness], scenes: Iterable[Scene]
) -> list[dict[str, Any]]:
    """Every pair of subjects that share a scene: can these eyes tell them apart?"""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for scene in scenes:
        for group, subjects in scene_groups(scene).items():
            witness = witnesses[group]
            for pair in witness.separability(witness.gallery(subjects)):
                row = {
                    "subjects": list(pair.subjects),
                    "separable": pair.separable,
                    "reason": pair.reason,
                    "eyes": witness.eyes.name,
                }
                rows.setdefault((witness.eyes.name, *pair.subjects, str(pair)), row)
    return list(rows.values())


def _score_missing(
    task: Evaluation,
    shots: Sequence[Shot],
    eyes: dict[str, str],
    groups: Sequence[Group],
    progress: Progress | None,
) -> int:
    """Score the pictures that have no rows yet, drop rows that no longer hold; how many."""
    wanted = {_key(shot, task.protocol, eyes): shot for shot in shots}
    stamps = {key: shot_stamp(shot) for key, shot in wanted.items()}
    with RowLog(task.out / "results.jsonl") as log:
        stale = [
            key for key, stamp in log.done.items() if _is_stale(key, stamp, stamps, task, eyes)
        ]
        if stale:
            log.drop(stale)
        missing = [key for key in wanted if key not in log.done]
        build = partial(build_witnesses, task.eyes, tuple(groups))
        work = partial(_work, task.protocol)
        answers = make_workers(task.num_workers if len(missing) > 1 else 1).map(
            build, work, (wanted[key] for key in missing)
        )
        for done, (key, rows) in enumerate(zip(missing, answers, strict=True), start=1):
            log.append(key, stamps[key], rows)
            if progress is not None:
                progress(len(wanted) - len(missing) + done, len(wanted))
    return len(missing)


def _work(protocol: Protocol, witnesses: dict[Group, Witness], shot: Shot) -> Rows:
    with limited_threads(1):
        return measure(witnesses, shot, protocol)


def _groups(scenes: Iterable[Scene]) -> tuple[Group, ...]:
    return tuple(dict.fromkeys(group for scene in scenes for group in scene_groups(scene)))


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _settings(task: Evaluation, witnesses: dict[Group, Witness]) -> dict[str, Any]:
    return {
        "scenes": os.path.relpath(task.scenes, task.out),
        "images": os.path.relpath(task.images, task.out),
        "protocol": task.protocol,
        "eyes": {group: witness.eyes.name for group, witness in witnesses.items()},
    }


def _check_out(task: Evaluation, settings: dict[str, Any]) -> None:
    make_folder(task.out)
    names = ("results.jsonl", ".results.journal.jsonl", "run.json", "summary.json")
    if task.overwrite:
        for name in names:
            (task.out / name).unlink(missing_ok=True)
    started = task.out / "run.json"
    if not started.exists():
        write_json(started, settings)
        return
    before = read_json(started)
    for key in ("scenes", "images"):
        if before.get(key) != settings[key]:
            raise RequestError(
                f"{task.out} holds results of other {key} ({before.get(key)}, now {settings[key]});"
                " use another --out, or --overwrite"
            )


def _key(shot: Shot, protocol: Protocol, eyes: dict[str, str]) -> str:
    return "|".join([shot.scene.id, str(shot.seed), protocol, _eyes_key(shot.scene, eyes)])


def _eyes_key(scene: Scene, eyes: dict[str, str]) -> str:
    return ",".join(eyes[group] for group in scene_groups(scene))


def _is_stale(
    key: str, stamp: str, stamps: dict[str, str], task: Evaluation, eyes: dict[str, str]
) -> bool:
    """Rows of a changed or vanished picture are stale; those of other eyes or protocols are not."""
    if key in stamps:
        return stamps[key] != stamp
    _, _, protocol, used = key.rsplit("|", 3)
    return protocol == task.protocol and set(used.split(",")) <= set(eyes.values())


def shot_stamp(shot: Shot) -> str:
    """Changes with anything that the rows depend on: scene, files, version of the formulas."""
    scene = replace(shot.scene, where="")
    files = [file for subject in scene.subjects.values() for file in subject.references]
    files += [subject.target for subject in scene.subjects.values() if subject.target is not None]
    paths = [path for file in files for path in (file.image, file.mask) if path is not None]
    if shot.path is not None:
        paths.append(shot.path)
    text = repr((__version__, scene, [_file_stamp(path) for path in paths]))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _file_stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


def _references(scenes: Iterable[Scene], out: Path) -> dict[str, dict[str, list[str]]]:
    """Per scene and subject the reference photos, for the report; relative to the run's folder."""

    def paths(files: Sequence[ReferenceFile]) -> list[str]:
        return [os.path.relpath(file.image, out) for file in files]

    return {
        scene.id: {name: paths(subject.references) for name, subject in scene.subjects.items()}
        for scene in scenes
    }
