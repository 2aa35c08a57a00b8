"""The two pairs of eyes behind one small face: people by their faces, things by their looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from personae.subjects.box import Box
from personae.subjects.mask import mask_box
from personae.subjects.subject import Kind, Reference
from personae.vision.detectors import ThingEyes
from personae.vision.faces import FaceEyes
from personae.vision.protocols import Detection, Embedder, Judge

__all__ = ["Eyes", "Group", "PeopleEyes", "ThingsEyes", "group_of"]

Group = Literal["person", "thing"]


def group_of(kind: Kind) -> Group:
    """A person is compared by face; animals and objects by their looks."""
    return "person" if kind == "person" else "thing"


class Eyes(Protocol):
    """What evidence is gathered with, for one group of subjects.

    ``present`` is the calibrated similarity from which a box counts as a subject, ``judge`` what
    answers a scene's claims (None: nobody does).
    """

    group: Group
    present: float
    judge: Judge | None

    @property
    def name(self) -> str:
        """Detector and embedder, as rows name them."""
        ...

    @property
    def embedder(self) -> Embedder:
        """What embeds the boxes."""
        ...

    def know(self, reference: Reference) -> Tensor:
        """(1, D) descriptor of the subject in its reference; (0, D) with nothing to know it by."""
        ...

    def look(
        self,
        image: np.ndarray,
        cast: Mapping[str, Sequence[Reference]],
        nouns: Mapping[str, str],
    ) -> tuple[list[Detection], Tensor]:
        """(H, W, 3) uint8 -> N detections and their (N, D) descriptors."""
        ...


@dataclass
class PeopleEyes:
    """People by their faces."""

    faces: FaceEyes
    present: float = 0.5
    group: Group = "person"
    judge: Judge | None = None

    @property
    def name(self) -> str:
        """Detector and embedder, as rows name them."""
        return self.faces.name

    @property
    def embedder(self) -> Embedder:
        """What embeds the faces."""
        return self.faces.embedder

    def know(self, reference: Reference) -> Tensor:
        """See `Eyes`; of several faces, the largest (under the mask, where there is one)."""
        detections, descriptors = self.faces.faces(reference.image, 1)
        wanted = [i for i, item in enumerate(detections) if _under_mask(item.box, reference)]
        if not wanted:
            return descriptors[:0]
        largest = max(wanted, key=lambda i: detections[i].box.area)
        return descriptors[largest : largest + 1]

    def look(
        self,
        image: np.ndarray,
        cast: Mapping[str, Sequence[Reference]],
        nouns: Mapping[str, str],
    ) -> tuple[list[Detection], Tensor]:
        """See `Eyes`; every face counts, whoever it is."""
        return self.faces.faces(image, len(cast))


@dataclass
class ThingsEyes:
    """Animals and objects by their looks, found by their references."""

    things: ThingEyes
    present: float = 0.5
    group: Group = "thing"
    judge: Judge | None = None

    @property
    def name(self) -> str:
        """Detector and embedder, as rows name them."""
        return self.things.name

    @property
    def embedder(self) -> Embedder:
        """What embeds the boxes."""
        return self.things.embedder

    def know(self, reference: Reference) -> Tensor:
        """See `Eyes`; the photo, or the part of it around the mask."""
        return self.things.reference_descriptors([reference])

    def look(
        self,
        image: np.ndarray,
        cast: Mapping[str, Sequence[Reference]],
        nouns: Mapping[str, str],
    ) -> tuple[list[Detection], Tensor]:
        """See `Eyes`; only what resembles a reference (or answers to a noun) is found."""
        return self.things.things(image, cast, nouns)


def _under_mask(box: Box, reference: Reference) -> bool:
    if reference.mask is None:
        return True
    x, y = box.center
    around = mask_box(reference.mask)
    return around.left <= x <= around.right and around.top <= y <= around.bottom
