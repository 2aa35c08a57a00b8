"""Layouts of photos with masks and captions that come in and go out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from personae.compute.runs import make_folder
from personae.data.photo_formats.coco import is_coco, read_coco, write_coco
from personae.data.photo_formats.folders import read_folders, write_folders
from personae.data.photo_formats.given import GivenPhoto, GivenPhotos, GivenSubject, is_photo
from personae.data.photo_formats.imagefolder import json_rows, read_imagefolder, write_imagefolder
from personae.data.photo_formats.mudi import is_mudi, read_mudi, write_mudi
from personae.errors import DataError, RequestError
from personae.subjects.subject import Subject

__all__ = [
    "WRITERS",
    "GivenPhoto",
    "GivenPhotos",
    "GivenSubject",
    "read_photos",
    "write_photos",
]

WRITERS: Mapping[str, Callable[[Sequence[Subject], Path], None]] = {
    "mudi": write_mudi,
    "imagefolder": write_imagefolder,
    "coco": write_coco,
    "masks": write_folders,
}


def read_photos(path: Path) -> GivenPhotos:
    """Read photos in whichever layout they lie: a folder, its metadata.jsonl, or COCO's JSON.

    Raises:
        DataError: nothing there, no subject, or a bad line, named by its number.
    """
    if path.is_file():
        return read_coco(path) if path.suffix.lower() == ".json" else _read_lines(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; check the path")
    if (path / "metadata.jsonl").is_file():
        return _read_lines(path / "metadata.jsonl")
    files = [item for item in sorted(path.iterdir()) if not item.name.startswith(".")]
    for file in files:
        if file.suffix.lower() == ".json" and file.is_file() and is_coco(file):
            return read_coco(file)
    if any(is_photo(file) for file in files) and not any(file.is_dir() for file in files):
        raise DataError(
            f"{path}: photos, but no folder a subject; move them into one, such as "
            f"{path / 'cat'}, or name the folder above: {path.parent}"
        )
    return read_folders(path)


def _read_lines(path: Path) -> GivenPhotos:
    first = next(json_rows(path), None)
    if first is None:
        raise DataError(f"{path}: empty; expected a line a photo")
    return read_mudi(path) if is_mudi(first[1]) else read_imagefolder(path)


def write_photos(subjects: Sequence[Subject], layout: str, out: Path) -> None:
    """Write a cast's photos, masks and captions in another layout (see `WRITERS`).

    Raises:
        RequestError: an unknown layout, or a folder that holds something already.
        DataError: a photo or mask that cannot be read, or a mask that the layout needs.
    """
    if layout not in WRITERS:
        raise RequestError(f"--format {layout!r}: expected one of {list(WRITERS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(f"--out {out}: not an empty folder; choose another")
    make_folder(out)
    WRITERS[layout](subjects, out)
