"""A folder a subject: photos, masks beside them as NAME.mask.png, noun.txt, metadata.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from personae.compute.runs import make_folder, write_atomic
from personae.data.photo_formats.given import (
    GivenPhoto,
    GivenPhotos,
    GivenSubject,
    is_photo,
    subject_id,
)
from personae.data.photo_formats.imagefolder import said_in_folder
from personae.data.photo_formats.written import folder_name, image_bytes, mask_bytes
from personae.errors import DataError
from personae.subjects.subject import Subject

__all__ = ["read_folders", "write_folders"]

_NOUN, _CAPTIONS = "noun.txt", "metadata.jsonl"


def read_folders(photos: Path) -> GivenPhotos:
    """Read a folder of folders; what is neither photo nor known is left out, and said.

    Raises:
        DataError: no subject in it, two folders of one name, or a bad line in a metadata.jsonl.
    """
    subjects: dict[str, GivenSubject] = {}
    left_out: list[str] = []
    for path in _visible(photos):
        if not path.is_dir():
            left_out.append(f"{path}: lies beside the subjects' folders; expected one a subject")
            continue
        subject = _subject(path, left_out)
        if subject is None:
            left_out.append(f"{path}: no photo in it; no subject was made of it")
        elif subject.id in subjects:
            raise DataError(f"{path}: a second folder for the subject {subject.id!r}; rename one")
        else:
            subjects[subject.id] = subject
    if not subjects:
        raise DataError(
            f"{photos}: no subject; expected a folder a subject with photos in it, such as "
            f"{photos / 'cat' / '00.jpg'}"
        )
    return GivenPhotos("folders", tuple(subjects.values()), tuple(left_out))


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _subject(folder: Path, left_out: list[str]) -> GivenSubject | None:
    name = subject_id(folder.name, str(folder))
    photos = []
    for path in _visible(folder):
        if path.is_file() and is_photo(path):
            beside = path.with_suffix(".mask.png")
            photos.append(GivenPhoto(path, beside if beside.is_file() else None))
        elif path.is_dir():
            left_out.append(f"{path}: a folder inside a subject's; its photos are not taken")
        elif path.name not in {_NOUN, _CAPTIONS} and not path.name.endswith(".mask.png"):
            left_out.append(f"{path}: not a photo by its name; expected png, jpg, jpeg or webp")
    if not photos:
        return None
    subject = GivenSubject(name, tuple(photos), noun=_noun(folder / _NOUN))
    return _with_captions(subject, folder / _CAPTIONS)


def _noun(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        words = " ".join(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error
    if not words:
        raise DataError(f"{path}: empty; write the noun into it, such as: red monster plush")
    return words


def _with_captions(subject: GivenSubject, path: Path) -> GivenSubject:
    if not path.is_file():
        return subject
    said = said_in_folder(path, subject.id)
    by_file = {photo.image.name: photo for photo in said.photos}
    photos = tuple(
        replace(photo, caption=row.caption, words=row.words, mask=row.mask or photo.mask)
        if (row := by_file.get(photo.image.name))
        else photo
        for photo in subject.photos
    )
    noun = subject.noun or said.noun
    return replace(subject, photos=photos, noun=noun, kind=said.kind, token=said.token)


def write_folders(subjects: Sequence[Subject], out: Path) -> None:
    """Write a folder a subject: 00.png, 00.mask.png and so on, and the noun in noun.txt."""
    for subject in subjects:
        folder = make_folder(out / folder_name(subject.id))
        write_atomic(folder / _NOUN, subject.noun + "\n")
        for index, file in enumerate(subject.references):
            suffix, content = image_bytes(file.image)
            write_atomic(folder / f"{index:02d}{suffix}", content)
            if file.mask is not None:
                write_atomic(folder / f"{index:02d}.mask.png", mask_bytes(file))
