"""UMO's real part: a picture of several people, and other pictures of each, from other clips.

Cheng et al., UMO (arXiv 2509.06818), section 3.2: a frame with several identities is the query,
and each of them is recalled from frames of other clips of the same long video, so that references
differ from the target in pose, clothes and expression. Their sizes, thresholds and recall model are
not published; the rules below are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from personae.data.pipeline.copied import copied
from personae.data.pipeline.crops import box_within, cut_out, head_region
from personae.data.pipeline.finders import cut_head, portrait_region
from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.looks import hash_distance, perceptual_hash
from personae.data.pipeline.people import Face, descriptors_of, face_eyes, faces_of
from personae.data.pipeline.provenance import face_models
from personae.data.pipeline.step import Files, made_of
from personae.data.pipeline.thresholds import Thresholds, thresholds
from personae.subjects.box import Box
from personae.vision.faces import FaceEmbedder
from personae.vision.segmenters import GrabCut

__all__ = ["Pairs"]

_PICTURES = 16  # decoded ones that are kept


@dataclass(frozen=True, eq=False)
class _Seen:
    """A face, where it was seen, and its descriptor's row among those of the album."""

    frame: int
    face: Face
    row: int


@dataclass(frozen=True)
class _Look:
    """The hash of a face, and its head and shoulders: None where others are in the way."""

    hashed: str
    region: Box | None


