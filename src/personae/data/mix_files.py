"""Mixes as files, for other trainers: pictures, captions, a mask a subject."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from personae.compute.runs import make_folder, write_atomic
from personae.compute.workers import make_workers
from personae.data.cast_examples import CastExamples
from personae.errors import WorkError

__all__ = ["write_mixes"]

_AT_ONCE = 8


def write_mixes(
    source: CastExamples,
    count: int,
    out: Path,
    *,
    num_workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write mixes 0 to ``count`` of a cast; gives the path of ``metadata.jsonl`` back.

    ``out`` is an image folder as Hugging Face datasets read it: ``000000.png`` and so on, and a
    line ``{"file_name", "text", "masks": {ID: PATH}, "boxes": {ID: [left, top, right, bottom]}}``
    each, boxes in pixels. Masks lie in ``masks/000000.ID.png``, white on the visible part. Words
    are final: token and noun. What is there already is written again, to the same bytes.

    Args:
        source: the cast, and how it is mixed.
        count: how many.
        out: folder.
        num_workers: processes; 0 is one for each core.
        progress: is told (mixes done, of how many).
    """
    make_folder(out / "masks")
    parts = [range(at, min(at + _AT_ONCE, count)) for at in range(0, count, _AT_ONCE)]
    lines: list[dict[str, Any]] = []
    for made in make_workers(num_workers).map(partial(_same, source, out), _write_part, parts):
        lines += made
        if progress:
            progress(len(lines), count)
    path = out / "metadata.jsonl"
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return path


def _same(source: CastExamples, out: Path) -> tuple[CastExamples, Path]:
    return source, out


def _write_part(held: tuple[CastExamples, Path], numbers: range) -> list[dict[str, Any]]:
    return [_write(*held, number) for number in numbers]


def _write(source: CastExamples, out: Path, number: int) -> dict[str, Any]:
    mixed, name = source.mix(number), f"{number:06d}"
    masks = {subject: f"masks/{name}.{subject}.png" for subject in mixed.masks}
    try:
        Image.fromarray(mixed.image).save(out / f"{name}.png")
        for subject, path in masks.items():
            Image.fromarray(mixed.masks[subject].astype(np.uint8) * 255).save(out / path)
    except OSError as error:
        raise WorkError(f"{out}: cannot be written ({error.strerror or error})") from error
    return {
        "file_name": f"{name}.png",
        "text": source.words(mixed.prompt),
        "masks": masks,
        "boxes": {subject: list(box.xyxy) for subject, box in mixed.boxes.items()},
    }
