"""Clips in albums: what `personae data pair` reads, and the step that takes frames from them.

An *album* is what belongs together, such as a long video or the photos of a day; a *clip* is a
part of it: a video file, or a folder of pictures. ``CLIPS/ALBUM/CLIP/*.jpg``,
``CLIPS/ALBUM/*.mp4``, or one album alone: ``CLIPS/CLIP/*.jpg``. ``album.json`` beside the clips may
say ``license``, ``consent`` and ``source`` of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from personae.compute.runs import read_json
from personae.data.pipeline.items import Item, Lost, Made, item_name
from personae.data.pipeline.looks import hash_distance, perceptual_hash
from personae.data.pipeline.step import Files
from personae.errors import DataError
from personae.subjects.picture import SUFFIXES, read_picture

__all__ = ["VIDEOS", "Frames", "read_clips"]

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
_ABOUT = "album.json"


def read_clips(folder: Path) -> list[Item]:
    """An item a clip, its group the album, in the order of their names.

    Raises:
        DataError: no such folder, no clip in it, or an album.json that is none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected albums of clips in it")
    found = [item for album in _albums(folder) for item in _clips(album)]
    if not found:
        raise DataError(
            f"{folder}: no clip in it; expected ALBUM/CLIP/*.jpg or ALBUM/*.mp4 (pictures: "
            f"{', '.join(SUFFIXES)}; videos: {', '.join(VIDEOS)})"
        )
    return found


def _albums(folder: Path) -> list[Path]:
    """The folders whose parts are clips; the folder itself where those are in it."""
    parts = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    is_album = (folder / _ABOUT).is_file() or any(_is_clip(path) for path in folder.iterdir())
    return [folder] if is_album else parts


def _is_clip(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in VIDEOS
    return path.is_dir() and any(_pictures(path))


def _pictures(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix.lower() in SUFFIXES)


def _clips(album: Path) -> Iterator[Item]:
    about = _about(album / _ABOUT)
    name = item_name(album.name)
    for path in sorted(album.iterdir()):
        if path.name[0] != "." and _is_clip(path):
            yield Item(
                id=f"{name}/{item_name(path.name)}",
                group=name,
                files={"clip": str(path.resolve())},
                data={"source": about.get("source", ""), "size": _stamp(path)},
                license=about.get("license"),
                consent=about.get("consent"),
            )


def _about(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    told = read_json(path)
    if not isinstance(told, dict) or not all(isinstance(v, str) for v in told.values()):
        raise DataError(f"{path}: expected an object of texts (license, consent, source)")
    return told


def _stamp(path: Path) -> list[int]:
    """Changes with the clip's content: sizes and times of its files."""
    files = [path] if path.is_file() else list(_pictures(path))
    stats = [file.stat() for file in files]
    return [len(files), sum(one.st_size for one in stats), max(one.st_mtime_ns for one in stats)]


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Frames of clips, as pictures: not all, not too large, and none that repeats another.

    Attributes:
        every_s: of a video one frame in so many seconds; of pictures all are taken.
        most: frames a clip.
        longest_px: larger ones are made smaller.
        apart: a frame whose hash is nearer than so many bits to one of the same clip repeats it.
    """

    every_s: float = 1.0
    most: int = 64
    longest_px: int = 1536
    apart: int = 4
    name: str = "frames"

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {key: value for key, value in vars(self).items() if key != "name"}

    def build(self) -> None:
        """Nothing."""

    def work(self, state: None, items: Sequence[Item], files: Files) -> Made:
        """See `Step`; a clip that cannot be read, or shows nothing new, is told."""
        made: list[Item] = []
        lost: list[Lost] = []
        for item in items:
            try:
                own = list(self._frames(item, files))
            except DataError as error:
                lost.append(Lost(item.id, "the clip cannot be read", True, str(error)))
                continue
            made += own
            if not own:
                lost.append(Lost(item.id, "the clip holds no picture", True))
        return Made(tuple(made), tuple(lost))

    def _frames(self, item: Item, files: Files) -> Iterator[Item]:
        hashes: list[str] = []
        for number, picture in enumerate(self._pictures(files.path(item, "clip"))):
            own = perceptual_hash(picture)
            if any(hash_distance(own, other) < self.apart for other in hashes):
                continue
            hashes.append(own)
            name = f"{item.id}/{number:05d}"
            path = files.save(name, self._smaller(picture))
            data = {**item.data, "clip": item.id, "hash": own}
            yield item.child(name, self.name, files={"image": path}, data=data)
            if len(hashes) == self.most:
                return

    def _pictures(self, clip: Path) -> Iterator[np.ndarray]:
        if clip.is_dir():
            yield from self._readable(clip)
        else:
            yield from _video(clip, self.every_s)

    def _readable(self, folder: Path) -> Iterator[np.ndarray]:
        """Pictures of a folder; a damaged one among good ones is passed over."""
        bad: DataError | None = None
        found = False
        for path in _pictures(folder):
            try:
                yield read_picture(path)
                found = True
            except DataError as error:
                bad = error
        if bad is not None and not found:
            raise bad

    def _smaller(self, picture: np.ndarray) -> np.ndarray:
        if max(picture.shape[:2]) <= self.longest_px:
            return picture
        small = Image.fromarray(picture)
        small.thumbnail((self.longest_px, self.longest_px), Image.Resampling.LANCZOS)
        return np.asarray(small)


def _video(path: Path, every_s: float) -> Iterator[np.ndarray]:
    """A frame in so many seconds, decoded by OpenCV.

    Raises:
        DataError: it cannot be opened, or not one frame can be decoded.
    """
    import cv2

    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise DataError(f"{path}: this video cannot be opened; is it whole, and of a known codec?")
    try:
        rate = video.get(cv2.CAP_PROP_FPS)
        stride = max(1, round((rate if 0 < rate < 1000 else 25.0) * every_s))
        number = 0
        while video.grab():
            if number % stride == 0:
                whole, frame = video.retrieve()
                if whole:
                    yield np.ascontiguousarray(frame[..., ::-1])
            number += 1
    finally:
        video.release()
    if not number:
        raise DataError(f"{path}: not one frame of this video can be decoded")
