"""Which picture belongs to which scene, and which seed it is."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from personae.errors import DataError
from personae.subjects.picture import SUFFIXES

__all__ = ["Picture", "PictureSet", "find_pictures"]


@dataclass(frozen=True)
class Picture:
    """A picture made for a scene."""

    scene: str
    seed: int
    path: Path


@dataclass(frozen=True)
class PictureSet:
    """All pictures of a folder that belong to scenes, in the scenes' order, and what was odd."""

    pictures: tuple[Picture, ...]
    missing: tuple[str, ...]
    problems: tuple[str, ...]


def find_pictures(folder: Path, scenes: Iterable[str]) -> PictureSet:
    """Find ``{scene}.*``, ``{scene}-*.*`` and ``{scene}/*.*`` (png, jpg, jpeg, webp).

    The longest matching scene id wins. The seed is the number in what follows the id, else the
    position in name order (moved on to the next free number).

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; --images names the folder with the pictures")
    order = list(scenes)
    files: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for scene, rest, path in _candidates(folder, frozenset(order)):
        files[scene].append((rest, path))
    pictures, problems = [], []
    for scene in order:
        found, odd = _seeds(scene, sorted(files.get(scene, [])))
        pictures += found
        problems += odd
    return PictureSet(
        tuple(pictures), tuple(scene for scene in order if scene not in files), tuple(problems)
    )


def _candidates(folder: Path, scenes: frozenset[str]) -> Iterator[tuple[str, str, Path]]:
    """Scene, what the name says beyond the scene's id, path."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name in scenes:
            for inner in sorted(path.iterdir()):
                if inner.suffix.lower() in SUFFIXES and inner.is_file():
                    yield path.name, inner.stem, inner
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            scene = _longest(path.stem, scenes)
            if scene is not None:
                yield scene, path.stem[len(scene) + 1 :], path


def _longest(stem: str, scenes: frozenset[str]) -> str | None:
    """The longest scene id that a file name is, or starts with before a hyphen."""
    if stem in scenes:
        return stem
    ends = [index for index, letter in enumerate(stem) if letter == "-"]
    return next((stem[:end] for end in reversed(ends) if stem[:end] in scenes), None)


def _seeds(scene: str, files: list[tuple[str, Path]]) -> tuple[list[Picture], list[str]]:
    taken: dict[int, Path] = {}
    problems, unnumbered = [], []
    for position, (rest, path) in enumerate(files):
        number = re.search(r"\d+", rest)
        if number is None:
            unnumbered.append((position, path))
        elif int(number.group()) in taken:
            other = taken[int(number.group())]
            problems.append(
                f"{path}: {other.name} already is seed {int(number.group())} of scene {scene!r}; "
                "rename one of them, this one is left out"
            )
        else:
            taken[int(number.group())] = path
    for position, path in unnumbered:
        seed = next(n for n in range(position, position + len(files) + 1) if n not in taken)
        taken[seed] = path
    return [Picture(scene, seed, taken[seed]) for seed in sorted(taken)], problems
