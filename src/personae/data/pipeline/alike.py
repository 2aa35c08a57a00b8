"""The step that keeps pictures whose references show their own people and are no copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from personae.data.pipeline.copied import copied
from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.people import Face, descriptors_of, face_eyes, faces_of
from personae.data.pipeline.provenance import face_models
from personae.data.pipeline.step import Files, kept_or_lost
from personae.data.pipeline.thresholds import Thresholds, thresholds
from personae.errors import DataError
from personae.subjects.box import Box
from personae.vision.faces import FaceEmbedder

__all__ = ["Alike"]


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Keeps pictures whose references show their own people, nobody else, and no copies.

    Attributes:
        eyes: as ``--faces`` takes them.
        same: each reference is at least so similar to its person in the target; 0 asks nothing.
            None here and below: what was measured of these eyes (`thresholds`).
        different: and at most so similar to the others there; 1 asks nothing.
        most_copied: a reference whose face correlates so much with that in the target (`copied`)
            could be copied; 2 asks nothing.
        least_px, least_sharp: of the reference's face, as it was drawn.
        least_bits: of things alone; see `AlikeThings`.
    """

    eyes: str = "dlib"
    same: float | None = None
    different: float | None = None
    most_copied: float | None = None
    least_px: float | None = None
    least_sharp: float | None = None
    least_bits: int = 0
    name: str = "alike"

    @property
    def limits(self) -> Thresholds:
        """Those of the eyes, with what was asked for over them."""
        return thresholds(self.eyes).over(
            same=self.same,
            different=self.different,
            most_copied=self.most_copied,
            least_px=self.least_px,
            least_sharp=self.least_sharp,
        )

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {"eyes": self.eyes, **vars(self.limits)}

    def models(self) -> Mapping[str, str]:
        """See `Step`."""
        return face_models(self.eyes)

    def build(self) -> FaceEmbedder:
        """See `Step`."""
        return face_eyes(self.eyes).embedder

    def work(self, state: FaceEmbedder, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        return kept_or_lost(items, self.name, lambda item: self._verdict(state, item, files))

    def _verdict(self, embedder: FaceEmbedder, item: Item, files: Files) -> Lost | None:
        limits, targets = self.limits, faces_of(item)
        references = [Face.of_json(told) for told in item.data["people"]]
        rows = [descriptors_of(faces) for faces in (references, targets)]
        similar = embedder.similarity(rows[0], rows[1])
        own, others = similar.diagonal(), similar - torch.eye(len(targets)) * 2
        if float(own.min()) < limits.same:
            return Lost(item.id, "a reference is not its person", detail=f"{float(own.min()):.2f}")
        if float(others.max()) > limits.different:
            text = f"{float(others.max()):.2f}"
            return Lost(item.id, "a reference resembles another person too", detail=text)
        small = min(face.side_px for face in references)
        if small < limits.least_px:
            return Lost(item.id, "the face of a reference is too small", detail=f"{small:.0f} px")
        dull = min(face.sharpness for face in references)
        if dull < limits.least_sharp:
            return Lost(item.id, "the face of a reference is not sharp", detail=f"{dull:.0f}")
        return self._copy(item, targets, files, limits.most_copied)

    def _copy(self, item: Item, targets: Sequence[Face], files: Files, most: float) -> Lost | None:
        if most > 1:
            return None
        picture = files.picture(item)
        for told, target in zip(item.data["people"], targets, strict=True):
            if not told.get("shown"):
                raise DataError(f"{item.id}: does not say where the faces of its references are")
            reference = files.picture(item, f"reference-{told['name']}")
            value = copied(picture, target.box, reference, Box(*told["shown"]))
            if value >= most:
                return Lost(item.id, "a reference is a copy", detail=f"{told['name']} {value:.2f}")
        return None
