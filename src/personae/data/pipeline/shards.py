"""Shards on disk: written whole or not at all, and known again by what they were made with."""

from __future__ import annotations

import os
import shutil
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personae.compute.runs import make_folder, read_json, write_json
from personae.data.pipeline.items import ITEMS_FILE, Made, Shard, write_lines
from personae.errors import DataError

__all__ = ["read_whole", "remove_beyond", "shard_name", "write_shard"]

_DONE = "done.json"
_LOST = "lost.jsonl"
_COUNTS = ("num_in", "num_out", "dropped", "failed", "unmeasured", "seconds")


def shard_name(number: int) -> str:
    """Of its folder.

    >>> shard_name(12)
    'shard-000012'
    """
    return f"shard-{number:06d}"


def write_shard(
    shard: Shard,
    folder: Path,
    made: Made,
    files: Mapping[str, int],
    told: Mapping[str, Any],
) -> dict[str, Any]:
    """Write a shard's lines, then ``done.json``, which vouches for them; its counts.

    Args:
        shard: what it will be.
        folder: where it grows.
        made: what is in it.
        files: sizes of the files that lie in ``folder/files`` already.
        told: ``num_in``, ``seconds`` and what it was made by.

    Raises:
        DataError: two items of one id.
        WorkError: the disk is full.
    """
    make_folder(folder)
    twice = [name for name, n in Counter(item.id for item in made.items).items() if n > 1]
    if twice:
        raise DataError(f"{shard.folder}: two items of one id were made ({twice[0]!r})")
    sums = {
        ITEMS_FILE: write_lines(folder / ITEMS_FILE, (item.line() for item in made.items)),
        _LOST: write_lines(folder / _LOST, (one.line() for one in made.lost)),
    }
    reasons = {
        kind: dict(Counter(one.reason for one in made.lost if one.failed == failed))
        for kind, failed in (("dropped", False), ("failed", True))
    }
    reasons["unmeasured"] = dict(made.unmeasured)
    done = {"digest": shard.digest, "sums": sums, "files": dict(files), **told}
    done |= {"num_out": len(made.items), **reasons}
    write_json(folder / _DONE, done)
    return {key: done[key] for key in _COUNTS}


def read_whole(shard: Shard) -> dict[str, Any] | None:
    """A shard's counts, if it is what would be made now, to the last line and file; else None."""
    try:
        done = read_json(shard.folder / _DONE)
        if done["digest"] != shard.digest:
            return None
        for name, told in done["sums"].items():
            if zlib.crc32((shard.folder / name).read_bytes()) != told:
                return None
        files = os.fspath(shard.folder / "files")
        for name, size in done["files"].items():
            if os.stat(f"{files}/{name}").st_size != size:  # noqa: PTH116 - one for each picture
                return None
        return {key: done[key] for key in _COUNTS}
    except (DataError, OSError, KeyError, TypeError, AttributeError):
        return None


def remove_beyond(folder: Path, count: int) -> None:
    """Remove shards of a longer run before, and what a killed one left half."""
    for path in folder.iterdir():
        number = path.name.removeprefix("shard-")
        if path.name.startswith(".shard-") or (number.isdigit() and int(number) >= count):
            shutil.rmtree(path, ignore_errors=True)
