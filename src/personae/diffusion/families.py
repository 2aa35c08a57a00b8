"""What is known of a family without weights: which part draws, what a LoRA adapts, its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from personae.diffusion.backbone import Limits
from personae.diffusion.flux1_limits import FLUX1_LORA_TARGETS, flux1_limits, flux1_text_shape
from personae.diffusion.flux2_limits import LORA_TARGETS, klein_limits
from personae.diffusion.parts import PartConfig
from personae.diffusion.sdxl_limits import (
    UNET_LORA_TARGETS,
    sd_limits,
    sdxl_limits,
    unet_text_shape,
)

__all__ = ["FAMILY_FACTS", "Family", "facts_of"]

Parts = Mapping[str, PartConfig]


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        name: as `Backbone.family` says it.
        denoiser: the pipeline's part that is trained; a LoRA's names in files start with it.
        lora_targets: regular expression of the layers that a LoRA adapts.
        fold: a latent is so many numbers of the autoencoder a side.
        is_flow: times and targets are those of a rectified flow.
        limits: of a checkpoint that says nothing itself, from its index and its parts.
        text_shape: (rows, width) of an embedded prompt.
    """

    name: str
    denoiser: str
    lora_targets: str
    fold: int
    is_flow: bool
    limits: Callable[[Mapping[str, Any], Parts], Limits]
    text_shape: Callable[[Parts, Limits], tuple[int, int]]


def _flux2_text_shape(parts: Parts, limits: Limits) -> tuple[int, int]:
    return limits.prompt_tokens, int(parts["transformer"].config["joint_attention_dim"])


FAMILY_FACTS: Mapping[str, Family] = {
    "Flux2KleinPipeline": Family(
        "flux2",
        "transformer",
        LORA_TARGETS,
        2,
        True,
        lambda index, parts: klein_limits(bool(index.get("is_distilled", False))),
        _flux2_text_shape,
    ),
    "FluxPipeline": Family(
        "flux1",
        "transformer",
        FLUX1_LORA_TARGETS,
        2,
        True,
        lambda index, parts: flux1_limits(parts),
        flux1_text_shape,
    ),
    "StableDiffusionXLPipeline": Family(
        "sdxl",
        "unet",
        UNET_LORA_TARGETS,
        1,
        False,
        lambda index, parts: sdxl_limits(parts),
        unet_text_shape,
    ),
    "StableDiffusionPipeline": Family(
        "sd",
        "unet",
        UNET_LORA_TARGETS,
        1,
        False,
        lambda index, parts: sd_limits(parts),
        unet_text_shape,
    ),
}


def facts_of(pipeline_class: str) -> Family:
    """What is known of a pipeline's family; of one that is not known, what FLUX.2 would be.

    >>> facts_of("FluxPipeline").name
    'flux1'
    """
    return FAMILY_FACTS.get(pipeline_class, FAMILY_FACTS["Flux2KleinPipeline"])
