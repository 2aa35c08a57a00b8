"""The step that says which find of a picture is which of its subjects, people or things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.people import Face, faces_of
from personae.data.pipeline.step import Files, made_of
from personae.data.pipeline.things import Sight, SightChoice, Thing
from personae.errors import DataError
from personae.metrics.position import relation_of
from personae.subjects.box import Box

__all__ = ["FACES", "ONE_NOUN", "Located", "subject_boxes"]

FACES = "faces"
ONE_NOUN = "two subjects have one noun: words cannot tell them apart"
_TWO = 2
# From the first to the second, in pixels with y down.
_STEPS = {"left of": (1, 0), "right of": (-1, 0), "above": (0, 1), "below": (0, -1),
          "next to": (1, 0)}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Located:
    """Exactly one find for each subject that was planned, or the picture goes no further.

    Faces: as many as were planned. Where whoever drew the picture told where each subject is, the
    nearest faces are theirs; else they stand from left to right in the order of the prompt, and
    two of them as its relation says. Things: one box that a detector finds by each noun, apart from
    the others', and cut out.

    Attributes:
        by: ``faces`` (found by the step before), ``owlv2``, ``grounding-dino`` or ``florence-2``,
            each of the three with an optional ``:PATH-OR-HUB-ID``.
        segmenter: of things: ``grabcut``, or ``sam2`` likewise.
        embedder: what things are compared by, as ``--embedder`` takes it.
        threshold: of the detector's scores; None: its own. Florence-2 has none.
        least_px: of the shorter side of a thing's box.
        most_overlap: intersection over union of two subjects' boxes that are not one place.
        kind: what things are called in examples.
        device: where the models for things compute.
    """

    by: str = FACES
    segmenter: str = "grabcut"
    embedder: str = "efficientnet-lite0"
    threshold: float | None = None
    least_px: float = 32.0
    most_overlap: float = 0.5
    kind: Literal["animal", "object"] = "object"
    device: str = "auto"
    name: str = "located"

    @property
    def sight(self) -> SightChoice | None:
        """The eyes for things; None where faces are looked for."""
        if self.by == FACES:
            return None
        return SightChoice(
            detector=self.by,
            segmenter=self.segmenter,
            embedder=self.embedder,
            threshold=self.threshold,
            device=self.device,
        )

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        if self.by == FACES:
            return {}
        return {key: value for key, value in vars(self).items() if key not in {"name", "device"}}

    def models(self) -> Mapping[str, str]:
        """See `Step`."""
        return self.sight.models() if self.sight else {}

    def build(self) -> Sight | None:
        """See `Step`."""
        return self.sight.build() if self.sight else None

    def work(self, state: Sight | None, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        if state is None:
            return made_of(map(self._faces, items))
        return made_of(self.things(state, item, files.picture(item), files) for item in items)

    def _faces(self, item: Item) -> Item | Lost:
        faces, names = faces_of(item), list(item.data["nouns"])
        if len(faces) != len(names):
            reason = "not as many people as the caption says"
            return Lost(item.id, reason, detail=f"{len(faces)} for {len(names)}")
        order = self._order(item, names, faces)
        data = {**item.data, "faces": [item.data["faces"][place] for place in order]}
        return item.child(item.id, self.name, data=data)

    def _order(self, item: Item, names: Sequence[str], faces: Sequence[Face]) -> list[int]:
        """For each subject the place of its face."""
        if "where" not in item.data:
            return self._as_told(item, names, faces)
        told = np.array([Box(*item.data["where"][name]).center for name in names])
        seen = np.array([face.box.center for face in faces])
        rows, columns = linear_sum_assignment(np.linalg.norm(told[:, None] - seen[None], axis=-1))
        return [int(columns[list(rows).index(place)]) for place in range(len(names))]

    def _as_told(self, item: Item, names: Sequence[str], faces: Sequence[Face]) -> list[int]:
        """From left to right, or as the prompt says that two of two stand."""
        middles = np.array([face.box.center for face in faces])
        first, words, _ = item.data.get("relation") or (names[0], "next to", "")
        name = relation_of(words) if len(names) == _TWO else "next to"
        order = [int(place) for place in (middles @ _STEPS[name]).argsort(kind="stable")]
        return order if name == "next to" or first == names[0] else order[::-1]

    def things(self, sight: Sight, item: Item, picture: np.ndarray, files: Files) -> Item | Lost:
        """The item with the things that a picture (H, W, 3) uint8 shows of its subjects."""
        nouns: Mapping[str, str] = item.data["nouns"]
        if len(set(nouns.values())) < len(nouns):
            return Lost(item.id, ONE_NOUN)
        try:
            found = sight.find(picture, nouns)
        except DataError as error:
            return Lost(item.id, "the detector's answer cannot be read", detail=str(error))
        boxes: dict[str, Box] = {}
        for name, noun in nouns.items():
            own = [one for one in found if one.subject == name]
            if len(own) != 1:
                reason = "a subject is seen more than once" if own else "a subject is not seen"
                return Lost(item.id, reason, detail=f"{noun}: {len(own)}")
            boxes[name] = own[0].box
        verdict = self._verdict(item, boxes)
        if verdict is not None:
            return verdict
        masks = {name: sight.segmenter.segment(picture, box) for name, box in boxes.items()}
        empty = [nouns[name] for name, mask in masks.items() if not mask.any()]
        if empty:
            return Lost(item.id, "a subject cannot be cut out", detail=", ".join(empty))
        rows = sight.describe(picture, list(boxes.values()))
        scores = {one.subject: one.score for one in found}
        things = [
            {"name": name, **Thing(box, scores[name], row).as_json()}
            for (name, box), row in zip(boxes.items(), rows, strict=True)
        ]
        paths = {
            f"mask-{name}": files.save(f"{item.id}/{name}-mask", mask.astype(np.uint8) * 255)
            for name, mask in masks.items()
        }
        data = {**item.data, "things": things}
        return item.child(item.id, self.name, files={**item.files, **paths}, data=data)

    def _verdict(self, item: Item, boxes: Mapping[str, Box]) -> Lost | None:
        smallest = min(min(box.width, box.height) for box in boxes.values())
        if smallest < self.least_px:
            return Lost(item.id, "a subject is too small", detail=f"{smallest:.0f} px")
        held = list(boxes.values())
        overlap = max(
            (one.iou(other) for place, one in enumerate(held) for other in held[:place]),
            default=0.0,
        )
        if overlap > self.most_overlap:
            return Lost(item.id, "two subjects are in one place", detail=f"{overlap:.2f}")
        return None


def subject_boxes(item: Item) -> dict[str, Box]:
    """Where each subject of a located item is, by its id: its face, or all of a thing.

    Raises:
        DataError: it was not located.
    """
    try:
        if "things" in item.data:
            return {told["name"]: Box(*told["box"]) for told in item.data["things"]}
        pairs = zip(item.data["nouns"], item.data["faces"], strict=True)
        return {name: Box(*told["box"]) for name, told in pairs}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{item.id}: nobody is located in it ({error!r}); locate them first"
        ) from error
