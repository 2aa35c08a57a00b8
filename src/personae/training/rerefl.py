"""ReReFL: a reward's gradient through the last sampling steps (UMO, arXiv 2509.06818, Alg. 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from personae.diffusion.backbone import Backbone
from personae.errors import RequestError
from personae.training.batches import Batch
from personae.training.methods import Pass, flow_pass
from personae.training.rewards.asked import Asked, Reward, Rewards
from personae.training.rolling import guides_for, masked, notes_of, rollout_noise
from personae.training.rollout import Guides, RolloutRecipe, clean_estimates, roll_out

if TYPE_CHECKING:
    from personae.training.session import Session

__all__ = ["ReReFL", "ReReflRecipe", "gradient_steps"]

# Further eyes: (B, 3, H, W) pictures and what was asked -> (B,) numbers for the log.
Watch = Callable[[Tensor, Sequence[Asked]], Mapping[str, Tensor]]

_ROLLOUT = 1  # a stream of random numbers of its own


@dataclass(frozen=True, kw_only=True)
class ReReflRecipe:
    """UMO's Algorithm 1.

    Attributes:
        window: [Ts, Te], counted from the end: the step with a gradient is one of the last Ts to
            Te of the rollout's T. UMO: [1, 10] of 25 for UNO, [1, 20] of 50 for OmniGen2.
        flow_weight: lambda of the flow-matching loss (UMO: 1).
        reward_weight: of the reward; 1 in UMO, where the other weight is enough to say the ratio.
        gradient_steps: K; 1 is UMO's, more is DRaFT-K.
        penalty: weight of the squared distance to the frozen model's velocity where the gradient
            begins.
        decoder: folder of a small decoder (diffusers' AutoencoderTiny) that makes the reward's
            pixels; None: the model's own.
    """

    window: tuple[int, int] = (1, 10)
    flow_weight: float = 1.0
    reward_weight: float = 1.0
    gradient_steps: int = 1
    penalty: float = 0.0
    decoder: Path | None = None

    def __post_init__(self) -> None:
        first, last = self.window
        if not 1 <= first <= last:
            raise RequestError(f"rerefl.window: expected 1 <= Ts <= Te; got {list(self.window)}")
        if self.gradient_steps < 1:
            raise RequestError(
                f"rerefl.gradient_steps: expected 1 or more; got {self.gradient_steps}"
            )
        if min(self.flow_weight, self.reward_weight, self.penalty) < 0:
            raise RequestError("rerefl: flow_weight, reward_weight and penalty cannot be below 0")


def gradient_steps(window: tuple[int, int], total: int, count: int, seed: list[int]) -> Tensor:
    """(count,) int64: for each picture the 0-based step with a gradient, U(Ts, Te) from the end.

    >>> sorted(set(gradient_steps((1, 3), 10, 100, [0]).tolist()))
    [7, 8, 9]
    """
    first, last = window
    drawn = np.random.default_rng(seed).integers(first, last + 1, size=count)
    return torch.from_numpy(total - drawn)


class ReReFL:
    r"""One step: loss = lambda * flow-matching loss - reward of the clean estimate.

    .. math:: L = \lambda L_{diff} - R(\hat x_0; y, I_r) \, [+ \beta \| v - v_{frozen} \|^2]

    with the rollout to a step t of the last part of the schedule without a gradient, one step
    with, and the reward's detector looking without one.

    Args:
        recipe: window and weights.
        rollout: how pictures are drawn.
        reward: differentiable.
        watch: further eyes that look at the same pictures, for the log alone.
        watch_every: steps between their looks.

    Raises:
        RequestError: the reward has no gradient, or the window is longer than the rollout.
    """

    def __init__(
        self,
        recipe: ReReflRecipe,
        rollout: RolloutRecipe,
        reward: Reward,
        watch: Watch | None = None,
        watch_every: int = 1,
    ) -> None:
        if not reward.differentiable:
            raise RequestError(
                "rerefl: needs rewards with a gradient; use a section [grpo] for this one, or "
                "another reward"
            )
        if recipe.window[1] > rollout.steps or recipe.gradient_steps > rollout.steps:
            raise RequestError(
                f"rerefl: window {list(recipe.window)} and {recipe.gradient_steps} gradient steps "
                f"do not fit rollouts of {rollout.steps} steps"
            )
        self.recipe, self.rollout, self.reward = recipe, rollout, reward
        self._watch, self._watch_every = watch, watch_every
        self._decoder: Callable[[Tensor], Tensor] | None = None

    def step(self, session: Session) -> list[Pass]:
        """See `Method`."""
        accumulate = session.recipe.training.accumulate
        passes = [self._pass(session, part, accumulate) for part in range(accumulate)]
        session.update(passes)
        return passes

    def _pass(self, session: Session, part: int, accumulate: int) -> Pass:
        batch, draws = session.batch(part)
        with session.precision():
            text = session.text(batch)
            loss, time = flow_pass(session, batch, draws, text)
            torch.autograd.backward(self.recipe.flow_weight * loss.mean() / accumulate)
            drawn = self._draw(session, batch, text, session.number(part))
        asked = session.asked(batch)
        told = self.reward(drawn.pictures, asked)
        wanted = self.recipe.penalty * drawn.penalty.mean()
        wanted = wanted - self.recipe.reward_weight * _mean(told)
        if session.shards is not None:
            # Where nothing could be measured: the other processes' backward passes meet this one's.
            wanted = wanted + 0 * drawn.pictures.sum()
        if wanted.requires_grad:
            torch.autograd.backward(wanted / accumulate)
        parts = {"reward": masked(told), **told.parts}
        if self.recipe.penalty:
            parts["penalty"] = drawn.penalty.detach()
        if self._watch is not None and session.step % self._watch_every == 0:
            parts |= self._watch(drawn.pictures.detach(), asked)
        return Pass(batch.ids, loss.detach(), time, parts, notes_of(batch.ids, told))

    def _draw(self, session: Session, batch: Batch, text: Tensor, number: int) -> _Drawn:
        """Rollout without, last steps with a gradient, decoded."""
        backbone, num = session.backbone, self.recipe.gradient_steps
        width, height = session.picture_size(batch)
        times = backbone.times(self.rollout.steps, width, height)
        seed = [session.recipe.seed, number, _ROLLOUT]
        last = gradient_steps(self.recipe.window, self.rollout.steps, len(batch), seed)
        starts = (last - (num - 1)).clamp_min(0)
        guides = guides_for(session, batch, text, self.rollout)
        noise = rollout_noise(seed, batch.image)
        saving = session.recipe.training.gradient_checkpointing
        with session.gathered():
            x = roll_out(backbone, noise, times, starts, guides)
            clean, velocity = clean_estimates(
                backbone, x, times, starts, guides, num, save_memory=saving
            )
        penalty = velocity.new_zeros(len(batch))
        if self.recipe.penalty:
            penalty = self._drift(session, x, times[starts].to(x.device), guides)
        decode = self._decoder or _load_decoder(self.recipe.decoder, backbone)
        self._decoder = decode
        return _Drawn(decode(clean).float(), penalty)

    def _drift(self, session: Session, x: Tensor, time: Tensor, guides: Guides) -> Tensor:
        """(B,) mean squared distance of the velocity to the frozen model's, where it all began."""
        said = session.backbone.predict(x, time, guides.context)
        with torch.no_grad(), session.frozen():
            before = session.backbone.predict(x, time, guides.context)
        return (said.float() - before.float()).square().flatten(1).mean(1)


@dataclass(frozen=True, eq=False)
class _Drawn:
    pictures: Tensor
    penalty: Tensor


def _mean(told: Rewards) -> Tensor:
    """Over the pictures that were measured; 0 where none was."""
    return told.values.sum() / max(1, int(told.measured.sum()))


def _load_decoder(folder: Path | None, backbone: Backbone) -> Callable[[Tensor], Tensor]:
    if folder is None:
        return backbone.decode
    from personae.diffusion.decoder import load_small_decoder

    return load_small_decoder(folder, backbone)
