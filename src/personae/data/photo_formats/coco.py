"""COCO: one JSON file of images, annotations with segmentations, and categories as subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personae.compute.runs import make_folder, read_json, write_atomic, write_json
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
from personae.data.photo_formats.outlines import Outline, runs_from_mask
from personae.data.photo_formats.written import folder_name, image_bytes, reference_mask
from personae.errors import DataError
from personae.subjects.mask import mask_box
from personae.subjects.picture import read_picture
from personae.subjects.subject import ReferenceFile, Subject

__all__ = ["is_coco", "read_coco", "write_coco"]

_FILE = "annotations.json"
_LISTS = ("images", "annotations", "categories")


def is_coco(path: Path) -> bool:
    """Whether a JSON file has COCO's three lists."""
    try:
        data = read_json(path)
    except DataError:
        return False
    return isinstance(data, dict) and all(isinstance(data.get(key), list) for key in _LISTS)


def read_coco(path: Path) -> GivenPhotos:
    """Read COCO annotations: a category is a subject, an annotation its mask in a photo.

    Several annotations of a category in a photo are one mask (which is then flagged as doubtful,
    for it has several parts). Polygons and uncompressed RLE are read. ``noun``, ``kind`` and
    ``token`` of a category and ``caption`` of an annotation are read where they are there.

    Raises:
        DataError: a list is missing, or an entry is bad; the message names it.
    """
    data = read_json(path)
    images = _by_id(data, "images", path)
    categories = _by_id(data, "categories", path)
    found: dict[tuple[Any, Any], list[tuple[str, Mapping[str, Any]]]] = {}
    for index, item in enumerate(_list(data, "annotations", path)):
        where = f"{path}: annotations[{index}]"
        if not isinstance(item, dict):
            raise DataError(f"{where}: expected an object; got {type(item).__name__}")
        key = (item.get("category_id"), item.get("image_id"))
        for name, one, known in (("category", key[0], categories), ("image", key[1], images)):
            if one not in known:
                raise DataError(f"{where}: {name}_id {one!r} is not in the file; mend it")
        found.setdefault(key, []).append((where, item))
    subjects = [
        _subject(
            (where, item),
            {i: rows for (c, i), rows in found.items() if c == number},
            images,
            path.parent,
        )
        for number, (where, item) in categories.items()
    ]
    empty = tuple(
        f"{where}: no annotation of this category; no subject was made of it"
        for (where, _), subject in zip(categories.values(), subjects, strict=True)
        if not subject.photos
    )
    kept = sorted((item for item in subjects if item.photos), key=lambda item: item.id)
    if len({item.id for item in kept}) < len(kept):
        raise DataError(f"{path}: two categories of one name; rename one")
    if not kept:
        raise DataError(f"{path}: no annotation; expected one a photo and subject")
    return GivenPhotos("coco", tuple(kept), empty)


def _list(data: Any, key: str, path: Path) -> list[Any]:
    values = data.get(key) if isinstance(data, dict) else None
    if not isinstance(values, list):
        raise DataError(f"{path}: {key}: expected a list; is this a file of COCO annotations?")
    return values


def _by_id(data: Any, key: str, path: Path) -> dict[Any, tuple[str, Mapping[str, Any]]]:
    entries: dict[Any, tuple[str, Mapping[str, Any]]] = {}
    for index, item in enumerate(_list(data, key, path)):
        where = f"{path}: {key}[{index}]"
        if not isinstance(item, dict) or not isinstance(item.get("id"), int | str):
            raise DataError(f"{where}: expected an object with an id; got {item!r}")
        if item["id"] in entries:
            raise DataError(f"{where}: id {item['id']!r} was used before; give it another")
        entries[item["id"]] = (where, item)
    return entries


def _subject(
    told: tuple[str, Mapping[str, Any]],
    rows: Mapping[Any, Sequence[tuple[str, Mapping[str, Any]]]],
    images: Mapping[Any, tuple[str, Mapping[str, Any]]],
    folder: Path,
) -> GivenSubject:
    where, category = told
    name = subject_id(optional_text(category, "name", where) or "", where)
    photos = []
    for image, drawn in rows.items():
        place, entry = images[image]
        outline = Outline.of([item.get("segmentation") for _, item in drawn], drawn[0][0])
        text = optional_text(drawn[0][1], "caption", drawn[0][0])
        words = {key: optional_text(entry, key, place) for key in WORDS if key in entry}
        photos.append(
            GivenPhoto(
                file_below(folder, entry.get("file_name"), place),
                outline,
                None if text is None else caption_from_text(text, name, [name]),
                {key: value for key, value in words.items() if value is not None},
            )
        )
    said = {key: optional_text(category, key, where) for key in ("noun", "kind", "token")}
    photos.sort(key=lambda photo: photo.image)
    return GivenSubject(name, tuple(photos), **said)


def write_coco(subjects: Sequence[Subject], out: Path) -> None:
    """Write SUBJECT/00.png and annotations.json; masks are uncompressed RLE, so they come back.

    Raises:
        DataError: a photo has no mask: COCO says where a thing is by nothing else.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: list[dict[str, Any]] = []
    for number, subject in enumerate(subjects, start=1):
        said = {"noun": subject.noun, "kind": subject.kind, "token": subject.token}
        said = {key: value for key, value in said.items() if value is not None}
        categories.append({"id": number, "name": subject.id, "supercategory": subject.kind, **said})
        make_folder(out / folder_name(subject.id))
        for index, file in enumerate(subject.references):
            suffix, content = image_bytes(file.image)
            name = f"{subject.id}/{index:02d}{suffix}"
            write_atomic(out / name, content)
            images.append(_image(len(images) + 1, name, file))
            annotations.append(_annotation(len(annotations) + 1, len(images), number, file))
    data = {"images": images, "annotations": annotations, "categories": categories}
    write_json(out / _FILE, data)


def _image(number: int, name: str, file: ReferenceFile) -> dict[str, Any]:
    height, width = read_picture(file.image).shape[:2]
    said = {key: value for key in WORDS if (value := getattr(file, key)) is not None}
    return {"id": number, "file_name": name, "width": width, "height": height, **said}


def _annotation(number: int, image: int, category: int, file: ReferenceFile) -> dict[str, Any]:
    mask = reference_mask(file)
    if mask is None or not mask.any():
        raise DataError(
            f"{file.image}: has no mask, which COCO needs; run `personae prepare` first"
        )
    box = mask_box(mask)
    row = {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": {"counts": runs_from_mask(mask), "size": list(mask.shape)},
        "area": int(mask.sum()),
        "bbox": [box.left, box.top, box.width, box.height],
        "iscrowd": 1,
    }
    return row if file.caption is None else {**row, "caption": file.caption}
