"""A model of given sizes with random weights: what measures speed, memory and shapes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from personae.diffusion.backbone import Backbone, Context
from personae.diffusion.configs import ModelConfigs
from personae.diffusion.flux1 import Flux1Backbone
from personae.diffusion.flux2 import Flux2Backbone
from personae.diffusion.klein import train_tokenizer
from personae.diffusion.parts import PartConfig
from personae.diffusion.sdxl import SdxlBackbone
from personae.diffusion.shrunk import shrunk
from personae.diffusion.small_tokenizers import train_clip_tokenizer, train_t5_tokenizer
from personae.errors import RequestError

__all__ = ["Flops", "build_sized", "count_flops", "example_context", "shrunk"]

_WORDS = ("a girl and a man in a park", "a cat on a beach wearing a scarf")


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one picture; a multiplication and an addition are two.

    Attributes:
        forward: of the denoiser without a gradient.
        both: of the denoiser forward and backward, with what is trainable and nothing recomputed.
        decode: of the autoencoder's decoder.
        decode_both: of the same, and back to the latents.
    """

    forward: int
    both: int
    decode: int
    decode_both: int


def build_sized(
    configs: ModelConfigs, device: torch.device | str, dtype: torch.dtype, seed: int = 0
) -> Backbone:
    """A model of these sizes with random weights, frozen; ``meta`` has none at all.

    Its tokenizers know a few words; the embeddings are as large as the configuration says.

    Raises:
        RequestError: a family that is not built so.
    """
    if configs.pipeline_class not in _BUILDERS:
        raise RequestError(
            f"{configs.name}: random weights of {configs.pipeline_class}: expected one of "
            f"{', '.join(_BUILDERS)}"
        )
    place = torch.device(device)
    rngs = [] if place.type != "cuda" else [torch.cuda.current_device()]
    with torch.random.fork_rng(devices=rngs), _defaults(place, dtype):
        torch.manual_seed(seed)
        parts = {name: _build(part) for name, part in configs.parts.items()}
    frozen = {name: part.eval().requires_grad_(False) for name, part in parts.items()}
    return _BUILDERS[configs.pipeline_class](configs, frozen)


def _flux2(configs: ModelConfigs, parts: dict[str, nn.Module]) -> Backbone:
    from diffusers import FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline

    pipeline = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        tokenizer=train_tokenizer(_WORDS, 300),
        is_distilled=configs.limits.guidance == 1,
        **parts,
    )
    return Flux2Backbone(pipeline, name=configs.name, limits=configs.limits)


def _flux1(configs: ModelConfigs, parts: dict[str, nn.Module]) -> Backbone:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    told = configs.limits.guidance_embedded  # dev shifts its times, schnell does not
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0 if told else 1.0, use_dynamic_shifting=told
    )
    pipeline = FluxPipeline(
        scheduler=scheduler,
        tokenizer=train_clip_tokenizer(_WORDS, _CLIP_TOKENS),
        tokenizer_2=train_t5_tokenizer(_WORDS, 100),
        **parts,
    )
    return Flux1Backbone(pipeline, name=configs.name, limits=configs.limits)


def _sdxl(configs: ModelConfigs, parts: dict[str, nn.Module]) -> Backbone:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    # scheduler/scheduler_config.json of stable-diffusion-xl-base-1.0.
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
    )
    pipeline = StableDiffusionXLPipeline(
        scheduler=scheduler,
        tokenizer=train_clip_tokenizer(_WORDS, _CLIP_TOKENS),
        tokenizer_2=train_clip_tokenizer(_WORDS, _CLIP_TOKENS, pad="!"),
        add_watermarker=False,
        **parts,
    )
    return SdxlBackbone(pipeline, name=configs.name, limits=configs.limits)


_CLIP_TOKENS = 560
_BUILDERS: Mapping[str, Callable[[ModelConfigs, dict[str, nn.Module]], Backbone]] = {
    "Flux2KleinPipeline": _flux2,
    "FluxPipeline": _flux1,
    "StableDiffusionXLPipeline": _sdxl,
}


@contextmanager
def _defaults(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)


def _build(part: PartConfig) -> nn.Module:
    kind = getattr(importlib.import_module(part.library), part.kind)
    if part.library == "diffusers":
        module: nn.Module = kind.from_config(dict(part.config))
    else:
        module = kind(kind.config_class.from_dict(dict(part.config)))
    return module


def example_context(
    backbone: Backbone, width: int, height: int, references: int, batch: int = 1
) -> tuple[Tensor, Context]:
    """Empty latents of a picture and a context, shaped as the model's own."""
    limits, device = backbone.limits, backbone.device
    side = limits.reference_px
    latents = torch.zeros(batch, *backbone.latent_shape(width, height), device=device)
    text = torch.zeros(batch, *backbone.text_shape, device=device)
    if not side or not references:
        return latents, Context(text)
    reference = torch.zeros(batch, *backbone.latent_shape(side, side), device=device)
    return latents, Context(text, (reference,) * references)


def count_flops(backbone: Backbone, width: int, height: int, references: int) -> Flops:
    """What one picture costs, by counting matrix products, attention and convolutions.

    The backbone is to be one of the device ``meta``: nothing is computed there, and attention is
    counted, which a CPU's fused kernel hides. Gradient checkpointing has to be off: what is
    recomputed is no work of the model's.
    """
    latents, context = example_context(backbone, width, height, references)
    time = torch.ones(1, device=backbone.device)

    def drawn() -> Tensor:
        return backbone.predict(latents, time, context)

    def taught() -> None:
        leaf = latents.clone().requires_grad_()
        torch.autograd.backward(backbone.predict(leaf, time, context).sum())

    def decoded() -> None:
        leaf = latents.clone().requires_grad_()
        torch.autograd.backward(backbone.decode(leaf).sum())

    with torch.no_grad():
        forward, decode = _counted(drawn), _counted(lambda: backbone.decode(latents))
    return Flops(forward, _counted(taught), decode, _counted(decoded))


def _counted(work: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return int(counter.get_total_flops())
