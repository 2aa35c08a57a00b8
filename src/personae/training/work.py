"""Operations of a run: what each step computes, and what happens now and then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from personae.diffusion.backbone import Limits
from personae.training.flops import PictureFlops
from personae.training.grpo_recipe import window_of
from personae.training.recipe import Recipe

__all__ = ["Work", "step_flops"]


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


def step_flops(recipe: Recipe, limits: Limits, flops: PictureFlops, decode: float) -> Work:
    """What a run computes, of pictures of one shape; eyes that look at them are not counted.

    A backward pass costs what the forward pass does below an adapter or above learned tokens (the
    weights need no gradient), and twice that where all weights are trained; checkpointing adds a
    forward pass.

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
        step = _finetuning(recipe, flops, every)
    if not recipe.data.cache_text:
        step["prompts"] = every * (1 + recipe.has_prior) * _read(recipe, flops.text)
    return Work(step, look if looks.every else 0.0, sheet if samples.every else 0.0, flops.encode)


def _trained(recipe: Recipe, forward: float) -> float:
    """A pass with its backward pass."""
    backward = 2 if recipe.lora is None and recipe.tokens is None else 1
    return forward * (1 + backward + int(recipe.training.gradient_checkpointing))


def _read(recipe: Recipe, text: float) -> float:
    """A prompt, with a backward pass where something in the text encoder is learned."""
    if recipe.training.train_text_encoder:
        return _trained(recipe, text)
    return 2 * text if recipe.tokens is not None else text


def _finetuning(recipe: Recipe, flops: PictureFlops, every: int) -> dict[str, float]:
    """As `Finetuning` steps: examples; what the model said of them before; priors beside them."""
    one = every * _trained(recipe, flops.denoiser)
    step = {"flow matching": one}
    if recipe.objective.looks_back:  # once, for both DCO and KL
        step["the model before"] = every * flops.frozen
    if recipe.has_prior:
        step["priors"] = one
    return step


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
