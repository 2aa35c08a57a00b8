"""Clips in albums: what `personae data pair` reads, and the step that takes frames from them.

An *album* is what belongs together, such as a long video or the photos of a day; a *clip* is a
part of it: a video file, or a folder of pictures. ``CLIPS/ALBUM/CLIP/*.jpg``,
``CLIPS/ALBUM/*.mp4``, or one album alone: ``CLIPS/CLIP/*.jpg``. ``album.json`` beside the clips may
say ``license``, ``consent`` and ``source`` of all of them.

An album may be an archive, ``CLIPS/ALBUM.zip`` or ``.tar``, as may all of CLIPS that is one album:
each folder of pictures in it is a clip. Pictures are read from where they are; videos are not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from personae.compute.runs import read_json
from personae.data.pipeline.archives import ARCHIVES, Member, members_of, reading
from personae.data.pipeline.items import Item, Lost, Made, item_name
from personae.data.pipeline.looks import hash_distance, perceptual_hash
from personae.data.pipeline.step import Files
from personae.errors import DataError
from personae.subjects.picture import SUFFIXES, decode_picture, read_picture

__all__ = ["VIDEOS", "Frames", "read_clips"]

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
_ABOUT = "album.json"
_ABOUT_BYTES = 65_536


def read_clips(folder: Path) -> list[Item]:
    """An item a clip, its group the album, in the order of their names.

    An archive that is refused is an item too: the step that opens it tells why.

    Raises:
        DataError: no such folder, no clip in it, or an album.json that is none.
    """
    if _is_archive(folder):
        found = list(_clips(folder))
    elif folder.is_dir():
        found = [item for album in _albums(folder) for item in _clips(album)]
    else:
        raise DataError(
            f"{folder}: no such folder; expected albums of clips in it, or an album as "
            f"{' or '.join(ARCHIVES)}"
        )
    if not found:
        raise DataError(
            f"{folder}: no clip in it; expected ALBUM/CLIP/*.jpg or ALBUM/*.mp4 (pictures: "
            f"{', '.join(SUFFIXES)}; videos: {', '.join(VIDEOS)})"
        )
    return found


def _albums(folder: Path) -> list[Path]:
    """The folders and archives whose parts are clips; the folder itself where those are in it."""
    parts = sorted(
        path
        for path in folder.iterdir()
        if path.name[0] != "." and (path.is_dir() or _is_archive(path))
    )
    is_album = (folder / _ABOUT).is_file() or any(_is_clip(path) for path in folder.iterdir())
    return [folder] if is_album else parts


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() in ARCHIVES and path.is_file()


def _is_clip(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in VIDEOS
    return path.is_dir() and any(_pictures(path))


def _pictures(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.iterdir()) if p.is_file() and _is_picture(p))


def _is_picture(path: PurePath) -> bool:
    return path.suffix.lower() in SUFFIXES and path.name[0] != "."


def _clips(album: Path) -> Iterator[Item]:
    name = item_name(album.name)
    if _is_archive(album):
        yield from _archived(album, name, {})
        return
    about = _about(album / _ABOUT)
    for path in sorted(path for path in album.iterdir() if path.name[0] != "."):
        if _is_clip(path):
            data = {"source": about.get("source", ""), "size": _stamp(path)}
            yield _clip(name, path.name, path, data, about)
        elif _is_archive(path):
            yield from _archived(path, name, about)


def _archived(archive: Path, album: str, about: Mapping[str, str]) -> Iterator[Item]:
    """The clips of an archive; one of its own where it is refused or holds none."""
    inside: list[str] = []
    try:
        members = members_of(archive)
        about = {**about, **_told(archive, members)}
        inside = sorted({str(one.path.parent) for one in members if _is_picture(one.path)})
    except DataError:
        pass  # whoever takes frames from it will say so
    data = {"source": about.get("source", ""), "size": _stamp(archive)}
    for folder in inside:
        own = {**data, "inside": folder}
        yield _clip(album, f"{archive.stem}/{folder}", archive, own, about)
    if not inside:
        yield _clip(album, archive.name, archive, data, about)


def _clip(
    album: str, name: str, path: Path, data: Mapping[str, Any], about: Mapping[str, str]
) -> Item:
    return Item(
        id=f"{album}/{item_name(name)}",
        group=album,
        files={"clip": str(path.resolve())},
        data=data,
        license=about.get("license"),
        consent=about.get("consent"),
    )


def _told(album: Path, members: Sequence[Member]) -> Mapping[str, str]:
    """What the album.json nearest to the top of an archive says."""
    found = [one for one in members if one.path.name == _ABOUT and one.size < _ABOUT_BYTES]
    if not found:
        return {}
    first = min(found, key=lambda one: len(one.path.parts))
    try:
        with reading(album) as read:
            told = json.loads(read(first))
    except ValueError as error:
        raise DataError(f"{album}: {first.name}: cannot be read as JSON ({error})") from error
    return _texts(told, f"{album}: {first.name}")


def _about(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    return _texts(read_json(path), str(path))


def _texts(told: Any, where: str) -> Mapping[str, str]:
    if not isinstance(told, dict) or not all(isinstance(v, str) for v in told.values()):
        raise DataError(f"{where}: expected an object of texts (license, consent, source)")
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
        inside = item.data.get("inside")
        for number, picture in enumerate(self._pictures(files.path(item, "clip"), inside)):
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

    def _pictures(self, clip: Path, inside: str | None) -> Iterator[np.ndarray]:
        if clip.is_dir():
            yield from _readable(partial(read_picture, path) for path in _pictures(clip))
        elif clip.suffix.lower() in ARCHIVES:
            yield from _readable(_packed(clip, inside))
        else:
            yield from _video(clip, self.every_s)

    def _smaller(self, picture: np.ndarray) -> np.ndarray:
        if max(picture.shape[:2]) <= self.longest_px:
            return picture
        small = Image.fromarray(picture)
        small.thumbnail((self.longest_px, self.longest_px), Image.Resampling.LANCZOS)
        return np.asarray(small)


def _readable(pictures: Iterable[Callable[[], np.ndarray]]) -> Iterator[np.ndarray]:
    """Pictures of a clip; a damaged one among good ones is passed over."""
    bad: DataError | None = None
    found = False
    for read in pictures:
        try:
            picture = read()
        except DataError as error:
            bad = error
            continue
        found = True
        yield picture
    if bad is not None and not found:
        raise bad


def _packed(archive: Path, inside: str | None) -> Iterator[Callable[[], np.ndarray]]:
    """The pictures of a folder in an archive.

    Raises:
        DataError: the archive is refused, or was changed meanwhile.
    """
    members = members_of(archive)
    if inside is None:
        raise DataError(f"{archive}: no picture in it that can be read (videos: unpack them)")
    wanted = [one for one in members if str(one.path.parent) == inside and _is_picture(one.path)]
    with reading(archive) as read:
        for member in wanted:
            yield partial(_unpacked, archive, read, member)


def _unpacked(archive: Path, read: Callable[[Member], bytes], member: Member) -> np.ndarray:
    return decode_picture(read(member), f"{archive}: {member.name}")


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
