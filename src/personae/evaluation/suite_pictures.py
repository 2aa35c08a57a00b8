"""Pictures made for a suite by any program, laid out as scenes and seeds; grids are cut."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from personae.compute.runs import RowLog, make_folder, write_atomic
from personae.errors import DataError
from personae.evaluation.pictures import find_pictures
from personae.evaluation.suites.suite import LoadedSuite, plain_stem
from personae.subjects.picture import SUFFIXES, read_picture

__all__ = ["LaidOut", "cut_grid", "lay_out"]

_LOG = "pictures.jsonl"
_NAMES = "images"


@dataclass(frozen=True)
class LaidOut:
    """The folder to evaluate, and files that could not be used, with reasons."""

    folder: Path
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    path: Path
    grid: int


def lay_out(loaded: LoadedSuite, images: Path, out: Path, grid: int | None = None) -> LaidOut:
    """The pictures of a suite as ``{scene}/{seed}.png``.

    A folder of pictures by our own names (`find_pictures`) is taken as it is. Pictures named as the
    published program names them, below the folder or below one named as their subset, are cut, or
    copied where they are no grids, into ``out/images``; so are those by our names beside them, and
    those that the suite's own file names. What was laid out before, of the same files, is not
    again.

    Args:
        loaded: the suite.
        images: the user's folder.
        out: the run's folder.
        grid: pictures a side in each file; None: published names are grids as the card says.

    Raises:
        DataError: no such folder.
    """
    if not images.is_dir():
        raise DataError(f"{images}: no such folder; --images names the folder with the pictures")
    published = _published(loaded, images, loaded.card.grid if grid is None else grid)
    published |= {
        name: [_Source(path, grid or 1) for path in paths]
        for name, paths in loaded.given.items()
        if name not in published
    }
    if not published and grid in (None, 1):
        return LaidOut(images, ())
    found = find_pictures(images, [scene.id for scene in loaded.scenes])
    sources = defaultdict(list, published)
    for picture in found.pictures:
        if picture.scene not in published:
            sources[picture.scene].append(_Source(picture.path, grid or 1))
    problems = [*found.problems, *_lay(sources, out)]
    return LaidOut(make_folder(out / _NAMES), tuple(problems))


def cut_grid(picture: np.ndarray, side: int) -> list[np.ndarray]:
    """A picture of ``side`` by ``side`` pictures, row by row; (H, W, 3) uint8.

    >>> [tile.shape for tile in cut_grid(np.zeros((64, 96, 3), np.uint8), 2)]
    [(32, 48, 3), (32, 48, 3), (32, 48, 3), (32, 48, 3)]

    Raises:
        DataError: it cannot be cut into so many equal parts.
    """
    height, width = picture.shape[:2]
    if height % side or width % side:
        raise DataError(
            f"{width}x{height} cannot be cut into {side} by {side} equal pictures; is it a grid? "
            "say --grid 1 where every file is one picture"
        )
    return [tile for row in np.split(picture, side, axis=0) for tile in np.split(row, side, axis=1)]


def _published(loaded: LoadedSuite, images: Path, grid: int) -> dict[str, list[_Source]]:
    """Scene -> the picture that bears its published name."""
    wanted = {(loaded.subset_of[name], stem): name for name, stem in loaded.stems.items() if stem}
    found: dict[str, list[_Source]] = {}
    for subset, path in _files(images, loaded.subsets):
        stem = plain_stem(path.stem)
        for candidate in [subset] if subset else loaded.subsets:
            name = wanted.get((candidate, stem))
            if name is not None and name not in found:
                found[name] = [_Source(path, grid)]
    return found


def _files(images: Path, subsets: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for folder, subset in [(images, ""), *((images / name, name) for name in subsets)]:
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in SUFFIXES and path.is_file():
                    yield subset, path


def _lay(sources: Mapping[str, Sequence[_Source]], out: Path) -> list[str]:
    """Write what is not there yet, drop what is no longer meant; what could not be read."""
    stamps = {name: _stamp(files) for name, files in sources.items()}
    problems: list[str] = []
    with RowLog(make_folder(out) / _LOG) as log:
        stale = [name for name, stamp in log.done.items() if stamps.get(name) != stamp]
        for name in stale:
            for path in _laid(out, name):
                path.unlink(missing_ok=True)
        if stale:
            log.drop(stale)
        for name, files in sources.items():
            if name in log.done:
                continue
            try:
                rows = _write(name, files, out)
            except DataError as error:
                problems.append(f"scene {name}: {error}")
                continue
            log.append(name, stamps[name], rows)
    return problems


def _laid(out: Path, name: str) -> list[Path]:
    folder = out / _NAMES / name
    return list(folder.glob("*.png")) if folder.is_dir() else []


def _write(name: str, files: Sequence[_Source], out: Path) -> list[dict[str, object]]:
    tiles = [
        (source.path, tile)
        for source in files
        for tile in cut_grid(read_picture(source.path), source.grid)
    ]
    folder = make_folder(out / _NAMES / name)
    rows: list[dict[str, object]] = []
    for seed, (path, tile) in enumerate(tiles):
        buffer = BytesIO()
        Image.fromarray(tile).save(buffer, "PNG")
        write_atomic(folder / f"{seed}.png", buffer.getvalue())
        rows.append(
            {"scene": name, "seed": seed, "image": f"{name}/{seed}.png", "source": str(path)}
        )
    return rows


def _stamp(files: Sequence[_Source]) -> str:
    told = []
    for source in files:
        status = source.path.stat() if source.path.is_file() else None
        size, changed = (status.st_size, status.st_mtime_ns) if status else (-1, -1)
        told.append((str(source.path), source.grid, size, changed))
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
