"""Operations of a step, counted on modules without weights; a multiply-add is two of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from personae.diffusion.backbone import Limits
from personae.diffusion.configs import ModelConfigs
from personae.diffusion.memory import Workload
from personae.diffusion.rehearsed import FusedAttention, denoiser_pass, pass_flops
from personae.training.base_check import Base, adapted_layers
from personae.training.data_check import Shape
from personae.training.grpo_recipe import window_of
from personae.training.recipe import Recipe

__all__ = [
    "PictureFlops",
    "Work",
    "decoder_cost",
    "denoiser_flops",
    "picture_flops",
    "step_flops",
]

# Which tokens a layer of a FLUX transformer sees, by the start or a part of its name.
_ONCE: tuple[str, ...] = ("time_guidance_embed", "time_text_embed", "modulation", "norm_out")
_ONCE += (".norm1.linear", ".norm1_context.linear", ".norm.linear")
_TEXT = ("context_embedder", ".attn.add_", ".attn.to_add_out", ".ff_context.")
_ALL = ("single_transformer_blocks.",)


@dataclass(frozen=True)
class PictureFlops:
    """Of one picture of one shape, without a gradient.

    Attributes:
        denoiser: one pass with the references in context.
        alone: one pass without them.
        text: to embed its prompt.
        encode: picture and references to latents.
        decode: latents to the picture.
    """

    denoiser: float
    alone: float
    text: float
    encode: float
    decode: float


@dataclass(frozen=True)
class Work:
    """Floating-point operations of a run: of a step by stage, and of what happens now and then."""

    step: Mapping[str, float]
    validation: float
    samples: float
    encoding: float

    @property
    def total_step(self) -> float:
        """Of one step."""
        return sum(self.step.values())


def denoiser_flops(
    denoiser: nn.Module,
    text: int,
    picture: int,
    references: int = 0,
    ranks: Mapping[str, int] | None = None,
) -> float:
    """One pass over so many tokens: every linear layer by the tokens it sees, and attention.

    Every block attends once over all tokens, 4 n^2 h operations of n tokens of width h. ``ranks``
    are those of the layers with an adapter.
    """
    ranks = ranks or {}
    pictures = picture + references
    total, blocks = 0.0, 0
    for name, module in denoiser.named_modules():
        if isinstance(module, nn.Linear):
            seen = _tokens(name, text, pictures)
            inputs, outputs = module.in_features, module.out_features
            total += 2.0 * seen * (inputs * outputs + ranks.get(name, 0) * (inputs + outputs))
        if name.rpartition(".")[0] in {"transformer_blocks", "single_transformer_blocks"}:
            blocks += 1
    config: Any = denoiser.config
    width = int(config.num_attention_heads) * int(config.attention_head_dim)
    return total + 4.0 * blocks * (text + pictures) ** 2 * width


def _tokens(name: str, text: int, pictures: int) -> int:
    if any(part in name for part in _ONCE):
        return 1
    if name.startswith(_ALL):
        return text + pictures
    return text if any(part in name for part in _TEXT) else pictures


def picture_flops(recipe: Recipe, base: Base, shape: Shape, decode: float) -> PictureFlops:
    """Of one picture of this shape, with the recipe's adapter on the denoiser.

    Args:
        recipe: says which layers have an adapter.
        base: on the meta device.
        shape: of the picture and its references.
        decode: what the autoencoder's decoder takes; see `decoder_cost`.
    """
    ranks = dict[str, int]()
    if recipe.lora is not None:
        layers = adapted_layers(base, recipe.lora.targets)
        ranks = dict.fromkeys(layers, recipe.lora.rank)
    denoiser, alone = _passes_of(base, shape, ranks)
    return PictureFlops(
        denoiser=denoiser,
        alone=alone,
        text=sum(_text_flops(encoder, base.configs) for encoder in base.text_encoders),
        encode=_encode_flops(base.modules["vae"], shape.pictures),
        decode=decode,
    )


def _passes_of(base: Base, shape: Shape, ranks: Mapping[str, int]) -> tuple[float, float]:
    """One pass of the denoiser with the references, and one without."""
    if base.configs.family.denoiser == "unet":
        (width, height), *_ = shape.pictures
        pass_ = denoiser_pass(
            base.configs, base.denoiser, Workload(width=width, height=height, dtype=torch.float32)
        )
        flops = pass_flops(base.denoiser, pass_, ranks)
        return flops, flops
    text = base.configs.limits.prompt_tokens
    picture, *others = [_patches(base, *size) for size in shape.pictures]
    return (
        denoiser_flops(base.denoiser, text, picture, sum(others), ranks),
        denoiser_flops(base.denoiser, text, picture, ranks=ranks),
    )


def _patches(base: Base, width: int, height: int) -> int:
    return (width // base.multiple) * (height // base.multiple)


def _text_flops(encoder: nn.Module, configs: ModelConfigs) -> float:
    tokens = int(getattr(encoder.config, "max_position_embeddings", 0) or 0)
    tokens = min(tokens or configs.limits.prompt_tokens, configs.limits.prompt_tokens)
    layers = [m for name, m in encoder.named_modules() if isinstance(m, nn.Linear)]
    inner = [m for m in layers if m is not getattr(encoder, "lm_head", None)]
    config: Any = encoder.config
    attention = 4.0 * int(config.num_hidden_layers) * tokens**2 * int(config.hidden_size)
    return attention + sum(2.0 * tokens * m.in_features * m.out_features for m in inner)


def _encode_flops(autoencoder: Any, pictures: Sequence[tuple[int, int]]) -> float:
    """Counted for the first of them; the others by their pixels."""
    width, height = pictures[0]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        autoencoder.encode(torch.empty(1, 3, height, width, device="meta"))
    pixels = sum(w * h for w, h in pictures)
    return float(counter.get_total_flops()) * pixels / (width * height)


def _latents(autoencoder: Any, width: int, height: int) -> Tensor:
    config = autoencoder.config
    scale = 2 ** (len(config.block_out_channels) - 1)
    shape = (1, config.latent_channels, height // scale, width // scale)
    return torch.empty(shape, device="meta")


def decoder_cost(
    base: Base, decode: Callable[[Tensor], Tensor] | None, width: int, height: int
) -> tuple[float, int]:
    """Operations of decoding one picture, and bytes in float32 that a gradient through it keeps.

    Args:
        base: whose autoencoder it is.
        decode: a small decoder of latents (1, C, H / multiple, W / multiple); None: the base's own.
        width: of the picture.
        height: of the picture.
    """
    autoencoder: Any = base.modules["vae"]
    latents, run = _latents(autoencoder, width, height), autoencoder.decode
    if decode is not None:
        channels = int(base.configs.denoiser.config["in_channels"])
        sides = (height // base.multiple, width // base.multiple)
        latents, run = torch.empty(1, channels, *sides, device="meta"), decode
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    attention, counter = FusedAttention(), FlopCounterMode(display=False)
    with torch.enable_grad(), hooks, counter, attention:
        run(latents.requires_grad_())
    weights = {p.untyped_storage()._cdata for p in autoencoder.parameters()}
    size = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights)
    return float(counter.get_total_flops()) + attention.flops, size


def step_flops(recipe: Recipe, limits: Limits, flops: PictureFlops, decode: float) -> Work:
    """What a run computes, of pictures of one shape; eyes that look at them are not counted.

    A backward pass costs what the forward pass does below an adapter (the weights need no
    gradient), and twice that where all weights are trained; checkpointing adds a forward pass.

    Args:
        recipe: the run.
        limits: of the base.
        flops: of one picture.
        decode: of the decoder that the reward's pixels come from.
    """
    training, samples, looks = recipe.training, recipe.samples, recipe.validation
    drawn = _Guided(recipe, limits).drawing(flops)
    steps = samples.steps or limits.steps
    sheet = samples.count * (steps * drawn + flops.decode + flops.encode + 2 * flops.text)
    steps = looks.steps or limits.steps
    look = looks.count * looks.seeds * (steps * drawn + flops.decode + flops.encode)
    every = training.batch_size * training.accumulate
    if recipe.rerefl is not None:
        step = _rerefl(recipe, limits, flops, decode, every)
    elif recipe.grpo is not None:
        step = _grpo(recipe, limits, flops)
    else:
        step = {"flow matching": every * _trained(recipe, flops.denoiser)}
    if not recipe.data.cache_text:
        step["prompts"] = every * flops.text * (3 if training.train_text_encoder else 1)
    return Work(step, look if looks.every else 0.0, sheet if samples.every else 0.0, flops.encode)


def _trained(recipe: Recipe, forward: float) -> float:
    """A pass with its backward pass."""
    backward = 1 if recipe.lora is not None else 2
    return forward * (1 + backward + int(recipe.training.gradient_checkpointing))


@dataclass(frozen=True)
class _Guided:
    """How many passes one step of sampling is."""

    recipe: Recipe
    limits: Limits

    def rolling(self, flops: PictureFlops) -> float:
        """Of a step of a rollout."""
        return self._passes(flops, *self.recipe.rollout.scales(self.limits))

    def drawing(self, flops: PictureFlops) -> float:
        """Of a step of drawing as users draw."""
        return self._passes(flops, self.limits.guidance, self.limits.reference_guidance)

    def _passes(self, flops: PictureFlops, guidance: float, reference_guidance: float) -> float:
        each = flops.denoiser + (0 if reference_guidance == 1 else flops.alone)
        return each if guidance == 1 or self.limits.guidance_embedded else 2 * each


def _rerefl(
    recipe: Recipe, limits: Limits, flops: PictureFlops, decode: float, every: int
) -> dict[str, float]:
    """Flow pass; rollout into the window; steps with a gradient; decoder, there and back."""
    told = recipe.rerefl
    assert told is not None
    one, num = _Guided(recipe, limits).rolling(flops), told.gradient_steps
    free = max(0.0, recipe.rollout.steps - sum(told.window) / 2 - (num - 1))
    again = one if num > 1 and recipe.training.gradient_checkpointing else 0.0
    gradient = num * (_trained(recipe, one) + again)
    drift = _trained(recipe, flops.denoiser) + flops.denoiser if told.penalty else 0.0
    return {
        "flow matching": every * _trained(recipe, flops.denoiser),
        "rollout": every * free * one,
        "step with a gradient": every * (gradient + drift),
        "decoder": every * 2 * decode,
    }


def _grpo(recipe: Recipe, limits: Limits, flops: PictureFlops) -> dict[str, float]:
    """Groups are drawn; every step with noise is passed again with a gradient."""
    told, total = recipe.grpo, recipe.rollout.steps
    assert told is not None
    one, pictures = _Guided(recipe, limits).rolling(flops), told.prompts * told.group
    places = range(0, max(1, recipe.training.steps), max(1, told.slide_every))
    windows = [window_of(told, total, step) for step in places]
    first = sum(start for start, _ in windows) / len(windows)
    count = windows[0][1]
    before = first * one * (told.prompts if told.same_noise else pictures)
    again = _trained(recipe, one) + (one if told.kl else 0)
    flow = told.updates * told.prompts * _trained(recipe, flops.denoiser)
    return {
        "rollout": before + pictures * (total - first) * one,
        "decoder": pictures * flops.decode,
        "steps with a gradient": pictures * count * again,
        "flow matching": flow if told.flow_weight else 0.0,
    }
