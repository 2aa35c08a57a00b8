"""A suite that was read from the user's folder: scenes, subsets, questions, and what is missing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from personae.errors import DataError
from personae.evaluation.suites.asked import Asked
from personae.evaluation.suites.card import SuiteCard
from personae.subjects.picture import read_picture
from personae.subjects.scene import Scene

__all__ = [
    "LoadedSuite",
    "Suite",
    "SuiteOptions",
    "damaged_files",
    "missing_files",
    "only_subsets",
    "plain_stem",
    "spelled_as_on_disk",
]


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """What a loader may be told.

    Attributes:
        mapping: of a mapped suite, our column -> the file's.
        prompts: of MuDI's pairs, a file with a prompt a line.
        size: of ToonBench, ``small``, ``full``, or scenes a subset.
    """

    mapping: Mapping[str, str] = field(default_factory=dict)
    prompts: Path | None = None
    size: str = "small"


@dataclass(frozen=True, kw_only=True)
class LoadedSuite:
    """Scenes of a suite.

    Attributes:
        card: the suite.
        scenes: all of them, those with missing photos too.
        subset_of: scene -> subset.
        asked: scene -> what a judge is asked of its pictures.
        stems: scene -> how the published program names its picture, as `plain_stem` has it.
        given: scene -> pictures that the suite's own file names.
        problems: items that could not be read, with reasons; the others are there.
    """

    card: SuiteCard
    scenes: tuple[Scene, ...]
    subset_of: Mapping[str, str]
    asked: Mapping[str, tuple[Asked, ...]] = field(default_factory=dict)
    stems: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def subsets(self) -> tuple[str, ...]:
        """Those that have a scene: first as the card lists them, then others by name."""
        there = set(self.subset_of.values())
        listed = [name for name in self.card.sizes if name in there]
        return (*listed, *sorted(there - set(listed)))


@dataclass(frozen=True)
class Suite:
    """A card and the loader that reads the user's folder.

    ``load`` raises a DataError where there is nothing to load at all. ``makes_data``: the folder
    is filled by the loader itself.
    """

    card: SuiteCard
    load: Callable[[Path, SuiteOptions], LoadedSuite]
    makes_data: bool = False


def missing_files(loaded: LoadedSuite) -> dict[Path, list[str]]:
    """Reference photos and targets that are not there, and the scenes that need each."""
    missing: dict[Path, list[str]] = {}
    for scene in loaded.scenes:
        for path in _files(scene):
            if not path.is_file():
                missing.setdefault(path, []).append(scene.id)
    return {path: list(dict.fromkeys(scenes)) for path, scenes in missing.items()}


def damaged_files(
    loaded: LoadedSuite, tell: Callable[[int, int], None] | None = None
) -> dict[Path, str]:
    """Photos that are there and cannot be read, such as half-downloaded ones, and why not.

    ``tell`` is told how many of how many were opened.
    """
    files = [file for scene in loaded.scenes for file in _files(scene)]
    paths = [path for path in dict.fromkeys(files) if path.is_file()]
    damaged = {}
    for number, path in enumerate(paths, start=1):
        try:
            read_picture(path)
        except DataError as error:
            damaged[path] = str(error)
        if tell is not None:
            tell(number, len(paths))
    return damaged


def spelled_as_on_disk(path: Path) -> Path:
    """The path, or the file there whose name has the same letters in another spelling of Unicode.

    An accented letter is one sign or two: JSON files and file systems (and the programs that unpack
    archives) disagree about which.
    """
    if path.is_file() or not path.parent.is_dir() or path.name.isascii():
        return path
    wanted = unicodedata.normalize("NFC", path.name)
    there = sorted(path.parent.iterdir())
    return next((x for x in there if unicodedata.normalize("NFC", x.name) == wanted), path)


def _files(scene: Scene) -> list[Path]:
    """References and targets of a scene, and their masks."""
    held = [
        file
        for subject in scene.subjects.values()
        for file in [*subject.references, *([subject.target] if subject.target else [])]
    ]
    return [path for file in held for path in (file.image, file.mask) if path is not None]


def only_subsets(loaded: LoadedSuite, subsets: Iterable[str]) -> LoadedSuite:
    """The suite with these subsets alone.

    Raises:
        DataError: a subset that has no scene.
    """
    wanted = list(subsets)
    for name in wanted:
        if name not in loaded.subsets:
            raise DataError(
                f"{loaded.card.title}: no scene of subset {name!r}; there are "
                f"{list(loaded.subsets)}"
            )
    scenes = tuple(item for item in loaded.scenes if loaded.subset_of[item.id] in wanted)
    kept = {scene.id for scene in scenes}
    return LoadedSuite(
        card=loaded.card,
        scenes=scenes,
        subset_of={name: value for name, value in loaded.subset_of.items() if name in kept},
        asked={name: value for name, value in loaded.asked.items() if name in kept},
        stems={name: value for name, value in loaded.stems.items() if name in kept},
        given={name: value for name, value in loaded.given.items() if name in kept},
        problems=loaded.problems,
    )


def plain_stem(text: str) -> str:
    """A file's stem by its letters and digits alone: spaces and stops are written in many ways.

    >>> plain_stem("0_A man is riding a motorcycle."), plain_stem("0_A_man_is_riding_a_motorcycle_")
    ('0_a_man_is_riding_a_motorcycle', '0_a_man_is_riding_a_motorcycle')
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
