"""The Hugging Face image folder: photos, and metadata.jsonl with file_name and text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from personae.compute.runs import make_folder, write_atomic
from personae.data.caption import caption_from_text
from personae.data.photo_formats.given import (
    WORDS,
    GivenPhoto,
    GivenPhotos,
    GivenSubject,
    file_below,
    optional_text,
    subject_id,
)
from personae.data.photo_formats.written import folder_name, image_bytes, mask_bytes
from personae.errors import DataError
from personae.subjects.manifest import json_lines
from personae.subjects.subject import Subject

__all__ = ["json_rows", "read_imagefolder", "said_in_folder", "write_imagefolder"]

_NAMES = ("noun", "token", "kind")


def json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each line's place ("FILE:7") and object; the first bad line ends it all.

    Raises:
        DataError: a line that is no JSON object.
    """
    for number, row in json_lines(path):
        where = f"{path}:{number}"
        if isinstance(row, DataError):
            raise row
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object in braces; got {type(row).__name__}")
        yield where, row


def read_imagefolder(path: Path) -> GivenPhotos:
    """Read metadata.jsonl: per line ``file_name`` and ``text``.

    A line's subject is its ``subject``, else the first folder of ``file_name``, else the folder
    the file lies in. ``noun``, ``token``, ``kind``, ``mask`` and a photo's ``source``, ``license``
    and ``consent`` are read where they are there; other columns are not.

    Raises:
        DataError: a bad line, named by its number, or no line at all.
    """
    rows: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for where, row in json_rows(path):
        rows.setdefault(_subject_of(row, path, where), []).append((where, row))
    if not rows:
        raise DataError(f"{path}: empty; expected a line a photo with file_name and text")
    subjects = [_subject(name, rows[name], path.parent) for name in sorted(rows)]
    return GivenPhotos("imagefolder", tuple(subjects))


def said_in_folder(path: Path, subject: str) -> GivenSubject:
    """What the metadata.jsonl inside one subject's folder says of it."""
    return _subject(subject, list(json_rows(path)), path.parent)


def _subject_of(row: Mapping[str, Any], path: Path, where: str) -> str:
    named = optional_text(row, "subject", where)
    if named is not None:
        return subject_id(named, where)
    file_name = optional_text(row, "file_name", where)
    if file_name is None:
        raise DataError(f"{where}: key 'file_name' is missing; got {sorted(row)}")
    parts = Path(file_name).parts
    return subject_id(parts[0] if len(parts) > 1 else path.resolve().parent.name, where)


def _subject(
    name: str, rows: Sequence[tuple[str, Mapping[str, Any]]], folder: Path
) -> GivenSubject:
    said: dict[str, str] = {}
    for where, row in rows:
        for key in _NAMES:
            value = optional_text(row, key, where)
            if value is not None and said.setdefault(key, value) != value:
                raise DataError(
                    f"{where}: {key} of {name!r} is {value!r} here and {said[key]!r} before; "
                    "expected one for all its photos"
                )
    noun, token = said.get("noun"), said.get("token")
    names = [f"{token} {noun}"] if noun and token else []
    names += [item for item in (noun, token, name) if item]
    photos = [_photo(row, where, folder, name, names) for where, row in rows]
    photos.sort(key=lambda photo: photo.image)
    return GivenSubject(name, tuple(photos), noun=noun, kind=said.get("kind"), token=token)


def _photo(
    row: Mapping[str, Any], where: str, folder: Path, subject: str, names: Sequence[str]
) -> GivenPhoto:
    image = file_below(folder, row.get("file_name"), where)
    mask = None if row.get("mask") is None else file_below(folder, row["mask"], where)
    beside = image.with_suffix(".mask.png")
    text = optional_text(row, "text", where)
    words = {key: optional_text(row, key, where) for key in WORDS}
    return GivenPhoto(
        image,
        mask or (beside if beside.is_file() else None),
        None if text is None else caption_from_text(text, subject, names),
        {key: value for key, value in words.items() if value is not None},
    )


def write_imagefolder(subjects: Sequence[Subject], out: Path) -> None:
    """Write SUBJECT/00.png and metadata.jsonl: file_name, text with token and noun, and the rest.

    The masks go to ``masks/SUBJECT/00.png``, where no loader of image folders takes them for
    photos of the set, unless it reads every file below the folder.
    """
    lines = []
    for subject in subjects:
        name = folder_name(subject.id)
        make_folder(out / name)
        for index, file in enumerate(subject.references):
            suffix, content = image_bytes(file.image)
            row: dict[str, str] = {"file_name": f"{name}/{index:02d}{suffix}"}
            write_atomic(out / row["file_name"], content)
            caption = file.caption or f"a photo of {{{subject.id}}}"
            row["text"] = caption.replace(f"{{{subject.id}}}", subject.name)
            row |= {"subject": subject.id, "noun": subject.noun, "kind": subject.kind}
            row |= {} if subject.token is None else {"token": subject.token}
            if file.mask is not None:
                row["mask"] = f"masks/{name}/{index:02d}.png"
                make_folder(out / "masks" / name)
                write_atomic(out / row["mask"], mask_bytes(file))
            row |= {key: value for key in WORDS if (value := getattr(file, key)) is not None}
            lines.append(json.dumps(row, ensure_ascii=False))
    write_atomic(out / "metadata.jsonl", "\n".join(lines) + "\n")
