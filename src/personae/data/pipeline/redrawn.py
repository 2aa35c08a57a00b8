"""Each subject of a drawn picture, cut out and drawn again alone: PSR's references.

Wang et al., PSR (arXiv 2512.01236): a detector crops each subject of a text-to-image picture, and a
single-subject model draws each crop in another place and pose. The natural picture is the target,
the redrawn ones are its references. Their models and checks are not published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personae.data.pipeline.finders import FaceFinder, Finder, Seen, ThingFinder
from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.people import face_eyes
from personae.data.pipeline.provenance import backbone_models, face_models
from personae.data.pipeline.shown import draw_shown, load_shown
from personae.data.pipeline.step import Files, made_of
from personae.data.pipeline.things import SightChoice
from personae.diffusion.backbone import Backbone
from personae.errors import RequestError
from personae.generation.drawing import DEFAULT_SIZE
from personae.generation.noise import picture_generator
from personae.generation.references import reference_picture
from personae.subjects.subject import Reference

__all__ = ["Redrawn", "Studio"]


@dataclass(eq=False)
class Studio:
    """What redrawing works with."""

    backbone: Backbone | None
    finder: Finder


@dataclass(frozen=True, kw_only=True)
class Redrawn:
    """A reference of each subject: its crop, drawn again by a single-subject model.

    Attributes:
        model, adapter: the single-subject model.
        eyes: as ``--faces`` takes them; of several tries the likest one is kept.
        things: the eyes for things instead; `Located` says which.
        tries: pictures that are drawn for each subject; 0: what was cut out is itself the
            reference. It shows the pose of the target, so a filter of copies must let it pass.
        size: (width, height); None: the model's first own one.
        steps, guidance, reference_guidance: None: the model's own.
        words: the prompt, with ``{subject}`` and ``{place}``, which are the plan's words for the
            subject alone: pose and place.
        cut: cut the subject out of its crop first, before plain gray.
        cut_reference: so is the reference that was drawn again (people; things keep their place).
        seed: of all noise.
        device: where the model computes.
    """

    model: str = "toons"
    adapter: str | None = None
    eyes: str = "dlib"
    things: SightChoice | None = None
    tries: int = 2
    size: tuple[int, int] | None = None
    steps: int | None = None
    guidance: float | None = None
    reference_guidance: float | None = None
    words: str = "{subject} {place}"
    cut: bool = True
    cut_reference: bool = False
    seed: int = 0
    device: str = "auto"
    name: str = "redrawn"

    def __post_init__(self) -> None:
        if "{subject}" not in self.words or self.tries < 0:
            raise RequestError(
                f"redrawn: expected words with {{subject}} and tries 0 or more; got "
                f"{self.words!r}, {self.tries}"
            )

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        told = {key: value for key, value in vars(self).items() if key not in {"name", "device"}}
        return {**told, "things": self.things and {**vars(self.things), "device": None}}

    def models(self) -> Mapping[str, str]:
        """See `Step`."""
        eyes = face_models(self.eyes) if self.things is None else self.things.models()
        return {**(backbone_models(self.model, self.adapter) if self.tries else {}), **eyes}

    def build(self) -> Studio:
        """See `Step`."""
        instead, adapter = ", or an adapter that gives it them", self.adapter
        backbone = (
            load_shown("redrawn.model", self.model, self.device, adapter, instead)
            if self.tries
            else None
        )
        if self.things is not None:
            return Studio(backbone, ThingFinder(self.things.build(), self.cut))
        return Studio(backbone, FaceFinder(face_eyes(self.eyes), self.cut, self.cut_reference))

    def work(self, state: Studio, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        return made_of(self._item(state, item, files) for item in items)

    def _item(self, studio: Studio, item: Item, files: Files) -> Item | Lost:
        paths, people = dict(item.files), []
        for place, name in enumerate(item.data["nouns"]):
            crop = studio.finder.crop(item, files, place)
            if crop is None:
                return Lost(item.id, "somebody cannot be cropped alone", detail=name)
            best = self._best(studio, item, place, crop)
            if best is None:
                return Lost(item.id, self._unseen, detail=name)
            redrawn, seen = best
            reference = studio.finder.reference(redrawn, seen) if self.tries else crop
            if reference is None:
                return Lost(item.id, "somebody cannot be cropped alone", detail=name)
            paths[f"crop-{name}"] = files.save(f"{item.id}/{name}-crop", crop)
            paths[f"reference-{name}"] = files.save(f"{item.id}/{name}", reference)
            told = seen.told if self.tries else {**seen.told, "shown": list(seen.box.xyxy)}
            people.append({"name": name, "similarity": round(seen.similarity, 4), **told})
        data = {**item.data, "people": people}
        return item.child(item.id, self.name, files=paths, data=data)

    @property
    def _unseen(self) -> str:
        return f"nobody is seen where somebody was {'drawn again' if self.tries else 'cut out'}"

    def _best(
        self, studio: Studio, item: Item, place: int, crop: np.ndarray
    ) -> tuple[np.ndarray, Seen] | None:
        """The try in which the likest to the subject is seen, and where."""
        name, best = list(item.data["nouns"])[place], None
        drawn = self._draw(studio.backbone, item, name, crop) if self.tries else [crop]
        for picture in drawn:
            for seen in studio.finder.seen(picture, item, place):
                if best is None or seen.similarity > best[1].similarity:
                    best = picture, seen
        return best

    def _draw(
        self, backbone: Backbone | None, item: Item, name: str, crop: np.ndarray
    ) -> Sequence[np.ndarray]:
        """All tries together; each has its own noise, however many there are."""
        assert backbone is not None
        limits = backbone.limits
        size = self.size or next(iter(limits.sizes), DEFAULT_SIZE)
        subject = limits.subject_words.replace("{index}", "1")
        subject = subject.replace("{noun}", item.data["nouns"][name])
        place = item.data["alone"][name]
        words = self.words.replace("{subject}", subject).replace("{place}", place).strip()
        seeds = [picture_generator(f"{item.id} {name}", self.seed, k) for k in range(self.tries)]
        square = reference_picture(Reference(crop), limits.reference_px, "object")
        return draw_shown(backbone, words, square, size, self, seeds)
