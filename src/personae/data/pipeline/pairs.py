"""UMO's real part: a picture of several people, and other pictures of each, from other clips.

Cheng et al., UMO (arXiv 2509.06818), section 3.2: a frame with several identities is the query,
and each of them is recalled from frames of other clips of the same long video, so that references
differ from the target in pose, clothes and expression. Their sizes, thresholds and recall model are
not published; the rules below are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.looks import hash_distance, perceptual_hash
from personae.data.pipeline.people import Face, descriptors_of, face_eyes, faces_of
from personae.data.pipeline.step import Files
from personae.subjects.box import Box
from personae.vision.faces import FaceEmbedder
from personae.vision.faces.align import similarity_transform

__all__ = ["Pairs", "head_crop", "turned"]

_REACH = (2.6, 2.0, 1.5)  # of a face's box: head and shoulders, as far as nobody else is in it
_DOWN = 0.15


@dataclass(frozen=True, eq=False)
class _Seen:
    """A face, where it was seen, and its descriptor's row among those of the album."""

    frame: int
    face: Face
    row: int


@dataclass(frozen=True, eq=False)
class _Found:
    """A reference for a person of a query."""

    seen: _Seen
    similarity: float
    turned: float
    bits: int


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Queries with references, album by album.

    Attributes:
        eyes: whose calibrated similarity is asked, as ``--faces`` takes them.
        least, most: people in a query.
        same: a reference is at least so similar to its person,
        different: and at most so similar to every other person of the query; those must be so
            different among themselves too.
        references: at most so many for each person.
        least_turned: the face of a reference is turned, or expresses something else, at least by
            so much (`turned`), or
        least_bits: its crop differs in so many bits of 64 from that in the target: what differs in
            neither could be copied.
    """

    eyes: str = "dlib"
    least: int = 2
    most: int = 5
    same: float = 0.6
    different: float = 0.4
    references: int = 3
    least_turned: float = 0.08
    least_bits: int = 14
    name: str = "pairs"

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {key: value for key, value in vars(self).items() if key != "name"}

    def build(self) -> FaceEmbedder:
        """Only what compares descriptors is needed."""
        return face_eyes(self.eyes).embedder

    def work(self, state: FaceEmbedder, items: Sequence[Item], files: Files) -> Made:
        """See `Step`; ``items`` are the frames of an album."""
        album = _Album(state, items, files)
        made: list[Item] = []
        lost: list[Lost] = []
        for number, item in enumerate(items):
            outcome = self._query(album, number, item)
            (made if isinstance(outcome, Item) else lost).append(outcome)  # type: ignore[arg-type]
        return Made(tuple(made), tuple(lost))

    def _query(self, album: _Album, number: int, item: Item) -> Item | Lost:
        people = album.people[number]
        if not self.least <= len(people) <= self.most:
            return Lost(item.id, f"not {self.least} to {self.most} people", detail=str(len(people)))
        within = album.similarity(people, people)
        within.fill_diagonal_(0.0)
        if float(within.max()) > self.different:
            nearest = f"{float(within.max()):.2f}"
            return Lost(item.id, "two of its people cannot be told apart", detail=nearest)
        recalled = [self._recalled(album, number, people, place) for place in range(len(people))]
        missing = sum(not found for found in recalled)
        if missing:
            reason = "a person without another picture that could not be copied"
            return Lost(item.id, reason, detail=f"{missing} of {len(people)}")
        return self._example(album, item, recalled)

    def _recalled(
        self, album: _Album, number: int, people: Sequence[_Seen], place: int
    ) -> list[_Found]:
        """The best other pictures of one person, each clip before any clip again."""
        person, clip = people[place], album.items[number].data["clip"]
        others = [s for s in album.seen if album.items[s.frame].data["clip"] != clip]
        if not others:
            return []
        similar = album.similarity(others, people)
        found: list[_Found] = []
        for seen, row in zip(others, similar, strict=True):
            rivals = torch.cat([row[:place], row[place + 1 :]])
            if row[place] < self.same or (len(rivals) and float(rivals.max()) > self.different):
                continue
            turn = turned(person.face.landmarks, seen.face.landmarks)
            bits = hash_distance(album.hash_of(person), album.hash_of(seen))
            if turn >= self.least_turned or bits >= self.least_bits:
                found.append(_Found(seen, float(row[place]), turn, bits))
        return self._chosen(album, found)

    def _chosen(self, album: _Album, found: list[_Found]) -> list[_Found]:
        """The most turned of each clip, then the second of each, until there are enough."""
        by_clip: dict[str, list[_Found]] = {}
        for one in sorted(found, key=lambda one: (-one.turned, -one.bits, one.seen.row)):
            if album.crop_of(one.seen) is not None:
                by_clip.setdefault(album.items[one.seen.frame].data["clip"], []).append(one)
        turns = max(map(len, by_clip.values()), default=0)
        rounds = [held[k] for k in range(turns) for held in by_clip.values() if k < len(held)]
        return rounds[: self.references]

    def _example(self, album: _Album, item: Item, recalled: Sequence[Sequence[_Found]]) -> Item:
        files, people = {"image": item.files["image"]}, []
        for person, found in enumerate(recalled):
            for place, one in enumerate(found):
                crop = album.crop_of(one.seen)
                assert crop is not None
                path = album.files.save(f"{item.id}/{person}-{place}", crop)
                files[f"reference-{person}-{place}"] = path
            people.append(
                {
                    "box": item.data["faces"][person]["box"],
                    "similarity": [round(one.similarity, 4) for one in found],
                    "turned": [round(one.turned, 4) for one in found],
                    "bits": [one.bits for one in found],
                    "from": [album.items[one.seen.frame].id for one in found],
                }
            )
        data = {key: value for key, value in item.data.items() if key != "faces"}
        return item.child(item.id, self.name, files=files, data={**data, "people": people})


@dataclass(eq=False)
class _Album:
    """The faces of an album's frames, and what is asked of them again and again."""

    embedder: FaceEmbedder
    items: Sequence[Item]
    files: Files
    people: list[list[_Seen]] = field(init=False)
    seen: list[_Seen] = field(init=False)

    def __post_init__(self) -> None:
        self.people, row = [], 0
        for frame, item in enumerate(self.items):
            faces = faces_of(item)
            self.people.append([_Seen(frame, f, row + k) for k, f in enumerate(faces)])
            row += len(faces)
        self.seen = [one for people in self.people for one in people]
        self._descriptors = descriptors_of([one.face for one in self.seen]) if self.seen else None
        self._hashes: dict[int, str] = {}
        self._crops: dict[int, np.ndarray | None] = {}

    def similarity(self, first: Sequence[_Seen], second: Sequence[_Seen]) -> torch.Tensor:
        """(M, N), calibrated."""
        assert self._descriptors is not None
        rows = [self._descriptors[[one.row for one in some]] for some in (first, second)]
        return self.embedder.similarity(rows[0], rows[1])

    def hash_of(self, seen: _Seen) -> str:
        """Of the face's box."""
        if seen.row not in self._hashes:
            picture = self.files.picture(self.items[seen.frame])
            self._hashes[seen.row] = perceptual_hash(_cut(picture, seen.face.box))
        return self._hashes[seen.row]

    def crop_of(self, seen: _Seen) -> np.ndarray | None:
        """Head and shoulders, None where others are in the way."""
        if seen.row not in self._crops:
            picture = self.files.picture(self.items[seen.frame])
            others = [one.face.box for one in self.people[seen.frame] if one.row != seen.row]
            self._crops[seen.row] = head_crop(picture, seen.face.box, others)
        return self._crops[seen.row]


