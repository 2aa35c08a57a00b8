"""Items, what becomes of them, and shards: what a pipeline's steps hand to each other."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from personae.compute.runs import write_atomic
from personae.errors import DataError

__all__ = [
    "ITEMS_FILE",
    "Item",
    "Lost",
    "Made",
    "Shard",
    "digest_of",
    "item_name",
    "read_items",
    "safe_path",
    "write_lines",
]

ITEMS_FILE = "items.jsonl"
_NAME = 48  # letters, of up to four bytes each: files have names of up to 255
_KEYS = ("id", "group", "files", "data", "license", "consent", "sources")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing on its way: a picture, a subject, a prompt, an example.

    Attributes:
        id: its name, unlike any other of its step.
        group: what belongs together (an album, a scene); items of a group share a shard.
        files: by name, paths relative to the pipeline's folder, or absolute for what came in.
        data: all else that is known of it, as JSON.
        license: under which it may be used; it passes through every step.
        consent: that of the people shown, likewise.
        sources: ids of the items that it was made of, step by step, as ``STEP:ID``.
    """

    id: str
    group: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    license: str | None = None
    consent: str | None = None
    sources: tuple[str, ...] = ()

    def child(self, name: str, step: str, **changes: Any) -> Item:
        """Another item made of this one: license, consent and group stay, it becomes a source."""
        return replace(self, id=name, sources=(*self.sources, f"{step}:{self.id}"), **changes)

    def line(self) -> str:
        """As JSON, without what is empty."""
        told = {key: value for key, value in vars(self).items() if value or key == "id"}
        return json.dumps(told)


@dataclass(frozen=True)
class Lost:
    """An item that goes no further: dropped by a rule, or failed by an accident.

    Attributes:
        id: of the item.
        reason: in words that are the same for the same cause, so that they can be counted.
        failed: it could not be looked at or made; else a rule said no.
        detail: what differs from item to item (a number, a message).
    """

    id: str
    reason: str
    failed: bool = False
    detail: str = ""

    def line(self) -> str:
        """As JSON."""
        return json.dumps(vars(self))


@dataclass(frozen=True)
class Made:
    """What a step makes of a group of items: each that came in is in ``items`` or in ``lost``.

    ``unmeasured``: how many of ``items`` went on without being looked at, for which reason.
    """

    items: tuple[Item, ...] = ()
    lost: tuple[Lost, ...] = ()
    unmeasured: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Shard:
    """A folder of items, whole or not there.

    Attributes:
        folder: where ``items.jsonl``, ``lost.jsonl``, ``files/`` and ``done.json`` lie.
        digest: of its items and of what they were made with; another content has another one.
    """

    folder: Path
    digest: str

    def items(self) -> list[Item]:
        """Its items.

        Raises:
            DataError: a line that is no item.
        """
        return read_items(self.folder / ITEMS_FILE)


def read_items(path: Path) -> list[Item]:
    """The items of a file, every line of it.

    Raises:
        DataError: it cannot be read, or a line is no item; the line is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return [_item(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _item(line: str, where: str) -> Item:
    try:
        told = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not a line of JSON ({error})") from error
    if not isinstance(told, dict) or not isinstance(told.get("id"), str) or set(told) - set(_KEYS):
        raise DataError(
            f"{where}: expected an item with id and some of {_KEYS[1:]}; got {line:.80}"
        )
    for name in ("files", "data"):
        if not isinstance(told.get(name, {}), dict):
            raise DataError(f"{where}: {name}: expected an object; got {told[name]!r:.80}")
    return Item(**{**told, "sources": tuple(told.get("sources", ()))})


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write lines atomically; the checksum of what was written."""
    content = "".join(line + "\n" for line in lines).encode()
    write_atomic(path, content)
    return zlib.crc32(content)


def digest_of(*parts: Any) -> str:
    """16 hex digits of values that JSON can hold."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def item_name(text: str, taken: Sequence[str] | set[str] = ()) -> str:
    """A text as the name of a folder or file: letters, digits, ``-_.``; unlike those taken.

    What else it holds is replaced, and a short hash of the text keeps two texts apart.

    >>> item_name("a clip"), item_name("clip_1"), item_name("../x")
    ('a_clip-e89953', 'clip_1', '.._x-d6b96a')
    """
    plain = re.sub(r"[^\w.-]", "_", text) or "_"
    if plain == text and len(plain) <= _NAME and plain not in taken and plain not in {".", ".."}:
        return plain
    return f"{plain[:_NAME]}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def safe_path(path: str) -> PurePosixPath:
    """A relative path that stays below its folder.

    Raises:
        DataError: it is absolute, or leaves the folder.
    """
    parts = PurePosixPath(path)
    is_foreign = "\\" in path or ":" in (parts.parts[:1] or ("",))[0]  # as Windows writes them
    if not parts.parts or parts.is_absolute() or ".." in parts.parts or is_foreign:
        raise DataError(f"{path!r}: expected a path below the folder; it leaves it")
    return parts
