"""The step that draws what was planned: the toon world, or any text-to-image backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from personae.compute.device import choose_device
from personae.data.pipeline.items import Item, Made
from personae.data.pipeline.looks import perceptual_hash
from personae.data.pipeline.plans import world_scene
from personae.data.pipeline.provenance import backbone_models
from personae.data.pipeline.step import Files
from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.errors import DataError, RequestError
from personae.generation.drawing import DEFAULT_SIZE
from personae.generation.noise import picture_generator, plain_noise
from personae.generation.prompts import named

__all__ = ["WORLD", "Drawn"]

WORLD = "world"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture for every plan.

    Attributes:
        by: ``world``, or a model as ``--model`` takes it.
        size: (width, height); None: the model's first own one. The world has its own.
        steps, guidance: None: the model's own.
        seed: of all noise.
        device: where a model computes.
    """

    by: str = WORLD
    size: tuple[int, int] | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    device: str = "auto"
    name: str = "drawn"

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {key: value for key, value in vars(self).items() if key not in {"name", "device"}}

    def models(self) -> Mapping[str, str]:
        """See `Step`; the world is part of this package."""
        return {} if self.by == WORLD else backbone_models(self.by)

    def build(self) -> Backbone | None:
        """See `Step`."""
        if self.by == WORLD:
            return None
        return load_backbone(self.by, device=choose_device(self.device))

    def work(self, state: Backbone | None, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        made = []
        for item in items:
            picture, more = self._world(item) if state is None else self._model(state, item)
            path = files.save(item.id, picture)
            data = {**item.data, **more, "hash": perceptual_hash(picture)}
            made.append(item.child(item.id, self.name, files={"image": path}, data=data))
        return Made(tuple(made))

    def _world(self, item: Item) -> tuple[np.ndarray, dict[str, Any]]:
        """The scene, and where each toon's face is: what the world can prove."""
        told = item.data.get("world")
        if not isinstance(told, dict):
            raise DataError(
                f"{item.id}: planned for a model, not for the toon world; expected plans by "
                'planner "world", or another drawn.by'
            )
        drawn = world_scene(told)
        where = {m.name: [round(float(x), 2) for x in m.face.xyxy] for m in drawn.members}
        return drawn.image, {"where": where}

    def _model(self, backbone: Backbone, item: Item) -> tuple[np.ndarray, dict[str, Any]]:
        limits = backbone.limits
        width, height = self.size or next(iter(limits.sizes), DEFAULT_SIZE)
        plain = {name: _with_article(noun) for name, noun in item.data["nouns"].items()}
        words = {**plain, **item.data.get("looks", {})}
        noise = plain_noise(
            (1, *backbone.latent_shape(width, height)), picture_generator(item.id, self.seed, 0)
        )
        with torch.no_grad():
            pictures = backbone.draw(
                named(item.data["prompt"], words, item.id),
                (),
                width=width,
                height=height,
                latents=noise.to(backbone.device, backbone.dtype),
                steps=self.steps or limits.steps,
                guidance=limits.guidance if self.guidance is None else self.guidance,
            )
        return pictures[0], {"drawn_by": backbone.name}


def _with_article(noun: str) -> str:
    """A noun as a sentence has it.

    >>> _with_article("orange cat"), _with_article("girl")
    ('an orange cat', 'a girl')
    """
    if not noun:
        raise RequestError("a plan names a subject without a noun")
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
