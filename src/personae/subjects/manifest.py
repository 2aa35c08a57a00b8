"""scenes.jsonl and cast.jsonl: every bad line is told with its number, the rest is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from personae.compute.runs import write_atomic
from personae.errors import DataError
from personae.subjects.layout import parse_layout
from personae.subjects.scene import Claim, Relation, Scene
from personae.subjects.subject import ReferenceFile, Subject

__all__ = ["Manifest", "json_lines", "read_cast", "read_scenes", "write_cast"]

_SCENE_KEYS = ("id", "prompt", "subjects", "layout", "relation", "claims")
_CLAIM_KEYS = ("kind", "subject", "expected")
_SUBJECT_KEYS = ("noun", "kind", "token", "references", "target")
_CAST_KEYS = ("id", "noun", "kind", "token", "references")
_REFERENCE_WORDS = ("caption", "source", "license", "consent")
_REFERENCE_KEYS = ("image", "mask", *_REFERENCE_WORDS)

Item = TypeVar("Item", Scene, Subject)


@dataclass(frozen=True)
class Manifest:
    """What a file of scenes or subjects held: the good lines, and what was wrong with the rest."""

    path: Path
    scenes: tuple[Scene, ...] = ()
    subjects: tuple[Subject, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Place:
    """Where paths of a line start, how far they may reach, and what to call the line."""

    folder: Path
    root: Path
    where: str

    def path(self, text: object) -> Path:
        if not isinstance(text, str) or not text:
            raise DataError(f"{self.where}: expected a path; got {text!r}")
        resolved = (self.folder / text).resolve()
        if not resolved.is_relative_to(self.root):
            raise DataError(
                f"{self.where}: {text!r} leaves {self.root}; "
                "move the file below it, or allow a wider folder with --root"
            )
        return self.folder / text


def read_scenes(path: Path, root: Path | None = None) -> Manifest:
    """Read scenes.jsonl; paths in it are relative to it and may not leave ``root`` (its folder).

    Raises:
        DataError: the file itself cannot be read. A bad line raises nothing: it is a problem.
    """
    scenes, problems = _read(path, root, _scene)
    return Manifest(path, scenes=scenes, problems=problems)


def read_cast(path: Path, root: Path | None = None) -> Manifest:
    """Read cast.jsonl, one subject a line; paths as in `read_scenes`."""
    subjects, problems = _read(path, root, _cast_subject)
    return Manifest(path, subjects=subjects, problems=problems)


def write_cast(subjects: Iterable[Subject], path: Path) -> None:
    """Write cast.jsonl, whole or not at all, so that `read_cast` gives the same subjects back.

    Raises:
        DataError: a photo or mask lies outside the file's folder, or two subjects share an id.
        WorkError: the file cannot be written.
    """
    lines: dict[str, str] = {}
    for subject in subjects:
        if subject.id in lines:
            raise DataError(f"{path}: two subjects with the id {subject.id!r}; rename one")
        line = {"id": subject.id, "noun": subject.noun, "kind": subject.kind}
        if subject.token is not None:
            line["token"] = subject.token
        references = [_reference_line(item, path) for item in subject.references]
        lines[subject.id] = json.dumps({**line, "references": references}, ensure_ascii=False)
    write_atomic(path, "".join(line + "\n" for line in lines.values()))


def _reference_line(file: ReferenceFile, path: Path) -> dict[str, str]:
    folder, line = path.resolve().parent, {}
    for key, value in (("image", file.image), ("mask", file.mask)):
        if value is not None:
            if not value.resolve().is_relative_to(folder):
                raise DataError(f"{path}: {value} leaves {folder}; copy the file below it first")
            line[key] = value.resolve().relative_to(folder).as_posix()
    said = {key: getattr(file, key) for key in _REFERENCE_WORDS}
    return line | {key: value for key, value in said.items() if value is not None}


def json_lines(path: Path) -> Iterator[tuple[int, Any | DataError]]:
    """Number and content of every line that is not blank; a line that is no JSON is an error."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            yield (
                number,
                DataError(f"{path}:{number}: not JSON ({error}); mend the line: one object a line"),
            )


def _read(
    path: Path, root: Path | None, parse: Callable[[Mapping[str, Any], _Place], Item]
) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    items: dict[str, Item] = {}
    problems: list[str] = []
    folder = path.resolve().parent
    for number, data in json_lines(path):
        place = _Place(folder, (root or folder).resolve(), f"{path}:{number}")
        try:
            if isinstance(data, DataError):
                raise data
            item = parse(_object(data, place.where), place)
            if item.id in items:
                raise DataError(
                    f"{place.where}: id {item.id!r} was used before; the first one is kept, "
                    "give this one another id"
                )
            items[item.id] = item
        except DataError as problem:
            text = str(problem)
            problems.append(text if text.startswith(place.where) else f"{place.where}: {text}")
    return tuple(items.values()), tuple(problems)


