"""Writing scenes.jsonl: what `read_scenes` reads back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from personae.compute.runs import write_atomic
from personae.errors import DataError
from personae.subjects.scene import Scene
from personae.subjects.subject import ReferenceFile, Subject

__all__ = ["write_scenes"]


def write_scenes(scenes: Iterable[Scene], path: Path) -> None:
    """Write scenes.jsonl, whole or not at all; paths are relative to its folder.

    Photos may lie anywhere: reading needs a ``root`` that holds them. A mask that merely stands
    beside its photo need not be named, and one that is named stays. A file that holds the same
    already is not touched.

    Raises:
        DataError: two scenes share an id.
        WorkError: the file cannot be written.
    """
    lines: dict[str, str] = {}
    for scene in scenes:
        if scene.id in lines:
            raise DataError(f"{path}: two scenes with the id {scene.id!r}; rename one")
        lines[scene.id] = json.dumps(_line(scene, path.parent), ensure_ascii=False)
    text = "".join(line + "\n" for line in lines.values())
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomic(path, text)


def _line(scene: Scene, folder: Path) -> dict[str, Any]:
    line: dict[str, Any] = {
        "id": scene.id,
        "prompt": scene.prompt,
        "subjects": {name: _subject(item, folder) for name, item in scene.subjects.items()},
    }
    if scene.layout:
        line["layout"] = {name: list(box) for name, box in scene.layout.items()}
    if scene.relation is not None:
        line["relation"] = [scene.relation.first, scene.relation.words, scene.relation.second]
    if scene.claims:
        line["claims"] = [vars(claim) for claim in scene.claims]
    return line


def _subject(subject: Subject, folder: Path) -> dict[str, Any]:
    line: dict[str, Any] = {"noun": subject.noun, "kind": subject.kind}
    if subject.token is not None:
        line["token"] = subject.token
    line["references"] = [_reference(file, folder) for file in subject.references]
    if subject.target is not None:
        line["target"] = _reference(subject.target, folder)
    return line


def _reference(file: ReferenceFile, folder: Path) -> dict[str, str]:
    line = {"image": _relative(file.image, folder)}
    if file.mask is not None:
        line["mask"] = _relative(file.mask, folder)
    said = {key: getattr(file, key) for key in ("caption", "source", "license", "consent")}
    return line | {key: value for key, value in said.items() if value is not None}


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
