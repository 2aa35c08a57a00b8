"""The step that edits what was drawn: PSR's re-editing, so that references do not show the task.

In PSR (Wang et al., arXiv 2512.01236) an editing model changes the drawn picture (adds a hat,
changes the action) after the references were made of it, and the edited picture is the target: what
a subject wears or does there cannot be read off its reference. Their model and words are not
published; those here are ours. What is added was left out of the words that were drawn
(`Planner.plan`, ``bare``), so references can show none of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personae.data.pipeline.drawn import WORLD
from personae.data.pipeline.found_again import FacesAgain, FoundAgain, Seeker, ThingsAgain
from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.located import ONE_NOUN, Located, subject_boxes
from personae.data.pipeline.looks import perceptual_hash
from personae.data.pipeline.people import Faces
from personae.data.pipeline.plans import world_scene
from personae.data.pipeline.provenance import backbone_models
from personae.data.pipeline.shown import draw_shown, load_shown
from personae.data.pipeline.step import Files, made_of
from personae.diffusion.backbone import Backbone
from personae.errors import DataError, RequestError
from personae.generation.noise import picture_generator

__all__ = ["EDITABLE", "Edited", "Retoucher"]

EDITABLE = ("attribute", "action", "complex")
"""Tasks that tell what a subject wears or does."""
_SALT = 0xED17


@dataclass(eq=False)
class Retoucher:
    """What editing works with; without a backbone the toon world edits."""

    backbone: Backbone | None
    seeker: Seeker


@dataclass(frozen=True, kw_only=True)
class Edited:
    """The picture edited, as target; references stay those of the picture before, ``unedited``.

    What is added are the plan's own words (templates, the toon world), or for each subject one of
    the lists here (a language model's plans: an attribute; an action for task action). The prompt
    tells it afterwards. Every subject must be found again in the edited picture, nobody else, and
    be itself still; whether it wears and does what was asked is not looked at here: a captioner
    that sees the picture can say that it does not.

    Attributes:
        by: ``world``, which draws its scene again with what was left out, or a model as
            ``--model`` takes it, that takes references: it gets the picture as the only one.
        tasks: of `EDITABLE`; others pass as they are.
        attributes, actions: as a sentence ends on them.
        words: what a model is told; ``{edits}`` is "the NOUN now WORDS" of each subject.
        same: each subject is at least so similar to itself before; 0 asks nothing. None: what
            `alike` asks of its references.
        least_changed: mean absolute difference of both pictures, of 1, that is no edit yet.
        steps, guidance, reference_guidance: None: the model's own.
        seed: of noise and of words.
        device: where a model computes.
        faces, located: who finds the subjects again; the recipe's own steps say.
    """

    by: str = WORLD
    tasks: tuple[str, ...] = EDITABLE
    attributes: tuple[str, ...] = ("wearing a scarf", "wearing a hat", "wearing a cape")
    actions: tuple[str, ...] = ("waving", "jumping", "holding a balloon")
    words: str = "{edits}; all else as it is"
    same: float | None = None
    least_changed: float = 0.0
    steps: int | None = None
    guidance: float | None = None
    reference_guidance: float | None = None
    seed: int = 0
    device: str = "auto"
    faces: Faces | None = None
    located: Located | None = None
    name: str = "edited"

    def __post_init__(self) -> None:
        if not self.tasks or not set(self.tasks) <= set(EDITABLE):
            raise RequestError(
                f"edited.tasks: expected some of {list(EDITABLE)}; got {list(self.tasks)}"
            )
        if "{edits}" not in self.words:
            raise RequestError(f"edited.words: expected words with {{edits}}; got {self.words!r}")
        if not self.attributes or not self.actions:
            raise RequestError("edited.attributes, edited.actions: expected some words; got none")
        if not 0 <= self.least_changed < 1:
            raise RequestError(
                f"edited.least_changed: expected 0 or more, below 1; got {self.least_changed}"
            )

    @property
    def _looking(self) -> Faces | Located:
        looking = self.faces if self.located is None else self.located
        if looking is None or self.same is None:
            raise RequestError(
                "edited: nobody says who finds the subjects again, or how alike they must be; "
                "expected faces or located, and same, as `synthesis_steps` sets them"
            )
        return looking

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        hidden = {"name", "device", "faces", "located"}
        told = {key: value for key, value in vars(self).items() if key not in hidden}
        return {**told, "looking": self._looking.settings()}

    def models(self) -> Mapping[str, str]:
        """See `Step`; the world is part of this package."""
        return {**({} if self.by == WORLD else backbone_models(self.by)), **self._looking.models()}

    def build(self) -> Retoucher:
        """See `Step`."""
        looking = self._looking
        if isinstance(looking, Faces):
            return Retoucher(self._model(), FacesAgain(looking.build(), looking))
        sight = looking.build()
        assert sight is not None
        return Retoucher(self._model(), ThingsAgain(sight, looking))

    def _model(self) -> Backbone | None:
        if self.by == WORLD:
            return None
        return load_shown("edited.by", self.by, self.device)

    def work(self, state: Retoucher, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        return made_of(
            self._item(state, item, files)
            if item.data["task"] in self.tasks
            else item.child(item.id, self.name)
            for item in items
        )

    def _item(self, state: Retoucher, item: Item, files: Files) -> Item | Lost:
        before, edits = files.picture(item), self._edits(item)
        if state.backbone is None:
            picture = _world(item)
        elif len(set(item.data["nouns"].values())) < len(item.data["nouns"]):
            return Lost(item.id, ONE_NOUN)
        else:
            picture = self._draw(state.backbone, item, before, self._instruction(item, edits))
        changed = float(np.abs(picture.astype(np.float32) - before).mean()) / 255
        if changed <= self.least_changed:
            return Lost(item.id, "the edit changed nothing", detail=f"{changed:.4f}")
        found = state.seeker.seek(item, picture, files)
        if isinstance(found, Lost):
            return found
        lost = self._strangers(item, found)
        if lost is not None:
            return lost
        told = self._told(item, edits, found, state.backbone)
        told |= {"hash": perceptual_hash(picture), "changed": round(changed, 5)}
        paths = {"unedited": item.files["image"], "image": files.save(item.id, picture)}
        paths = {**item.files, **found.files, **paths}
        return item.child(item.id, self.name, files=paths, data=told)

    def _edits(self, item: Item) -> list[tuple[str, str]]:
        """(id, words) of each thing that is added."""
        if item.data.get("edits"):
            return [(str(name), str(words)) for name, words in item.data["edits"]]
        rng = np.random.default_rng([_SALT, self.seed, *item.id.encode()])
        words = self.actions if item.data["task"] == "action" else self.attributes
        return [(name, words[int(rng.integers(len(words)))]) for name in item.data["nouns"]]

    def _instruction(self, item: Item, edits: Sequence[tuple[str, str]]) -> str:
        told = [
            f"the {noun} now {' and '.join(words for one, words in edits if one == name)}"
            for name, noun in item.data["nouns"].items()
            if any(one == name for one, _ in edits)
        ]
        return self.words.replace("{edits}", ", ".join(told))

    def _draw(self, backbone: Backbone, item: Item, before: np.ndarray, words: str) -> np.ndarray:
        """The picture again, of its own size, from itself as the one reference."""
        height, width = before.shape[:2]
        seeds = [picture_generator(f"{item.id} edited", self.seed, 0)]
        (picture,) = draw_shown(backbone, words, before, (width, height), self, seeds)
        return picture

    def _strangers(self, item: Item, found: FoundAgain) -> Lost | None:
        assert self.same is not None
        least, name = min(zip(found.similarities, item.data["nouns"], strict=True))
        if not self.same or least >= self.same:
            return None
        detail = f"{name} {least:.2f}"
        return Lost(item.id, "a subject is not itself after the edit", detail=detail)

    def _told(
        self,
        item: Item,
        edits: Sequence[tuple[str, str]],
        found: FoundAgain,
        backbone: Backbone | None,
    ) -> dict[str, Any]:
        """The item's data of the edited picture, and what it was before, subject by subject."""
        boxes, data = subject_boxes(item), {**item.data, **found.data}
        data["edited"] = [
            {
                "name": name,
                "words": [words for one, words in edits if one == name],
                "similarity": round(similarity, 4),
                "box": list(boxes[name].xyxy),
            }
            for name, similarity in zip(item.data["nouns"], found.similarities, strict=True)
        ]
        data["prompt"] = ", ".join(
            [item.data["prompt"], *(f"{{{name}}} {words}" for name, words in edits)]
        )
        if backbone is not None:  # what the world knew of its picture need not hold of this one
            data = {key: value for key, value in data.items() if key not in {"world", "where"}}
            data["edited_by"] = backbone.name
        return data


def _world(item: Item) -> np.ndarray:
    """The scene of a bare one, not bare."""
    world = item.data.get("world")
    if not isinstance(world, dict) or not world.get("bare"):
        raise DataError(
            f"{item.id}: not drawn bare by the toon world, which therefore cannot edit it; "
            'expected plans by planner "world" made for edits, or another edited.by'
        )
    return world_scene(world, bare=False).image
