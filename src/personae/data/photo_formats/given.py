"""What somebody gave us to prepare, whatever layout it came in."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personae.data.photo_formats.outlines import Outline
from personae.errors import DataError
from personae.subjects.picture import SUFFIXES

__all__ = [
    "WORDS",
    "GivenPhoto",
    "GivenPhotos",
    "GivenSubject",
    "file_below",
    "is_photo",
    "optional_text",
    "subject_id",
]

WORDS = ("source", "license", "consent")
"""What may be said of a photo beside its caption."""


@dataclass(frozen=True)
class GivenPhoto:
    """A photo's file, its mask if there is one, and what is said of it (see `ReferenceFile`)."""

    image: Path
    mask: Path | Outline | None = None
    caption: str | None = None
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GivenSubject:
    """A subject as it was given: what is not said is None."""

    id: str
    photos: tuple[GivenPhoto, ...]
    noun: str | None = None
    kind: str | None = None
    token: str | None = None


@dataclass(frozen=True)
class GivenPhotos:
    """Subjects in name order, the layout they came in, and what was left out, with the reason."""

    layout: str
    subjects: tuple[GivenSubject, ...]
    left_out: tuple[str, ...] = ()


def is_photo(path: Path) -> bool:
    """Whether a file is a photo by its name; masks beside photos are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.lower().endswith(".mask.png")


def subject_id(name: str, where: str) -> str:
    """A name as an id; composed, so that one name typed on two systems is one id.

    Raises:
        DataError: braces, slashes or nothing, which no caption or folder could hold.
    """
    name = unicodedata.normalize("NFC", name).strip()
    if not name or name.startswith(".") or set(name) & set("{}/\\\0\n"):
        raise DataError(
            f"{where}: {name!r} cannot be the id of a subject; expected a name without braces, "
            "slashes or a dot in front: rename it"
        )
    return name


def file_below(folder: Path, text: object, where: str) -> Path:
    """The file that a line names, which has to lie below the line's folder.

    Raises:
        DataError: no path, a path that leaves the folder, or no such file.
    """
    if not isinstance(text, str) or not text:
        raise DataError(f"{where}: expected the path of a file; got {text!r}")
    path = folder / text
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{where}: {text!r} leaves {folder}; move the file below it")
    if not path.is_file():
        raise DataError(f"{where}: {path}: no such file; mend the path or remove the line")
    return path


def optional_text(row: Mapping[str, Any], key: str, where: str) -> str | None:
    """A text that need not be there.

    Raises:
        DataError: it is there and is no text.
    """
    value = row.get(key)
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise DataError(f"{where}: {key}: expected a text; got {value!r}")
    return value.strip() if isinstance(value, str) else None
