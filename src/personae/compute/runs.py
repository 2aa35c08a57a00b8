"""Run folders: files that are whole or not there, and a log of rows that survives a kill."""

from __future__ import annotations

import errno
import json
import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from personae.errors import DataError, WorkError

__all__ = ["RowLog", "make_folder", "read_json", "read_rows", "write_atomic", "write_json"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def make_folder(path: Path) -> Path:
    """Make a folder and those above it.

    Raises:
        WorkError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(f"{path}: cannot make this folder ({error.strerror or error})") from error
    return path


def write_atomic(path: Path, content: str | bytes | Iterable[str]) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it.

    Texts that come one after the other are written as they come, and never held together.

    Raises:
        WorkError: the disk is full, or the folder cannot be written.
    """
    # Of a thread as well: two of one process may write the same file at once.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    parts = (content,) if isinstance(content, str | bytes) else content
    try:
        with temporary.open("wb") as stream:
            stream.writelines(part.encode() if isinstance(part, str) else part for part in parts)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _write_error(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, data: object) -> None:
    """Write JSON atomically, readable; NaN is refused."""
    write_atomic(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: missing, unreadable or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; is this the folder of a run?") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a results file, one at a time.

    Raises:
        DataError: no such file, or a line that is no row; it names the line.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    with stream:
        for number, line in enumerate(stream, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: not a row of JSON ({error})") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: expected an object; got {type(row).__name__}")
            yield row


class RowLog:
    """Blocks of rows appended to a file, each block wholly there or not at all.

    Rows go to ``results.jsonl``; after each block its key, its checksum and the file's new length
    go to a journal beside it. What lies behind the last block that the journal vouches for is the
    torn end of a killed run, and is cut off when the log is opened again.
    """

    def __init__(self, path: Path, journal: Path | None = None) -> None:
        self.path = path
        self.journal = journal or path.with_name(f".{path.stem}.journal.jsonl")
        self.done: dict[str, str] = {}
        make_folder(path.parent)
        length, journal_length = self._read_journal()
        try:
            self._rows = _open_cut(path, length)
            self._marks = _open_cut(self.journal, journal_length)
        except OSError as error:
            raise _write_error(path, error) from error

    def _read_journal(self) -> tuple[int, int]:
        if self.path.exists() and self.path.stat().st_size and not self.journal.exists():
            raise DataError(
                f"{self.path}: holds rows but its journal {self.journal.name} is gone, so it "
                "cannot be resumed; use --overwrite, or another --out"
            )
        length = journal_length = 0
        for line, mark, _ in self._blocks():
            self.done[mark["key"]] = mark["stamp"]
            length = mark["end"]
            journal_length += len(line)
        return length, journal_length

    def _blocks(self) -> Iterator[tuple[bytes, dict[str, Any], bytes]]:
        """Journal line, its mark, and the rows it vouches for, up to the first that is torn."""
        if not (self.path.exists() and self.journal.exists()):
            return
        with self.path.open("rb") as rows, self.journal.open("rb") as marks:
            for line in marks:
                mark = _mark(line)
                if mark is None:
                    return
                block = rows.read(mark["end"] - rows.tell())
                if rows.tell() != mark["end"] or zlib.crc32(block) != mark["crc"]:
                    return
                yield line, mark, block

    def append(self, key: str, stamp: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the block of one key; ``stamp`` says of what content (a hash of the inputs).

        Raises:
            WorkError: the disk is full; the file then ends behind the block before.
        """
        block = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        start, mark_start = self._rows.tell(), self._marks.tell()
        crc = zlib.crc32(block)
        mark = {"key": key, "stamp": stamp, "end": start + len(block), "crc": crc}
        try:
            _write_all(self._rows, block)
            _write_all(self._marks, json.dumps(mark).encode() + b"\n")
        except OSError as error:
            self._rows.truncate(start)
            self._marks.truncate(mark_start)
            raise _write_error(self.path, error) from error
        self.done[key] = stamp

    def drop(self, keys: Sequence[str]) -> None:
        """Take the blocks of these keys out, by writing both files anew.

        A kill between the two leaves a journal that does not fit the rows; the checksums tell,
        and what they do not vouch for is scored again.
        """
        gone, kept, marks, end = set(keys), [], [], 0
        for _, mark, block in self._blocks():
            if mark["key"] not in gone:
                end += len(block)
                kept.append(block)
                marks.append(json.dumps({**mark, "end": end}) + "\n")
        self.close()
        write_atomic(self.journal, "".join(marks))
        write_atomic(self.path, b"".join(kept))
        self.done = {key: stamp for key, stamp in self.done.items() if key not in gone}
        self._rows = _open_cut(self.path, end)
        self._marks = _open_cut(self.journal, self.journal.stat().st_size)

    def close(self) -> None:
        """Close both files; what was appended is on its way to the disk."""
        self._rows.close()
        self._marks.close()

    def __enter__(self) -> RowLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _mark(line: bytes) -> dict[str, Any] | None:
    """A line of the journal, or None where it is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        mark = json.loads(line)
    except ValueError:
        return None
    return (
        mark if isinstance(mark, dict) and {"key", "stamp", "end", "crc"} <= mark.keys() else None
    )


def _open_cut(path: Path, length: int) -> IO[bytes]:
    """Open for appending behind ``length`` bytes, without a buffer: each write is one call."""
    path.touch()
    stream = path.open("r+b", buffering=0)
    stream.truncate(length)
    stream.seek(length)
    return stream


def _write_all(stream: IO[bytes], data: bytes) -> None:
    """Write every byte: an unbuffered write may take only some, and say so by its return."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def _write_error(path: Path, error: OSError) -> WorkError:
    if error.errno in _FULL:
        return WorkError(
            f"{path}: the disk is full; what was finished is kept, free some space and run the "
            "same command again"
        )
    return WorkError(f"{path}: cannot be written ({error.strerror or error})")
