"""Suites whose files are not documented: the user says which column is which."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from personae.errors import DataError, RequestError
from personae.evaluation.suites.asked import Asked
from personae.evaluation.suites.card import SuiteCard
from personae.evaluation.suites.records import read_items, text_of
from personae.evaluation.suites.suite import LoadedSuite, SuiteOptions, spelled_as_on_disk
from personae.evaluation.suites.words import braced, subject_ids
from personae.subjects.scene import Scene
from personae.subjects.subject import KINDS, Kind, ReferenceFile, Subject

__all__ = ["COLUMNS", "UNVERIFIED", "Defaults", "load_mapped"]

COLUMNS: Mapping[str, str] = {
    "file": "the file below --data; needed where there are several",
    "prompt": "the instruction",
    "references": "paths: a list, texts between semicolons, or COLUMN+COLUMN",
    "nouns": "what each reference shows, as references are given; default: the suite's",
    "kinds": f"{', '.join(KINDS)} for each reference; default: the suite's, by subset",
    "subset": "the task; default: the suite's, by the number of references",
    "targets": "how each subject should look here, for copying",
    "image": "a picture made for it, where the file names one",
    "id": "a name for the item; default: its place",
}
"""What ``--column OURS=THEIRS`` may name, and what it means."""

UNVERIFIED = (
    "its files are not documented: what is scored is what --column says, and nobody has held this "
    "loader against the published files"
)

_NEEDED = ("prompt", "references")
# Kinds of a subset and a number of references; None: they cannot be known without a column.
KindRule = Callable[[str, int], Sequence[Kind] | None]


class Defaults:
    """What a suite takes where the mapping is silent.

    Args:
        subset: of a number of references; None: a column is needed.
        kinds: of a subset and a number of references.
        noun: what a reference shows.
        asked: what a judge is asked of a subset.
    """

    def __init__(
        self,
        *,
        subset: Callable[[int], str] | None,
        kinds: KindRule,
        noun: str,
        asked: Callable[[str], tuple[Asked, ...]] = lambda subset: (),
    ) -> None:
        self.subset, self.kinds, self.noun, self.asked = subset, kinds, noun, asked


def load_mapped(
    card: SuiteCard, defaults: Defaults, data: Path, options: SuiteOptions
) -> LoadedSuite:
    """The items of a file, by the user's mapping.

    Raises:
        RequestError: a column that we do not know, or one that is needed and not said.
        DataError: no file, or no item in it that can be read.
    """
    mapping = _checked(card, defaults, options.mapping, data)
    path = _file(card, data, mapping)
    scenes: list[Scene] = []
    subset_of: dict[str, str] = {}
    given: dict[str, tuple[Path, ...]] = {}
    problems: list[str] = []
    for number, record in enumerate(read_items(path)):
        where = f"{path}: item {number}"
        try:
            if isinstance(record, DataError):
                raise record
            scene, subset = _scene(record, number, mapping, defaults, path.parent, where)
            if subset not in card.sizes:
                raise DataError(f"{where}: subset {subset!r}: expected {', '.join(card.sizes)}")
            if scene.id in subset_of:
                raise DataError(f"{where}: id {scene.id!r} was used before; it is left out")
        except DataError as error:
            problems.append(str(error))
            continue
        scenes.append(scene)
        subset_of[scene.id] = subset
        if "image" in mapping and record.get(mapping["image"]):
            given[scene.id] = (path.parent / str(record[mapping["image"]]),)
    if not scenes:
        raise DataError(f"{path}: no item that can be read: {'; '.join(problems[:3])}")
    return LoadedSuite(
        card=card,
        scenes=tuple(scenes),
        subset_of=subset_of,
        asked={name: defaults.asked(subset) for name, subset in subset_of.items()},
        given=given,
        problems=tuple(problems),
    )


def _checked(
    card: SuiteCard, defaults: Defaults, mapping: Mapping[str, str], data: Path
) -> Mapping[str, str]:
    for name in mapping:
        if name not in COLUMNS:
            near = get_close_matches(name, COLUMNS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(COLUMNS)}"
            raise RequestError(f"--column {name}=...: no such column; {hint}")
    needed = [*_NEEDED, *(["subset"] if defaults.subset is None else [])]
    silent = [name for name in needed if name not in mapping]
    if silent:
        told = "; ".join(f"{name}: {COLUMNS[name]}" for name in silent)
        raise RequestError(
            f"{card.title}: its file is not documented, so say which column is which: "
            f"{' '.join(f'--column {name}=THEIRS' for name in silent)} ({told})"
            f"{_columns_there(card, data, mapping)}"
        )
    return mapping


def _columns_there(card: SuiteCard, data: Path, mapping: Mapping[str, str]) -> str:
    """Which columns the file has, to choose from; nothing where it cannot be read."""
    try:
        path = _file(card, data, mapping)
        records = [item for item in read_items(path) if not isinstance(item, DataError)]
    except DataError:
        return ""
    return f"; {path.name} has {sorted({name for record in records for name in record})}"


def _file(card: SuiteCard, data: Path, mapping: Mapping[str, str]) -> Path:
    if "file" in mapping:
        return data / mapping["file"]
    found = [path for end in ("json", "jsonl", "csv") for path in sorted(data.glob(f"*.{end}"))]
    if len(found) != 1:
        raise DataError(
            f"{data}: {len(found)} files of items ({', '.join(path.name for path in found[:5])}); "
            f"say which is {card.title}'s: --column file=NAME"
        )
    return found[0]


def _scene(
    record: Mapping[str, Any],
    number: int,
    mapping: Mapping[str, str],
    defaults: Defaults,
    folder: Path,
    where: str,
) -> tuple[Scene, str]:
    paths = _texts(record, mapping["references"], where)
    count = len(paths)
    if not count:
        raise DataError(f"{where}: no reference; expected at least one")
    if "subset" in mapping:
        subset = text_of(record, mapping["subset"], where)
    else:
        assert defaults.subset is not None
        subset = defaults.subset(count)
    nouns = _as_many(record, mapping, "nouns", count, where) or [defaults.noun] * count
    targets = _as_many(record, mapping, "targets", count, where)
    kinds = _kinds(record, mapping, defaults, subset, count, where)
    ids = subject_ids(nouns)
    prompt, words = braced(text_of(record, mapping["prompt"], where), nouns, ids)
    subjects = {
        name: Subject(
            name,
            words[place],
            kinds[place],
            (ReferenceFile(_below(folder, paths[place], where)),),
            ReferenceFile(_below(folder, targets[place], where)) if targets else None,
        )
        for place, name in enumerate(ids)
    }
    name = text_of(record, mapping["id"], where) if "id" in mapping else f"{number:04d}"
    return Scene(name.replace("/", "-"), prompt, subjects, where=where), subset


def _kinds(
    record: Mapping[str, Any],
    mapping: Mapping[str, str],
    defaults: Defaults,
    subset: str,
    count: int,
    where: str,
) -> Sequence[Kind]:
    said = _as_many(record, mapping, "kinds", count, where)
    if not said:
        kinds = defaults.kinds(subset, count)
        if kinds is None:
            raise DataError(
                f"{where}: {subset} mixes kinds, and which reference is which is not said; give "
                "--column kinds=THEIRS"
            )
        return kinds
    found: list[Kind] = [kind for text in said for kind in KINDS if kind == text]
    if len(found) != count:
        raise DataError(f"{where}: kinds: expected {count} of {KINDS}; got {said}")
    return found


def _as_many(
    record: Mapping[str, Any], mapping: Mapping[str, str], column: str, count: int, where: str
) -> list[str]:
    """Texts of an optional column, as many as there are references."""
    if column not in mapping:
        return []
    texts = _texts(record, mapping[column], where)
    if len(texts) != count:
        raise DataError(f"{where}: {column}: {len(texts)} for {count} references; got {texts}")
    return texts


def _texts(record: Mapping[str, Any], columns: str, where: str) -> list[str]:
    """A list, JSON of one, texts between semicolons, or one of each of several columns."""
    texts: list[str] = []
    for column in columns.split("+"):
        if column not in record:
            raise DataError(f"{where}: no column {column!r}; there are {sorted(record)}")
        value = record[column]
        if isinstance(value, str):
            value = _parsed(value)
        if value is None:
            continue
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise DataError(f"{where}: {column}: expected texts; got {value!r}")
        texts += [item.strip() for item in value if item.strip()]
    return texts


def _parsed(text: str) -> list[str]:
    if text.strip().startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, list):
            return [str(item) for item in found]
    return text.split(";")


def _below(folder: Path, text: str, where: str) -> Path:
    path = folder / text
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{where}: {text!r} leaves {folder}; expected a path below it")
    return spelled_as_on_disk(path)
