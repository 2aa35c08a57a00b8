"""Items of a suite's file: JSON, JSON lines or CSV, each as a mapping."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personae.compute.runs import read_json
from personae.errors import DataError
from personae.subjects.manifest import json_lines

__all__ = ["read_items", "read_records", "text_of"]


def read_items(path: Path) -> list[Mapping[str, Any] | DataError]:
    """A list of objects (or an object of objects) in .json, an object a line in .jsonl, or .csv.

    An item that cannot be read is an error in its place: the others keep theirs.

    Raises:
        DataError: the file cannot be read or holds something else; it says where.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return [*_csv(path)]
    if suffix == ".jsonl":
        return [_object(item, f"{path}:{number}") for number, item in json_lines(path)]
    found = read_json(path)
    if isinstance(found, dict) and found and all(isinstance(item, dict) for item in found.values()):
        found = list(found.values())
    if not isinstance(found, list):
        raise DataError(f"{path}: expected a list of items; got {type(found).__name__}")
    return [_object(item, f"{path}: item {number}") for number, item in enumerate(found)]


def read_records(path: Path) -> list[Mapping[str, Any]]:
    """The same, where each item is needed.

    Raises:
        DataError: as `read_items`, and for the first item that cannot be read.
    """
    records = []
    for item in read_items(path):
        if isinstance(item, DataError):
            raise item
        records.append(item)
    return records


def text_of(record: Mapping[str, Any], key: str, where: str) -> str:
    """A text that has to be there.

    Raises:
        DataError: it is not, or is something else.
    """
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {key}: expected a text; got {value!r}, of {sorted(record)}")
    return value.strip()


def _object(item: object, where: str) -> Mapping[str, Any] | DataError:
    if isinstance(item, DataError | dict):
        return item
    return DataError(f"{where}: expected an object; got {type(item).__name__}")


def _csv(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
