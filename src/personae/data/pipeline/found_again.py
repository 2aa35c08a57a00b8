"""Who is found again in an edited picture: the same subjects, as many, and how like they stayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from personae.data.pipeline.items import Item, Lost
from personae.data.pipeline.located import Located
from personae.data.pipeline.people import Faces, descriptors_of, faces_of, look
from personae.data.pipeline.step import Files
from personae.data.pipeline.things import Sight, things_of
from personae.vision.faces import FaceEyes

__all__ = ["FacesAgain", "FoundAgain", "Seeker", "ThingsAgain"]


@dataclass(frozen=True, eq=False)
class FoundAgain:
    """Each subject's find in the edited picture, in the order of the nouns.

    Attributes:
        similarities: to the same subject in the picture before.
        data: what replaces the finds before, as the item tells them.
        files: likewise.
    """

    similarities: tuple[float, ...]
    data: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)


class Seeker(Protocol):
    """Finds a located item's subjects in another picture of them all."""

    def seek(self, item: Item, picture: np.ndarray, files: Files) -> FoundAgain | Lost:
        """All of them, in a picture (H, W, 3) uint8, and nobody else; or why not."""
        ...


@dataclass(eq=False)
class FacesAgain:
    """People, by their faces, wherever they went: each is the one whom it resembles.

    Of all ways to give faces to subjects the one of the largest sum of similarities counts.
    ``step`` is the one that found them before; the faces are held to its limits.
    """

    eyes: FaceEyes
    step: Faces

    def seek(self, item: Item, picture: np.ndarray, files: Files) -> FoundAgain | Lost:
        """See `Seeker`."""
        before, faces = faces_of(item), look(self.eyes, picture, self.step.least)
        if len(faces) != len(before):
            detail = f"{len(faces)} for {len(before)}"
            return Lost(item.id, "not as many people as before the edit", detail=detail)
        verdict = self.step.verdict(item, faces)
        if verdict is not None:
            return verdict
        rows = (descriptors_of(some) for some in (before, faces))
        similar = self.eyes.embedder.similarity(*rows).cpu().numpy()
        own, found = linear_sum_assignment(-similar)
        told = [faces[place].as_json() for place in found]
        return FoundAgain(tuple(map(float, similar[own, found])), {"faces": told})


@dataclass(eq=False)
class ThingsAgain:
    """Things, by their nouns and by the rules of ``step``, which located them before."""

    sight: Sight
    step: Located

    def seek(self, item: Item, picture: np.ndarray, files: Files) -> FoundAgain | Lost:
        """See `Seeker`; the masks are those of the edited picture."""
        found = self.step.things(self.sight, item, picture, files)
        if isinstance(found, Lost):
            return found
        rows = (np.stack([thing.descriptor for thing in things_of(one)]) for one in (item, found))
        similar = self.sight.similarity(*rows).diagonal()
        return FoundAgain(tuple(map(float, similar)), {"things": found.data["things"]}, found.files)
