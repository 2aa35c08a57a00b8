"""How much memory and time a run needs, from its recipe and modules without weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from personae.compute.device import limited_threads
from personae.data.latents import pictures_at_once
from personae.diffusion.folder import CheckpointFolder, StoredTensor
from personae.diffusion.memory import Training, Workload, activations, weight_needs
from personae.diffusion.quantize import weight_bytes
from personae.diffusion.rehearsed import learned_text_bytes
from personae.training.base_check import Base
from personae.training.data_check import DataFacts, Shape
from personae.training.history import History
from personae.training.recipe import Recipe
from personae.training.speed import measured_speed
from personae.training.trained import optimizer_bytes, trained_numbers
from personae.training.work import Work
from personae.training.written import latent_bytes, weight_dtype

__all__ = ["MemoryNeeds", "TimeNeeds", "largest", "memory_needs", "time_needs"]

_ENCODED_AT_ONCE = 32  # encode_examples' batch
_HALF = 5 / 6  # of a decoder's tensors in float32: norms stay in it, convolutions take half


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes by what needs them.

    Attributes:
        held: all the time; exact.
        stages: one after the other, so the largest counts; about right.
        available: on the device; None: it is not there.
    """

    held: Mapping[str, int]
    stages: Mapping[str, int]
    available: int | None

    @property
    def certain(self) -> int:
        """Bytes without any stage."""
        return sum(self.held.values())

    @property
    def total(self) -> int:
        """Bytes at the worst moment."""
        return self.certain + max(self.stages.values(), default=0)


@dataclass(frozen=True)
class TimeNeeds:
    """Seconds of a run.

    Attributes:
        per_step: with everything between steps counted in, where a log says it.
        total: of the whole run, or of what is left of it.
        encoding: once, before the first step; None: not known.
        source: where these numbers come from, in words.
    """

    per_step: float
    total: float
    encoding: float | None
    source: str


def memory_needs(
    recipe: Recipe,
    base: Base,
    data: DataFacts,
    kept_by_decoder: int,
    available: int | None,
    processes: int = 1,
) -> MemoryNeeds:
    """What the run holds, and what each stage needs on top, for the largest of the pictures seen.

    Args:
        recipe: the run.
        base: on the meta device.
        data: its largest shape counts.
        kept_by_decoder: bytes in float32 that a gradient through the decoder keeps, a picture.
        available: bytes of the device.
        processes: that train together; with ``training.sharding`` they share what is trained.
    """
    held = _weights(recipe, base)
    trained = trained_numbers(recipe, base)
    if recipe.lora is not None:
        held["adapter"] = 4 * trained.adapter
    if trained.tokens:
        held["learned tokens"] = 4 * trained.tokens
    held["gradients"] = 4 * trained.total
    held["optimizer"] = optimizer_bytes(recipe, trained)
    if recipe.training.ema_decay:
        held["mean of the weights"] = 4 * trained.total
    held["latents"] = latent_bytes(base, data)
    stages = _stages(recipe, base, largest(data), kept_by_decoder)
    stages["encoding, once"] = _encoding(recipe, base, data)
    if recipe.training.sharding != "no" and processes > 1:
        sharing = (base.configs.family.denoiser, trained.total, processes)
        held, stages = _in_parts(recipe, held, stages, *sharing)
    return MemoryNeeds(held, stages, available)


