"""Models that are shown a picture and draw another: redrawing a subject, editing a scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from personae.compute.device import choose_device
from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.errors import RequestError
from personae.generation.noise import plain_noise

__all__ = ["Guided", "draw_shown", "load_shown"]


class Guided(Protocol):
    """How a step has a model draw; None: the model's own."""

    @property
    def steps(self) -> int | None:
        """Of sampling."""
        ...

    @property
    def guidance(self) -> float | None:
        """By the prompt."""
        ...

    @property
    def reference_guidance(self) -> float | None:
        """By the picture that is shown."""
        ...


def load_shown(
    where: str, model: str, device: str, adapter: str | None = None, instead: str = ""
) -> Backbone:
    """A model that takes references, ``where`` being the recipe's key of it.

    Raises:
        RequestError: it takes none; ``instead`` is what else would do.
        WeightsError: it cannot be loaded.
    """
    backbone = load_backbone(model, device=choose_device(device))
    if adapter:
        load_lora(backbone, adapter)
    if not backbone.limits.reference_px:
        raise RequestError(
            f"{where} {model!r} takes no references, so it cannot be shown a picture; expected "
            f"one that does{instead}"
        )
    return backbone


def draw_shown(
    backbone: Backbone,
    words: str,
    picture: np.ndarray,
    size: tuple[int, int],
    how: Guided,
    generators: Sequence[torch.Generator],
) -> Sequence[np.ndarray]:
    """Pictures of a size (width, height), one for each generator of noise, from one reference."""
    limits, (width, height) = backbone.limits, size
    shape = (1, *backbone.latent_shape(width, height))
    noise = torch.cat([plain_noise(shape, generator) for generator in generators])
    guided = how.reference_guidance
    with torch.no_grad():
        return backbone.draw(
            words,
            (picture,),
            width=width,
            height=height,
            latents=noise.to(backbone.device, backbone.dtype),
            steps=how.steps or limits.steps,
            guidance=limits.guidance if how.guidance is None else how.guidance,
            reference_guidance=limits.reference_guidance if guided is None else guided,
        )
