"""Results folders as a survey needs them: scenes with their subjects, and each model's pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personae.compute.runs import read_json, read_rows
from personae.errors import DataError, RequestError
from personae.evaluation.survey_design import Place
from personae.subjects.manifest import read_scenes
from personae.subjects.scene import Scene

__all__ = ["Source", "apart", "common_places", "model_names", "read_source", "result_rows"]

_KEYS = ("scene", "seed", "image", "metric", "protocol", "eyes", "value")


@dataclass(frozen=True)
class Source:
    """A model's results: its pictures by place, and the scenes that they were made for."""

    name: str
    folder: Path
    scenes: Mapping[str, Scene]
    pictures: Mapping[Place, Path]
    problems: tuple[str, ...] = ()


def read_source(folder: Path, name: str, root: Path | None = None) -> Source:
    """Read run.json, the scenes it names, and which pictures results.jsonl is about.

    Raises:
        DataError: one of them cannot be read, or no picture is there.
    """
    facts = read_json(folder / "run.json")
    if not isinstance(facts, dict) or not {"scenes", "images"} <= facts.keys():
        raise DataError(
            f"{folder / 'run.json'}: expected an object with scenes and images; "
            "is this a folder of `personae evaluate`?"
        )
    manifest = read_scenes(folder / str(facts["scenes"]), root)
    scenes = {scene.id: scene for scene in manifest.scenes}
    pictures: dict[Place, Path] = {}
    lost: dict[Place, Path] = {}
    for row in result_rows(folder):
        if row["image"] is None or row["seed"] is None:
            continue
        place = Place(str(row["scene"]), int(row["seed"]))
        path = folder / str(facts["images"]) / str(row["image"])
        if place not in pictures and place not in lost:
            there = place.scene in scenes and path.is_file()
            (pictures if there else lost)[place] = path
    problems = list(manifest.problems)
    if lost:
        problems.append(
            f"{next(iter(lost.values()))}: no such picture, or its scene cannot be read; "
            f"left out, {len(lost)} like it"
        )
    if not pictures:
        raise DataError(f"{folder}: no picture to ask about; {'; '.join(problems) or 'no rows'}")
    return Source(name, folder, scenes, pictures, tuple(problems))


def result_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of a results folder, each with all keys that a survey reads.

    Raises:
        DataError: the file cannot be read, or a row lacks a key; it names the line.
    """
    path = folder / "results.jsonl"
    for number, row in enumerate(read_rows(path), start=1):
        missing = [key for key in _KEYS if key not in row]
        if missing:
            raise DataError(
                f"{path}:{number}: expected a row with {', '.join(_KEYS)}; {missing[0]!r} is "
                "missing; mend or remove the line"
            )
        yield row


def model_names(folders: Sequence[Path]) -> list[str]:
    """What to call each model: the end of its path, as long as needed to tell them apart.

    >>> model_names([Path("runs/mudi/rows"), Path("runs/uno/rows")])
    ['mudi/rows', 'uno/rows']

    Raises:
        RequestError: a folder is named twice.
    """
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise RequestError(f"a results folder is named twice: {sorted(map(str, folders))}")


def common_places(sources: Sequence[Source]) -> tuple[list[Place], list[str]]:
    """Places where every model has a picture, and how many each has elsewhere.

    Raises:
        RequestError: there is none.
        DataError: the models mean different scenes by one id.
    """
    common = set(sources[0].pictures).intersection(*(source.pictures for source in sources[1:]))
    if not common:
        raise RequestError(
            "no scene and seed has a picture of every model: "
            + ", ".join(f"{source.folder} ({len(source.pictures)})" for source in sources)
        )
    first = sources[0]
    for source in sources[1:]:
        for scene in sorted({place.scene for place in common}):
            if _asks(source.scenes[scene]) != _asks(first.scenes[scene]):
                raise DataError(
                    f"scene {scene!r} has other words or subjects in {source.folder} than in "
                    f"{first.folder}; people can only compare pictures of one scene"
                )
    left_out = [
        f"{source.folder}: {len(source.pictures) - len(common)} pictures have no twin of every "
        "other model; left out"
        for source in sources
        if len(source.pictures) > len(common)
    ]
    return sorted(common), left_out


def apart(scenes: Mapping[str, Scene]) -> dict[str, list[str]]:
    """For each scene those that surely hold none of its subjects.

    Neither a reference photo nor a subject's id and noun are in both.
    """
    known = {name: _marks(scene) for name, scene in scenes.items()}
    return {name: [other for other in scenes if not known[name] & known[other]] for name in scenes}


def _marks(scene: Scene) -> set[object]:
    marks: set[object] = {(name, subject.noun) for name, subject in scene.subjects.items()}
    for subject in scene.subjects.values():
        marks |= {file.image.resolve() for file in subject.references}
    return marks


def _asks(scene: Scene) -> object:
    return scene.prompt, [(name, subject.noun) for name, subject in scene.subjects.items()]