def _scene(data: Mapping[str, Any], place: _Place) -> Scene:
    _check_keys(data, _SCENE_KEYS, ("id", "prompt", "subjects"), place.where)
    subjects_data = _object(data["subjects"], f"{place.where}: subjects")
    subjects = {
        name: _subject(name, _object(item, f"{place.where}: subject {name!r}"), place)
        for name, item in subjects_data.items()
    }
    layout = _object(data.get("layout") or {}, f"{place.where}: layout")
    return Scene(
        id=_text(data["id"], "id", place.where),
        prompt=_text(data["prompt"], "prompt", place.where),
        subjects=subjects,
        layout=parse_layout(layout, list(subjects)),
        relation=_relation(data.get("relation"), place.where),
        claims=_claims(data.get("claims"), place.where),
        where=place.where,
    )


def _subject(name: str, data: Mapping[str, Any], place: _Place) -> Subject:
    _check_keys(data, _SUBJECT_KEYS, ("noun", "kind", "references"), place.where)
    target = data.get("target")
    return Subject(
        id=name,
        noun=_text(data["noun"], "noun", place.where),
        kind=data["kind"],
        references=_references(data["references"], place),
        target=None if target is None else _reference(target, place),
        token=_word(data, "token", place.where),
    )


def _cast_subject(data: Mapping[str, Any], place: _Place) -> Subject:
    _check_keys(data, _CAST_KEYS, ("id", "noun", "kind", "references"), place.where)
    return Subject(
        id=_text(data["id"], "id", place.where),
        noun=_text(data["noun"], "noun", place.where),
        kind=data["kind"],
        references=_references(data["references"], place),
        token=_word(data, "token", place.where),
    )


def _references(data: object, place: _Place) -> tuple[ReferenceFile, ...]:
    if not isinstance(data, list):
        raise DataError(f"{place.where}: references: expected a list of paths; got {data!r}")
    return tuple(_reference(item, place) for item in data)


def _reference(data: object, place: _Place) -> ReferenceFile:
    """A path, or an object with image and mask; a mask may also stand beside as NAME.mask.png."""
    if isinstance(data, str):
        data = {"image": data}
    item = _object(data, f"{place.where}: reference")
    _check_keys(item, _REFERENCE_KEYS, ("image",), place.where)
    image = place.path(item["image"])
    said = {key: _word(item, key, place.where) for key in _REFERENCE_WORDS}
    if item.get("mask") is not None:
        return ReferenceFile(image, place.path(item["mask"]), **said)
    beside = image.with_suffix(".mask.png")
    return ReferenceFile(image, beside if beside.is_file() else None, **said)


def _relation(data: object, where: str) -> Relation | None:
    if data is None:
        return None
    if not isinstance(data, list) or len(data) != 3 or not all(isinstance(i, str) for i in data):
        raise DataError(
            f'{where}: relation: expected ["subject", "left of", "subject"]; got {data!r}'
        )
    return Relation(*data)


def _claims(data: object, where: str) -> tuple[Claim, ...]:
    if data is None:
        return ()
    if not isinstance(data, list):
        raise DataError(f"{where}: claims: expected a list of objects; got {data!r}")
    return tuple(_claim(_object(item, f"{where}: claim"), f"{where}: claim") for item in data)


def _claim(data: Mapping[str, Any], where: str) -> Claim:
    _check_keys(data, _CLAIM_KEYS, ("kind", "expected"), where)
    subject = data.get("subject")
    return Claim(
        kind=_text(data["kind"], "kind", where),
        subject=None if subject is None else _text(subject, "subject", where),
        expected=_text(data["expected"], "expected", where),
    )


def _object(data: object, where: str) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise DataError(f"{where}: expected an object in braces; got {type(data).__name__}")
    return data


def _text(data: object, key: str, where: str) -> str:
    if isinstance(data, int) and not isinstance(data, bool):
        return str(data)
    if not isinstance(data, str) or not data:
        raise DataError(f"{where}: {key}: expected a text; got {data!r}")
    return data


def _word(data: Mapping[str, Any], key: str, where: str) -> str | None:
    """A text that need not be there."""
    return None if data.get(key) is None else _text(data[key], key, where)


def _check_keys(
    data: Mapping[str, Any], known: tuple[str, ...], needed: tuple[str, ...], where: str
) -> None:
    for key in data:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {list(known)}"
            raise DataError(f"{where}: unknown key {key!r}; {hint}")
    for key in needed:
        if key not in data:
            raise DataError(f"{where}: key {key!r} is missing; got {sorted(data)}")