@dataclass(frozen=True, eq=False)
class _Found:
    """A reference for a person of a query: its crop, and the faces that are shown in there."""

    seen: _Seen
    similarity: float
    bits: int
    copied: float
    crop: np.ndarray
    shown: list[list[float]]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Queries with references, album by album.

    Attributes:
        eyes: whose calibrated similarity is asked, as ``--faces`` takes them.
        least, most: people in a query.
        same: a reference is at least so similar to its person; None here and below: what was
            measured of these eyes (`thresholds`).
        different: and at most so similar to every other person of the query; those must be so
            different among themselves too.
        references: at most so many for each person.
        cut: references are cut out, before plain gray.
        strangers: so many people of a query may be without another picture; nothing is said of them
            in what is learned from, so a model learns that somebody else may be there too.
        most_copied: a reference whose face correlates so much with that in the target (`copied`)
            could be copied; 2 asks nothing.
    """

    eyes: str = "dlib"
    least: int = 2
    most: int = 5
    same: float | None = None
    different: float | None = None
    references: int = 3
    strangers: int = 0
    cut: bool = False
    most_copied: float | None = None
    name: str = "pairs"

    @property
    def limits(self) -> Thresholds:
        """Those of the eyes, with what was asked for over them."""
        return thresholds(self.eyes).over(
            same=self.same, different=self.different, most_copied=self.most_copied
        )

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        told, limits = {**vars(self)}, self.limits
        del told["name"]
        names = ("same", "different", "most_copied")
        return {**told, **{name: getattr(limits, name) for name in names}}

    def models(self) -> Mapping[str, str]:
        """See `Step`."""
        return face_models(self.eyes)

    def build(self) -> FaceEmbedder:
        """Only what compares descriptors is needed."""
        return face_eyes(self.eyes).embedder

    def work(self, state: FaceEmbedder, items: Sequence[Item], files: Files) -> Made:
        """See `Step`; ``items`` are the frames of an album."""
        album = _Album(state, items, files, GrabCut() if self.cut else None)
        return made_of(self._query(album, number, item) for number, item in enumerate(items))

    def _query(self, album: _Album, number: int, item: Item) -> Item | Lost:
        people, limits = album.people[number], self.limits
        if not self.least <= len(people) <= self.most:
            return Lost(item.id, f"not {self.least} to {self.most} people", detail=str(len(people)))
        within = album.similarity(people, people)
        within.fill_diagonal_(0.0)
        if float(within.max()) > limits.different:
            nearest = f"{float(within.max()):.2f}"
            return Lost(item.id, "two of its people cannot be told apart", detail=nearest)
        others = [self._recalled(album, number, place, limits) for place in range(len(people))]
        known = [place for place, found in enumerate(others) if found]
        if len(known) < max(self.least, len(people) - self.strangers):
            unknown = next(place for place, found in enumerate(others) if not found)
            return Lost(item.id, "a person without another picture", detail=str(unknown))
        recalled = {
            place: self._chosen(album, people[place], others[place], limits.most_copied)
            for place in known
        }
        copies = sum(not found for found in recalled.values())
        if copies:
            reason = "a person whose other pictures are copies"
            return Lost(item.id, reason, detail=f"{copies} of {len(people)}")
        return self._example(album, item, recalled)

    def _recalled(
        self, album: _Album, number: int, place: int, limits: Thresholds
    ) -> list[tuple[_Seen, float]]:
        """Other pictures of one person that can be cropped, from other clips, with similarities."""
        people, clip = album.people[number], album.items[number].data["clip"]
        others = [s for s in album.seen if album.items[s.frame].data["clip"] != clip]
        if not others:
            return []
        similar = album.similarity(others, people)
        rivals = torch.cat([similar[:, :place], similar[:, place + 1 :]], dim=1)
        own = similar[:, place]
        fit = (own >= limits.same) & (rivals <= limits.different).all(1)
        found = [(others[row], float(own[row])) for row in fit.nonzero()[:, 0].tolist()]
        return [(seen, value) for seen, value in found if album.look(seen).region is not None]

    def _chosen(
        self,
        album: _Album,
        person: _Seen,
        others: Sequence[tuple[_Seen, float]],
        most_copied: float,
    ) -> list[_Found]:
        """Of each clip what looks most unlike the target, then the second of each; no copies."""
        hashed = album.look(person).hashed
        far = [(hash_distance(hashed, album.look(s).hashed), s, own) for s, own in others]
        by_clip: dict[str, list[tuple[int, _Seen, float]]] = {}
        for one in sorted(far, key=lambda one: (-one[0], one[1].row)):
            by_clip.setdefault(album.items[one[1].frame].data["clip"], []).append(one)
        turns = max(map(len, by_clip.values()))
        chosen: list[_Found] = []
        for bits, seen, own in (
            held[turn] for turn in range(turns) for held in by_clip.values() if turn < len(held)
        ):
            # The slowest test comes last, and only until there are enough.
            same = album.copied(person, seen)
            cropped = album.crop_of(seen) if same < most_copied else None
            if cropped is not None:
                chosen.append(_Found(seen, own, bits, same, *cropped))
            if len(chosen) == self.references:
                break
        return chosen

    def _example(self, album: _Album, item: Item, recalled: Mapping[int, Sequence[_Found]]) -> Item:
        files, people = {"image": item.files["image"]}, []
        for person, (seat, found) in enumerate(recalled.items()):
            for place, one in enumerate(found):
                path = album.files.save(f"{item.id}/{person}-{place}", one.crop)
                files[f"reference-{person}-{place}"] = path
            people.append(
                {
                    "box": item.data["faces"][seat]["box"],
                    "similarity": [round(one.similarity, 4) for one in found],
                    "copied": [round(one.copied, 4) for one in found],
                    "bits": [one.bits for one in found],
                    "from": [album.items[one.seen.frame].id for one in found],
                    "shown": [one.shown for one in found],
                }
            )
        data = {key: value for key, value in item.data.items() if key != "faces"}
        data |= {"people": people, "strangers": len(item.data["faces"]) - len(people)}
        return item.child(item.id, self.name, files=files, data=data)


@dataclass(eq=False)
class _Album:
    """The faces of an album's frames, and what is asked of them again and again."""

    embedder: FaceEmbedder
    items: Sequence[Item]
    files: Files
    cutter: GrabCut | None = None
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
        self._looks: dict[int, _Look] = {}
        self._picture = lru_cache(_PICTURES)(self._read)

    def _read(self, frame: int) -> np.ndarray:
        return self.files.picture(self.items[frame])

    def similarity(self, first: Sequence[_Seen], second: Sequence[_Seen]) -> torch.Tensor:
        """(M, N), calibrated."""
        assert self._descriptors is not None
        rows = [self._descriptors[[one.row for one in some]] for some in (first, second)]
        return self.embedder.similarity(rows[0], rows[1])

    def look(self, seen: _Seen) -> _Look:
        """What is remembered of a face, so that its picture need not be read for it again."""
        if seen.row not in self._looks:
            picture = self._picture(seen.frame)
            others = [one.face.box for one in self.people[seen.frame] if one.row != seen.row]
            shape = (picture.shape[0], picture.shape[1])
            region = head_region(shape, seen.face.box, others)
            hashed = perceptual_hash(cut_out(picture, seen.face.box))
            self._looks[seen.row] = _Look(hashed, region)
        return self._looks[seen.row]

    def copied(self, first: _Seen, second: _Seen) -> float:
        """See `copied`."""
        pictures = [self._picture(seen.frame) for seen in (first, second)]
        return copied(pictures[0], first.face.box, pictures[1], second.face.box)

    def crop_of(self, seen: _Seen) -> tuple[np.ndarray, list[list[float]]] | None:
        """Head and shoulders, and every face that was found in there, a part of one too.

        None where it was to be cut out and nothing of the picture seems to be theirs.
        """
        region = self.look(seen).region
        assert region is not None
        if self.cutter is not None:
            return self._cut(self.cutter, seen)
        faces = (box_within(one.face.box, region) for one in self.people[seen.frame])
        crop = cut_out(self._picture(seen.frame), region)
        return crop, [box for box in faces if box is not None]

    def _cut(self, cutter: GrabCut, seen: _Seen) -> tuple[np.ndarray, list[list[float]]] | None:
        box = seen.face.box
        others = [one.face.box for one in self.people[seen.frame] if one is not seen]
        crop = cut_head(cutter, self._picture(seen.frame), box, others)
        shown = box_within(box, portrait_region(box))
        return None if crop is None or shown is None else (crop, [shown])