def _in_parts(
    recipe: Recipe,
    held: dict[str, int],
    stages: dict[str, int],
    denoiser: str,
    trained: int,
    processes: int,
) -> tuple[dict[str, int], dict[str, int]]:
    """The same for one of several processes that share what is trained, as `Shards` does.

    Loaded whole, cut up, and put together again to draw, in the precision of passes; on the main
    process also to be looked at and saved.
    """
    shared = (f"{denoiser} weights", "gradients", "optimizer", "mean of the weights")
    parts = {name: -(-held[name] // processes) for name in shared if name in held}
    whole = trained * (2 if recipe.training.precision == "bf16" else 4)
    drawing = ("rollout", "decoder", "step with a gradient, decoder", "steps with a gradient")
    found = {name: size + whole * (name in drawing) for name, size in stages.items()}
    found["loading, once"] = max(0, held[f"{denoiser} weights"] - sum(parts.values()))
    found["the whole model, on the main process"] = whole
    return held | parts, found


def largest(data: DataFacts) -> Shape:
    """The shape with the most pixels."""
    return max(data.shapes, key=lambda shape: sum(w * h for w, h in shape.pictures))


def _workload(recipe: Recipe, shape: Shape, batch: int, *, trained: bool) -> Workload:
    (width, height), *references = shape.pictures
    pixels = sum(w * h for w, h in references)
    return Workload(
        width=width,
        height=height,
        references=len(references),
        reference_px=round((pixels / len(references)) ** 0.5) if references else None,
        batch=batch,
        dtype=torch.bfloat16 if recipe.training.precision == "bf16" else torch.float32,
        training=_kind(recipe) if trained else None,
        rank=1 if recipe.lora is None else max(1, recipe.lora.rank),
        checkpointing=recipe.training.gradient_checkpointing,
    )


def _kind(recipe: Recipe) -> Training:
    """Learned tokens ask for what an adapter does: a gradient through weights that need none."""
    return "full" if recipe.lora is None and recipe.tokens is None else "lora"


def _weights(recipe: Recipe, base: Base) -> dict[str, int]:
    """Bytes of each part as it is loaded; where prompts are kept, its encoder may leave a GPU."""
    dtype, kind = weight_dtype(recipe), recipe.training.quantize
    held = {f"{name} weights": size for name, size in weight_needs(base.modules, dtype).items()}
    if kind != "no":
        part = base.configs.family.denoiser
        stored = StoredTensor("F32", (sum(x.numel() for x in base.denoiser.parameters()),))
        one = CheckpointFolder(Path(), "", {}, {part: {"all": stored}}, pickled=False)
        held[f"{part} weights"] = weight_bytes(one, dtype, kind, part)
    if recipe.training.offload_text_encoder and recipe.device != "cpu":
        held |= dict.fromkeys([name for name in held if name.startswith("text_encoder")], 0)
    return held


def _stages(recipe: Recipe, base: Base, shape: Shape, kept: int) -> dict[str, int]:
    training, grpo = recipe.training, recipe.grpo
    batch = training.batch_size if grpo is None else min(grpo.minibatch, grpo.group * grpo.prompts)
    free = activations(base.configs, _workload(recipe, shape, batch, trained=False))
    learning = _workload(recipe, shape, batch, trained=True)
    denoiser = base.configs.family.denoiser
    trained = activations(base.configs, learning)[denoiser]
    text = _text_graph(recipe, base, learning)
    stages = {"prompts": 0 if recipe.data.cache_text or text else free["text_encoder"]}
    if grpo is None or grpo.flow_weight:
        before = free[denoiser] if recipe.objective.looks_back and recipe.rewards is None else 0
        stages["flow matching"] = trained + text + before
    passes = _passes_at_once(recipe, base)
    if recipe.rerefl is not None:
        share = _HALF if learning.dtype.itemsize == 2 else 1.0
        stages["rollout"] = free[denoiser]
        stages["step with a gradient, decoder"] = passes * trained + int(batch * share * kept)
    if grpo is not None:
        stages["rollout"] = free[denoiser]
        stages["decoder"] = free["vae"]
        stages["steps with a gradient"] = passes * trained
    return stages


def _text_graph(recipe: Recipe, base: Base, work: Workload) -> int:
    """What the text encoders keep for the backward pass, where something in them is learned."""
    whole = recipe.training.train_text_encoder and not recipe.training.gradient_checkpointing
    if recipe.tokens is None and not whole:
        return 0
    frozen = recipe.tokens is not None
    return learned_text_bytes(base.configs, work.batch, work.dtype, frozen=frozen)


def _passes_at_once(recipe: Recipe, base: Base) -> int:
    """Whose activations are kept until the backward pass: of guidance, and of K steps."""
    scales = recipe.rollout.scales(base.configs.limits)
    passes: int = 2 ** sum(scale != 1 for scale in scales)
    if recipe.rerefl is None or recipe.training.gradient_checkpointing:
        return passes
    return passes * recipe.rerefl.gradient_steps


def _encoding(recipe: Recipe, base: Base, data: DataFacts) -> int:
    """The autoencoder takes many pictures at once, before the first step."""
    shape = largest(data)
    most = min(_ENCODED_AT_ONCE, pictures_at_once(*shape.pictures[0]))
    batch = min(most, data.examples or most)
    work = _workload(recipe, shape, batch, trained=False)
    seen = activations(base.configs, work)["vae"]
    return seen * weight_dtype(recipe).itemsize // work.dtype.itemsize


def time_needs(
    recipe: Recipe,
    base: Base,
    data: DataFacts,
    work: Work,
    device: torch.device,
    log: History,
) -> TimeNeeds:
    """From the log of this very run, where it has begun; else from operations and a measurement."""
    steps, done = recipe.training.steps, max((row["step"] for row in log.training), default=0)
    told = log.seconds_per_step()
    if told is not None:
        words = f"the last rows of its log, up to step {done}"
        return _capped(recipe, TimeNeeds(told, told * max(0, steps - done), None, words), log)
    with limited_threads(recipe.training.threads or torch.get_num_threads()):
        speed = _speed(recipe, base, largest(data), device)
    looks = 1 + steps // recipe.validation.every if recipe.validation.every else 0
    sheets = steps // recipe.samples.every if recipe.samples.every else 0
    between = looks * work.validation + sheets * work.samples
    per_step = work.total_step / speed
    drawn = data.stored * data.seconds_each / (recipe.data.workers or os.cpu_count() or 1)
    encoding = drawn + data.stored * work.encoding / speed if data.stored else None
    words = (
        f"{work.total_step:.3g} operations a step at {speed:.3g} a second, the measured speed of "
        "one block of the model's width on this device; eyes of rewards not counted"
    )
    return _capped(recipe, TimeNeeds(per_step, steps * per_step + between / speed, encoding, words))


def _speed(recipe: Recipe, base: Base, shape: Shape, device: torch.device) -> float:
    places = sum((w // base.multiple) * (h // base.multiple) for w, h in shape.pictures)
    heads, width = _heads_and_width(base)
    if base.configs.family.denoiser == "unet":  # its deepest stage, where most of its numbers are
        places //= 4 ** (len(base.configs.denoiser.config["block_out_channels"]) - 1)
    return measured_speed(
        device,
        torch.bfloat16 if recipe.training.precision == "bf16" else torch.float32,
        tokens=base.configs.limits.prompt_tokens + places,
        width=width,
        heads=heads,
        batch=recipe.training.batch_size if recipe.grpo is None else recipe.grpo.minibatch,
    )


def _heads_and_width(base: Base) -> tuple[int, int]:
    """Of one block; of a UNet's deepest stage."""
    config = base.configs.denoiser.config
    if base.configs.family.denoiser == "unet":
        heads = config.get("num_attention_heads") or config["attention_head_dim"]
        deepest = int(heads[-1] if isinstance(heads, (list, tuple)) else heads)
        return deepest, int(config["block_out_channels"][-1])
    heads = int(config["num_attention_heads"])
    return heads, heads * int(config["attention_head_dim"])


def _capped(recipe: Recipe, needs: TimeNeeds, log: History | None = None) -> TimeNeeds:
    """No longer than the recipe lets it take."""
    most = recipe.training.max_seconds
    if most is None:
        return needs
    spent = log.series("seconds")[-1][1] if log is not None else 0.0
    total = min(needs.total, max(0.0, most - spent))
    return TimeNeeds(needs.per_step, total, needs.encoding, needs.source)
