"""Pictures straight from a .zip or .tar: nothing is unpacked to the disk, nothing is trusted.

An archive is looked over before anything in it is read. One that does what archives of pictures do
not (names that leave their folder, links, archives within, more bytes than it could hold) is
refused as a whole: whoever made such a member made the others too.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

from personae.data.pipeline.items import safe_path
from personae.errors import DataError

__all__ = ["ARCHIVES", "LIMITS", "ArchiveLimits", "Member", "members_of", "reading"]

ARCHIVES = (".zip", ".tar")
_NESTED = (*ARCHIVES, ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tbz2", ".txz")
_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """What an archive of pictures may be.

    Attributes:
        members: how many.
        member_bytes: of one, unpacked.
        total_bytes: of all, unpacked.
        ratio: how many times larger a member of more than a megabyte is unpacked than packed;
            pictures are packed already and stay below 20.
    """

    members: int = 100_000
    member_bytes: int = 256 * 2**20
    total_bytes: int = 64 * 2**30
    ratio: float = 100.0


LIMITS = ArchiveLimits()


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name there, its size unpacked, and where a tar has its bytes."""

    name: str
    size: int
    offset: int = 0

    @property
    def path(self) -> PurePosixPath:
        """Its name as a path."""
        return PurePosixPath(self.name)


def members_of(archive: Path, limits: ArchiveLimits = LIMITS) -> Sequence[Member]:
    """The files of an archive in the order of their names, none of them read.

    Raises:
        DataError: it is no archive, is damaged, or is refused; it says which member and why.
    """
    try:
        status = archive.stat()
    except OSError as error:
        raise DataError(f"{archive}: cannot be read ({error.strerror or error})") from error
    return _members(archive, status.st_size, status.st_mtime_ns, limits)


@lru_cache(maxsize=8)
def _members(archive: Path, size: int, time_ns: int, limits: ArchiveLimits) -> tuple[Member, ...]:
    found: dict[str, Member] = {}
    total = 0
    with _opened(archive) as opened:
        for member in _listed(archive, opened, limits):
            if member.name in found:
                raise _refused(archive, member.name, "there are two of this name")
            total += member.size
            found[member.name] = member
            if len(found) > limits.members:
                raise _refused(archive, member.name, f"more than {limits.members} files")
            if member.size > limits.member_bytes:
                raise _refused(archive, member.name, f"unpacks to {member.size} bytes")
            if total > limits.total_bytes:
                raise _refused(archive, member.name, f"unpacks to over {limits.total_bytes} bytes")
    return tuple(sorted(found.values(), key=lambda one: one.path))


@contextmanager
def reading(archive: Path) -> Iterator[Callable[[Member], bytes]]:
    """What reads members of an archive, one at a time and never more than was told of each.

    Raises:
        DataError: it cannot be opened; what is given raises it for a member that is damaged.
    """
    with _opened(archive) as opened:
        yield partial(_read, archive, opened)


def _read(archive: Path, opened: zipfile.ZipFile | tarfile.TarFile, member: Member) -> bytes:
    with _told_of(archive):
        if isinstance(opened, zipfile.ZipFile):
            with opened.open(member.name) as stream:
                content = stream.read(member.size + 1)
        else:
            with archive.open("rb") as plain:
                plain.seek(member.offset)
                content = plain.read(member.size)
    if len(content) != member.size:
        raise DataError(
            f"{archive}: {member.name}: expected {member.size} bytes, got {len(content)}; the "
            "archive is damaged, make it again"
        )
    return content


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    with _told_of(archive):
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as opened:
                yield opened
        else:
            with tarfile.open(archive, "r:") as opened:  # never a packed one
                yield opened


@contextmanager
def _told_of(archive: Path) -> Iterator[None]:
    """What the readers raise, with the file's name."""
    try:
        yield
    except DataError:
        raise
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DataError(
            f"{archive}: damaged or no such archive ({error}); make it again"
        ) from error
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise DataError(f"{archive}: cannot be read ({error})") from error


def _listed(
    archive: Path, opened: zipfile.ZipFile | tarfile.TarFile, limits: ArchiveLimits
) -> Iterator[Member]:
    if isinstance(opened, zipfile.ZipFile):
        yield from _zipped(archive, opened, limits)
    else:
        yield from _tarred(archive, opened)


def _zipped(archive: Path, opened: zipfile.ZipFile, limits: ArchiveLimits) -> Iterator[Member]:
    for info in opened.infolist():
        # zipfile cuts a name at a zero byte and turns the system's separators; the first counts.
        _check_name(archive, info.orig_filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise _refused(archive, info.filename, "a link or a device")
        if info.flag_bits & 1:
            raise _refused(archive, info.filename, "it is encrypted")
        packed = max(info.compress_size, 1)
        if info.file_size > 2**20 and info.file_size > limits.ratio * packed:
            ratio = info.file_size / packed
            raise _refused(archive, info.filename, f"{ratio:.0f} times larger unpacked: a bomb")
        if not info.is_dir():
            yield Member(info.filename, info.file_size)


def _tarred(archive: Path, opened: tarfile.TarFile) -> Iterator[Member]:
    end = 0
    for info in opened:
        _check_name(archive, info.name)
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise _refused(archive, info.name, "a link, a device or a file with holes")
        end = info.offset_data + -(-info.size // _BLOCK) * _BLOCK
        if info.isreg():
            yield Member(info.name, info.size, info.offset_data)
    with archive.open(
        "rb"
    ) as stream:  # one that was cut between two members looks whole to tarfile
        stream.seek(end)
        if stream.read(_BLOCK) != bytes(_BLOCK):
            raise DataError(f"{archive}: it ends before its end; copy or make it again")


def _check_name(archive: Path, name: str) -> None:
    if name.rstrip("/") == ".":
        return  # the folder itself, as `tar -cf album.tar .` has it
    try:
        safe_path(name.rstrip("/") or "/")
    except DataError:
        raise _refused(archive, name, "its name leaves the folder") from None
    if "\0" in name:
        raise _refused(archive, name, "its name holds a zero byte")
    if name.lower().endswith(_NESTED):
        raise _refused(archive, name, "an archive within; unpack it first")


def _refused(archive: Path, name: str, why: str) -> DataError:
    return DataError(f"{archive}: refused for {name!r:.120}: {why}")
