"""MuDI's folder: metadata.jsonl, whose first line names the subjects, and mask_FILE beside FILE."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personae.compute.runs import make_folder, write_atomic
from personae.data.caption import caption_from_text
from personae.data.photo_formats.given import (
    GivenPhoto,
    GivenPhotos,
    GivenSubject,
    file_below,
    optional_text,
    subject_id,
)
from personae.data.photo_formats.imagefolder import json_rows
from personae.data.photo_formats.written import folder_name, image_bytes, mask_bytes
from personae.errors import DataError
from personae.subjects.subject import Subject

__all__ = ["is_mudi", "read_mudi", "write_mudi"]


def is_mudi(row: Mapping[str, Any]) -> bool:
    """Whether this first line of a metadata.jsonl is MuDI's: ``{"id": {"a": "olis corgi"}}``."""
    return isinstance(row.get("id"), dict)


def read_mudi(path: Path) -> GivenPhotos:
    """Read MuDI's metadata.jsonl.

    Line 1 gives each id its token and class, the first word being the token; every other line has
    ``id``, ``file_name``, ``text`` and perhaps ``mask_path``. Unlike the program it comes from,
    which ends in silence at the first bad line, this refuses the file and names the line.

    Raises:
        DataError: a bad line, an id that line 1 does not know, or no photo of an id.
    """
    rows = json_rows(path)
    where, head = next(rows, (f"{path}:1", {}))
    names = _names(head, where)
    photos: dict[str, list[GivenPhoto]] = {name: [] for name in names}
    for place, row in rows:
        name = row.get("id")
        if not isinstance(name, str) or name not in names:
            raise DataError(f"{place}: id: expected one of {list(names)}; got {name!r}")
        photos[name].append(_photo(row, place, path.parent, name, names[name]))
    for name, found in photos.items():
        if not found:
            raise DataError(f"{where}: {name!r} has no photo; add a line for one, or remove the id")
    subjects = (
        GivenSubject(
            name,
            tuple(sorted(photos[name], key=lambda photo: photo.image)),
            noun=names[name][1],
            token=names[name][0],
        )
        for name in sorted(names)
    )
    return GivenPhotos("mudi", tuple(subjects))


def _names(head: Mapping[str, Any], where: str) -> dict[str, tuple[str | None, str]]:
    """Id -> token and class; a class of one word has no token before it."""
    if not is_mudi(head) or not head["id"]:
        raise DataError(f'{where}: expected {{"id": {{"a": "TOKEN CLASS", ...}}}}; got {head!r}')
    names: dict[str, tuple[str | None, str]] = {}
    for key, text in head["id"].items():
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: {key!r}: expected token and class; got {text!r}")
        first, _, rest = text.strip().partition(" ")
        names[subject_id(key, where)] = (first, rest.strip()) if rest else (None, first)
    return names


def _photo(
    row: Mapping[str, Any], where: str, folder: Path, name: str, told: tuple[str | None, str]
) -> GivenPhoto:
    image = file_below(folder, row.get("file_name"), where)
    mask_path = row.get("mask_path")
    beside = image.with_name(f"mask_{image.name}")
    if mask_path is not None:
        mask: Path | None = file_below(folder, mask_path, where)
    else:
        mask = beside if beside.is_file() else None
    text = optional_text(row, "text", where)
    token, noun = told
    names = [f"{token} {noun}", noun, token] if token else [noun]
    caption = None if text is None else caption_from_text(text, name, [n for n in names if n])
    return GivenPhoto(image, mask, caption)


def write_mudi(subjects: Sequence[Subject], out: Path) -> None:
    """Write MuDI's folder: SUBJECT_00.png, mask_SUBJECT_00.png and metadata.jsonl.

    Raises:
        DataError: a photo has no mask, which this layout cannot do without.
    """
    make_folder(out)
    lines = [json.dumps({"id": {item.id: item.name for item in subjects}}, ensure_ascii=False)]
    for subject in subjects:
        for index, file in enumerate(subject.references):
            suffix, content = image_bytes(file.image)
            stem = f"{folder_name(subject.id)}_{index:02d}"
            caption = file.caption or f"a photo of {{{subject.id}}}"
            row = {
                "id": subject.id,
                "file_name": f"{stem}{suffix}",
                "mask_path": f"mask_{stem}.png",
                "text": caption.replace(f"{{{subject.id}}}", subject.name),
            }
            write_atomic(out / row["file_name"], content)
            write_atomic(out / row["mask_path"], mask_bytes(file))
            lines.append(json.dumps(row, ensure_ascii=False))
    write_atomic(out / "metadata.jsonl", "\n".join(lines) + "\n")
