"""A model of given sizes with random weights: what measures speed, memory and shapes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from personae.diffusion.backbone import Backbone, Context
from personae.diffusion.configs import ModelConfigs, PartConfig
from personae.diffusion.flux2 import Flux2Backbone
from personae.diffusion.klein import train_tokenizer
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
) -> Flux2Backbone:
    """A FLUX.2 Klein model of these sizes with random weights, frozen; ``meta`` has none at all.

    Its tokenizer knows a few words; the embedding is as large as the configuration says.

    Raises:
        RequestError: another family.
    """
    if configs.pipeline_class != "Flux2KleinPipeline":
        raise RequestError(
            f"{configs.name}: random weights of {configs.pipeline_class}: expected "
            "Flux2KleinPipeline"
        )
    from diffusers import FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline

    place = torch.device(device)
    rngs = [] if place.type != "cuda" else [torch.cuda.current_device()]
    with torch.random.fork_rng(devices=rngs), _defaults(place, dtype):
        torch.manual_seed(seed)
        parts = {name: _build(part) for name, part in configs.parts.items()}
    pipeline = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        tokenizer=train_tokenizer(_WORDS, 300),
        is_distilled=configs.limits.guidance == 1,
        **{name: part.eval().requires_grad_(False) for name, part in parts.items()},
    )
    return Flux2Backbone(pipeline, name=configs.name, limits=configs.limits)


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


def shrunk(configs: ModelConfigs, depth: int = 0, *, tiny: bool = False) -> ModelConfigs:
    """The same model with fewer blocks, or tiny in all directions, to try a program out.

    Args:
        configs: of the true sizes.
        depth: blocks of the denoiser in all, a fifth of them double; 0 leaves it. The text
            encoder then has four layers.
        tiny: widths of a few numbers, references of 64 pixels, prompts of 32 tokens.
    """
    if not depth and not tiny:
        return configs
    depth = depth or 2
    doubles = max(1, depth // 5)
    text: dict[str, Any] = {"num_hidden_layers": 4}
    net: dict[str, Any] = {"num_layers": doubles, "num_single_layers": max(1, depth - doubles)}
    vae: dict[str, Any] = {}
    limits = replace(configs.limits, text_layers=(1, 2, 3))
    if tiny:
        text |= {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
        text |= {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 300}
        net |= {"num_attention_heads": 2, "attention_head_dim": 32, "joint_attention_dim": 96}
        net |= {"axes_dims_rope": (8, 8, 8, 8)}
        vae |= {"block_out_channels": (8, 16, 16, 16), "norm_num_groups": 4, "layers_per_block": 1}
        limits = replace(limits, reference_px=64, prompt_tokens=32)
    changes = {"text_encoder": text, "transformer": net, "vae": vae}
    parts = {
        name: replace(part, config={**part.config, **changes[name]})
        for name, part in configs.parts.items()
    }
    return replace(configs, parts=parts, limits=limits)


def example_context(
    backbone: Backbone, width: int, height: int, references: int, batch: int = 1
) -> tuple[Tensor, Context]:
    """Empty latents of a picture and a context, shaped as the model's own."""
    net: Mapping[str, Any] = backbone.pipeline.transformer.config
    limits, device = backbone.limits, backbone.device
    side = limits.reference_px
    latents = torch.zeros(batch, *backbone.latent_shape(width, height), device=device)
    reference = torch.zeros(batch, *backbone.latent_shape(side, side), device=device)
    text = torch.zeros(batch, limits.prompt_tokens, net["joint_attention_dim"], device=device)
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