def turned(first: np.ndarray, second: np.ndarray) -> float:
    r"""How differently two faces are turned, or what they express: from landmarks (P, 2) of each.

    .. math:: \sqrt{\sum_p \lVert T(a_p) - b_p \rVert^2 \Big/ \sum_p \lVert b_p - \bar b \rVert^2}

    T is the similarity transform that fits best; in [0, 1], 0 for shapes that are the same.

    >>> square = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    >>> round(turned(square, 3 * square + 5), 6)
    0.0
    """
    transform = similarity_transform(first[None], second[None])[0]
    fitted = first @ transform[:, :2].T + transform[:, 2]
    spread = ((second - second.mean(0)) ** 2).sum()
    return float(np.sqrt(((fitted - second) ** 2).sum() / spread))


def head_crop(picture: np.ndarray, box: Box, others: Sequence[Box]) -> np.ndarray | None:
    """Head and shoulders around a face's box, as a square (s, s, 3) uint8 inside the picture.

    As large as it can be without the middle of another face in it; None where even the smallest
    holds one, or is not inside the picture.
    """
    height, width = picture.shape[:2]
    for reach in _REACH:
        side = int(min(reach * max(box.width, box.height), height, width))
        x, y = box.center
        left = int(min(max(x - side / 2, 0), width - side))
        top = int(min(max(y + _DOWN * side - side / 2, 0), height - side))
        inside = Box(left, top, left + side, top + side) if side >= 16 else None
        if inside is None or not (
            inside.left <= x <= inside.right and inside.top <= y <= inside.bottom
        ):
            return None
        if not any(_holds(inside, other) for other in others):
            return np.ascontiguousarray(picture[top : top + side, left : left + side])
    return None


def _holds(box: Box, other: Box) -> bool:
    x, y = other.center
    return box.left <= x <= box.right and box.top <= y <= box.bottom


def _cut(picture: np.ndarray, box: Box) -> np.ndarray:
    inside = box.clipped(picture.shape[1], picture.shape[0])
    if inside is None:
        return np.zeros((16, 16, 3), np.uint8)
    left, top = int(inside.left), int(inside.top)
    return picture[top : max(int(inside.bottom), top + 1), left : max(int(inside.right), left + 1)]
