"""What a reward's eyes see: subjects in their references once, and every picture once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from personae.errors import DataError
from personae.metrics.eyes import Eyes, PeopleEyes
from personae.subjects.subject import Kind, Reference
from personae.training.rewards.asked import Asked
from personae.vision.cache import content_key
from personae.vision.protocols import Detection

__all__ = ["KINDS_OF", "Seen", "Sight", "as_pixels"]

_Look = tuple[list[Detection], Tensor]
KINDS_OF: dict[str, tuple[Kind, ...]] = {"person": ("person",), "thing": ("animal", "object")}


def as_pixels(pictures: Tensor) -> np.ndarray:
    """(B, 3, H, W) in about [0, 1] -> (B, H, W, 3) uint8, without a gradient."""
    shown = (pictures.detach().float().clamp(0, 1) * 255).round()
    return shown.permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy()


@dataclass(frozen=True, eq=False)
class Seen:
    """One group of subjects in one picture.

    Attributes:
        subjects: the M subjects that were asked for and can be known.
        detections: the N boxes that were found.
        similarity: (M, N) calibrated, mean over a subject's references; differentiable for faces.
        official: (M, N), what the papers' formulas are given.
        blind: why there is nothing to score: a subject that cannot be known, eyes that failed.
    """

    subjects: tuple[str, ...]
    detections: tuple[Detection, ...]
    similarity: Tensor
    official: Tensor
    blind: str | None


class Sight:
    """Eyes that remember what they saw: references by content, and the last pictures.

    Several rewards that share one look at each picture once.

    Args:
        eyes: that look.
        jitter: of faces through which a gradient goes: how unsteadily they are cut out, as a share
            of the face's size. See `RewardsRecipe`.
        most_references: kept in memory.
    """

    def __init__(self, eyes: Eyes, jitter: float = 0.0, most_references: int = 100_000) -> None:
        self.eyes, self._jitter = eyes, jitter
        self._known: OrderedDict[str, Tensor] = OrderedDict()
        self._most = most_references
        self._last: tuple[Tensor, Sequence[Asked], list[Seen | None]] | None = None

    def see(self, pictures: Tensor, asked: Sequence[Asked]) -> list[Seen | None]:
        """For each picture what these eyes' group shows; None where none of it was asked for."""
        last = self._last
        if last is not None and last[0] is pictures and last[1] is asked:
            return last[2]
        kinds = KINDS_OF[self.eyes.group]
        wanted = [item.of_kind(*kinds) for item in asked]
        found: Sequence[_Look | str]
        if isinstance(self.eyes, PeopleEyes):
            found = self._faces(self.eyes, pictures, [len(cast) for cast in wanted])
        else:
            found = self._things(pictures, asked, wanted)
        seen = [
            self._compared(cast, look) if cast else None
            for cast, look in zip(wanted, found, strict=True)
        ]
        self._last = (pictures, asked, seen)
        return seen

    def forget(self) -> None:
        """Let the last pictures go, and the graph that hangs on them."""
        self._last = None

    def know(self, reference: Reference) -> Tensor:
        """(1, D) descriptor, or (0, D) where there is nothing to know the subject by."""
        key = content_key([reference], self.eyes.name)
        if key not in self._known:
            with torch.no_grad():
                self._known[key] = self.eyes.know(reference)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _faces(self, eyes: PeopleEyes, pictures: Tensor, expected: Sequence[int]) -> list[_Look]:
        """Boxes and landmarks without a gradient, crops and descriptors with one."""
        found = []
        for image, count in zip(as_pixels(pictures), expected, strict=True):
            faces = eyes.faces.detector.detect(image, count) if count else []
            found.append([face for face in faces if face.landmarks is not None])
        shape = eyes.faces.embedder.template.points.shape
        points = [
            np.array([face.landmarks for face in faces], np.float64).reshape(-1, *shape)
            for faces in found
        ]
        if self._jitter and pictures.requires_grad:
            points = [_jittered(item, self._jitter) for item in points]
        descriptors = eyes.faces.embed_faces(pictures.float(), points)
        parts = torch.split(descriptors, [len(faces) for faces in found])
        return list(zip(found, parts, strict=True))

    @torch.no_grad()
    def _things(
        self,
        pictures: Tensor,
        asked: Sequence[Asked],
        wanted: Sequence[dict[str, tuple[Reference, ...]]],
    ) -> list[_Look | str]:
        """What was found in each picture, or why it could not be looked at."""
        found: list[_Look | str] = []
        for image, item, cast in zip(as_pixels(pictures), asked, wanted, strict=True):
            nouns = {name: item.noun(name) for name in cast}
            try:
                found.append(
                    self.eyes.look(image, cast, nouns) if cast else ([], torch.zeros(0, 0))
                )
            except DataError as error:
                found.append(f"{self.eyes.name} failed: {error}")
        return found

    def _compared(
        self,
        cast: dict[str, tuple[Reference, ...]],
        look: _Look | str,
    ) -> Seen:
        if isinstance(look, str):
            nothing = torch.zeros(0, 0)
            return Seen((), (), nothing, nothing, blind=look)
        detections, descriptors = look
        known = {name: torch.cat([self.know(one) for one in held]) for name, held in cast.items()}
        blind = [name for name, held in known.items() if not len(held)]
        known = {name: held.to(descriptors.device) for name, held in known.items() if len(held)}
        embedder = self.eyes.embedder
        official = embedder.cosine if embedder.official_uses_cosine else embedder.similarity
        num = len(detections)
        return Seen(
            subjects=tuple(known),
            detections=tuple(detections),
            similarity=_rows(known, descriptors, num, embedder.similarity),
            official=_rows(known, descriptors, num, official),
            blind=f"no {self.eyes.group} to know {', '.join(blind)} by" if blind else None,
        )


def _jittered(points: np.ndarray, size: float) -> np.ndarray:
    """(N, 5, 2) landmarks with each face moved, scaled and bent a little.

    How is a function of where they lie: the same picture is looked at in the same way again, after
    a resumption too, and pictures that hardly differ in different ways.
    """
    rng = np.random.default_rng(np.frombuffer(points.tobytes() or b"\0" * 8, np.uint32))
    extent = np.ptp(points, axis=1, keepdims=True).max(2, keepdims=True)
    middle = points.mean(1, keepdims=True)
    scale = np.exp(rng.normal(0, size, (len(points), 1, 1)))
    away = rng.normal(0, size, (len(points), 1, 2)) + rng.normal(0, size / 2, points.shape)
    moved: np.ndarray = (points - middle) * scale + middle + away * extent
    return moved


def _rows(
    known: Mapping[str, Tensor],
    descriptors: Tensor,
    num: int,
    compare: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """(M, N): mean similarity of each subject's references to each box."""
    if not num or not known:
        return descriptors.new_zeros(len(known), num)
    return torch.stack([compare(held, descriptors).mean(0) for held in known.values()])
