"""Which redrawn people are themselves, nobody else, and no copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.looks import hash_distance, perceptual_hash
from personae.data.pipeline.pairs import turned
from personae.data.pipeline.people import Face, face_eyes, faces_of
from personae.data.pipeline.step import Files, kept_or_lost
from personae.vision.faces import FaceEyes

__all__ = ["Alike"]


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Keeps pictures whose references show their own people, nobody else, and no copies.

    Attributes:
        eyes: as ``--faces`` takes them.
        same: each reference is at least so similar to its person in the target; 0 asks nothing.
        different: and at most so similar to the others there; 1 asks nothing.
        least_turned, least_bits: and differs from it in one of these; see `Pairs`. 0: nothing.
        least_sharp: of the reference's face.
    """

    eyes: str = "dlib"
    same: float = 0.5
    different: float = 0.5
    least_turned: float = 0.0
    least_bits: int = 0
    least_sharp: float = 0.0
    name: str = "alike"

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {key: value for key, value in vars(self).items() if key != "name"}

    def build(self) -> FaceEyes:
        """See `Step`."""
        return face_eyes(self.eyes)

    def work(self, state: FaceEyes, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        return kept_or_lost(items, self.name, lambda item: self._verdict(state, item, files))

    def _verdict(self, eyes: FaceEyes, item: Item, files: Files) -> Lost | None:
        targets = faces_of(item)
        references = [Face.of_json(told) for told in item.data["people"]]
        rows = [torch.from_numpy(np.stack([face.descriptor for face in some]))
                for some in (references, targets)]  # fmt: skip
        similar = eyes.embedder.similarity(rows[0], rows[1])
        own, others = similar.diagonal(), similar - torch.eye(len(targets)) * 2
        if float(own.min()) < self.same:
            return Lost(item.id, "a reference is not its person", detail=f"{float(own.min()):.2f}")
        if float(others.max()) > self.different:
            text = f"{float(others.max()):.2f}"
            return Lost(item.id, "a reference resembles another person too", detail=text)
        dull = min(face.sharpness for face in references)
        if dull < self.least_sharp:
            return Lost(item.id, "a reference is not sharp", detail=f"{dull:.0f}")
        return self._copied(item, targets, references, files)

    def _copied(
        self, item: Item, targets: Sequence[Face], references: Sequence[Face], files: Files
    ) -> Lost | None:
        if not (self.least_turned or self.least_bits):
            return None
        for name, target, reference in zip(item.data["nouns"], targets, references, strict=True):
            turn = turned(target.landmarks, reference.landmarks)
            crops = (files.picture(item, f"{kind}-{name}") for kind in ("crop", "reference"))
            bits = hash_distance(*(perceptual_hash(crop) for crop in crops))
            if turn < self.least_turned and bits < self.least_bits:
                return Lost(item.id, "a reference could be copied", detail=name)
        return None
