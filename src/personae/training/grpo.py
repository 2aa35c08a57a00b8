"""GRPO: pictures of one prompt compete, and what won becomes likelier; any reward will do.

Flow-GRPO (arXiv 2505.05470) with the window of MixGRPO (2507.21802) and the ratio of GRPO-Guard
(2510.22319); PSR (2512.01236) trains its rewards with the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from personae.diffusion.stochastic import log_ratio, step_mean, velocity_kl
from personae.errors import RequestError
from personae.training.advantages import (
    global_advantages,
    group_advantages,
    group_spread,
    per_reward_advantages,
)
from personae.training.batches import Batch, Draws
from personae.training.grpo_recipe import GrpoRecipe, window_of
from personae.training.methods import Pass, flow_pass
from personae.training.policy import (
    approximate_kl,
    clip_fraction,
    clipped_loss,
    guarded_log_ratio,
)
from personae.training.rewards.asked import Asked, Reward, Rewards
from personae.training.rewards.combined import CombinedReward
from personae.training.rolling import guides_for, masked, notes_of, rollout_noise
from personae.training.rollout import Guides, RolloutRecipe, roll_out
from personae.training.trajectories import (
    MixedSchedule,
    Trajectory,
    draw_trajectory,
    mixed_schedule,
    velocity_at,
)

if TYPE_CHECKING:
    from personae.training.rerefl import Watch
    from personae.training.session import Session

__all__ = ["Grpo", "GrpoRecipe"]

_STREAM = 3  # a stream of random numbers of its own


@dataclass(frozen=True, eq=False)
class _Round:
    """What one step of training draws: ``group`` pictures of each example of a batch.

    Picture i belongs to example i // group.
    """

    batch: Batch
    draws: Draws
    text: Tensor
    asked: Sequence[Asked]
    guides: Guides
    schedule: MixedSchedule
    start: Tensor  # latents where the window begins: of all pictures, or of all examples
    noises: tuple[Tensor, ...]
    parts: tuple[Tensor, ...]  # rows of each minibatch


class Grpo:
    r"""One step: draw groups, ask the reward, and make what was better than its group likelier.

    .. math:: L = \frac{1}{N S} \sum_{i, k} \frac{1}{|dt_k|} \max\big( -A_i \hat r_{ik}, \;
              -A_i \, \mathrm{clip}(\hat r_{ik}, 1 \pm c) \big) [+ \beta \, KL_{ik}]

    over N pictures and the S steps with noise; without the guard there is no 1 / |dt|. An absent
    subject is a finding, and its 0 counts; a picture that could not be measured has no advantage.
    Where nothing has an advantage (and there is no other loss) the weights stay as they are.
    Examples that lose prompt or references by ``training``'s dropouts are drawn without them and
    judged as if they had them: set both to 0.

    Args:
        recipe: of the competition.
        rollout: how pictures are drawn.
        reward: any, with a gradient or without.
        watch: further eyes that look at the same pictures, for the log alone.
        watch_every: steps between their looks.

    Raises:
        RequestError: the window is longer than the rollout, or the rewards are not several.
    """

    def __init__(
        self,
        recipe: GrpoRecipe,
        rollout: RolloutRecipe,
        reward: Reward,
        watch: Watch | None = None,
        watch_every: int = 1,
    ) -> None:
        window_of(recipe, rollout.steps, 0)
        if recipe.advantages == "per_reward" and not isinstance(reward, CombinedReward):
            raise RequestError(
                f"grpo.advantages per_reward: expected rewards with weights; {reward.name!r} is a "
                'single one, use "group"'
            )
        self.recipe, self.rollout, self.reward = recipe, rollout, reward
        self._watch, self._watch_every = watch, watch_every

    def step(self, session: Session) -> list[Pass]:
        """See `Method`."""
        with torch.no_grad(), session.gathered():
            this = self._round(session)
            drawn = [self._draw(session, this, rows) for rows in this.parts]
        told = _joined([said for _, said in drawn])
        advantages = self._advantages(told)
        seen = [self._told(this, told, advantages)]
        trajectories = [trajectory for trajectory, _ in drawn]
        on_device = advantages.flatten().to(this.start.device)
        for number in range(self.recipe.updates):
            share = trajectories[number :: self.recipe.updates] or trajectories[-1:]
            seen += self._update(session, this, share, on_device)
        return seen

    def _round(self, session: Session) -> _Round:
        recipe, total = self.recipe, self.rollout.steps
        batch, draws = session.batch(0)
        times = session.backbone.times(total, *session.picture_size(batch))
        first, count = window_of(recipe, total, session.step)
        schedule = mixed_schedule(times, first, count, recipe.kind, recipe.noise)
        num = len(batch) * recipe.group
        every = batch.image.new_empty(num, *batch.image.shape[1:])
        begun = batch.image if recipe.same_noise else every
        seeds = [session.recipe.seed, session.number(0)]
        noise, *noises = (
            rollout_noise([*seeds, k, _STREAM], every if k else begun) for k in range(count + 1)
        )
        with session.precision():
            text = session.text(batch)
            guides = guides_for(session, batch, text, self.rollout)
        parts = torch.split(torch.arange(num), recipe.minibatch)
        this = _Round(
            batch, draws, text, session.asked(batch), guides, schedule, noise, tuple(noises), parts
        )
        return replace(this, start=self._before_window(session, this))

    def _before_window(self, session: Session, this: _Round) -> Tensor:
        """Latents where the window begins, by the ODE; of a group with one noise once."""
        each = 1 if self.recipe.same_noise else self.recipe.group
        found = []
        for rows in torch.split(torch.arange(len(this.start)), self.recipe.minibatch):
            stops = torch.full((len(rows),), this.schedule.first)
            guides, times = this.guides[rows // each], this.schedule.times
            with session.precision():
                found.append(roll_out(session.backbone, this.start[rows], times, stops, guides))
        return torch.cat(found)

    def _draw(self, session: Session, this: _Round, rows: Tensor) -> tuple[Trajectory, Rewards]:
        """Pictures of a minibatch, and what the reward says of them."""
        owners = rows // self.recipe.group
        x = this.start[owners if self.recipe.same_noise else rows]
        noises = [noise[rows] for noise in this.noises]
        with session.precision():
            trajectory, clean = draw_trajectory(
                session.backbone, x, rows, this.schedule, this.guides[owners], noises
            )
            pictures = session.backbone.decode(clean).float().clamp(0, 1)
        asked = [this.asked[owner] for owner in owners.tolist()]
        told = _only_numbers(self.reward(pictures, asked))
        if self._watch is not None and session.step % self._watch_every == 0:
            told = replace(told, parts={**told.parts, **self._watch(pictures, asked)})
        return trajectory, told

    def _advantages(self, told: Rewards) -> Tensor:
        """(groups, group) of all pictures of a step, on the CPU."""
        recipe, shape = self.recipe, (-1, self.recipe.group)
        rewards = masked(told).view(shape)
        if recipe.advantages == "group":
            return group_advantages(rewards, recipe.advantage_clip)
        if recipe.advantages == "global":
            return global_advantages(rewards, recipe.advantage_clip)
        assert isinstance(self.reward, CombinedReward)
        weights = self.reward.weights
        each = {name: told.parts[name].view(shape) for name in weights}
        measured = told.measured.view(shape)
        return per_reward_advantages(each, weights, measured, recipe.advantage_clip)

    def _told(self, this: _Round, told: Rewards, advantages: Tensor) -> Pass:
        """For the log: rewards, how much they differ within groups, who could not be measured."""
        rewards, group = masked(told), self.recipe.group
        parts = {
            "reward": rewards,
            **told.parts,
            "reward_std": group_spread(rewards.view(-1, group)),
            "advantage": advantages.abs().flatten(),
            "window_start": torch.tensor([float(this.schedule.first)]),
        }
        names = [f"{name}, picture {k}" for name in this.batch.ids for k in range(1, group + 1)]
        nothing = this.start.new_empty(0)
        return Pass(this.batch.ids, nothing, nothing, parts, notes_of(names, told))

    def _update(
        self, session: Session, this: _Round, share: Sequence[Trajectory], advantages: Tensor
    ) -> list[Pass]:
        """One step of the optimizer by some of the pictures; none where nothing would move."""
        recipe = self.recipe
        rows = torch.cat([item.rows for item in share])
        moves = bool(advantages[rows].any()) or bool(recipe.kl or recipe.flow_weight)
        if not session.ranks.any(moves):
            return []
        num = len(rows) * len(this.schedule.steps)
        told: dict[str, list[Tensor]] = {}
        for item in share:
            for place in range(len(this.schedule.steps)):
                loss, parts = self._losses(session, this, item, place, advantages[item.rows])
                torch.autograd.backward(loss.sum() / num)
                for name, numbers in parts.items():
                    told.setdefault(name, []).append(numbers)
        loss, time = self._flow(session, this)
        joined = {name: torch.cat(held) for name, held in told.items()}
        seen = [Pass(this.batch.ids, loss, time, joined)]
        session.update(seen)
        return seen

    def _losses(
        self,
        session: Session,
        this: _Round,
        item: Trajectory,
        place: int,
        advantage: Tensor,
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """(n,) losses of one step with noise, and what the log is told of it."""
        recipe, step = self.recipe, this.schedule.steps[place]
        x, sample, old = item.points[place], item.points[place + 1], item.means[place]
        asked = (session.backbone, this.schedule, place, x, this.guides[item.rows // recipe.group])
        with session.precision(), session.gathered():
            velocity = velocity_at(*asked)
        mean = step_mean(step, x, velocity)
        plain = log_ratio(step, sample, old, mean)
        told = guarded_log_ratio(step, sample, old, mean) if recipe.guard else plain
        loss = clipped_loss(told, advantage, recipe.clip) / (step.span if recipe.guard else 1)
        parts = {
            "ratio": told.detach().exp(),
            "clip_fraction": clip_fraction(told, recipe.clip),
            "approx_kl": approximate_kl(plain),
        }
        if recipe.kl:
            with torch.no_grad(), session.frozen(), session.precision():
                reference = velocity_at(*asked)
            apart = velocity_kl(step, velocity, reference)
            loss = loss + recipe.kl * apart
            parts["kl"] = apart.detach()
        return loss, parts

    def _flow(self, session: Session, this: _Round) -> tuple[Tensor, Tensor]:
        """The flow-matching loss of the examples, where it is wanted; losses and times."""
        if not self.recipe.flow_weight:
            return this.start.new_empty(0), this.start.new_empty(0)
        with session.precision():
            loss, time = flow_pass(session, this.batch, this.draws, this.text)
        torch.autograd.backward(self.recipe.flow_weight * loss.mean())
        return loss.detach(), time


def _only_numbers(told: Rewards) -> Rewards:
    """On the CPU and without a gradient; what is not finite is unmeasured, and said to be."""
    values = told.values.detach().float().cpu()
    reasons = [
        why or (None if ok else "the reward is not a finite number")
        for why, ok in zip(told.reasons, values.isfinite().tolist(), strict=True)
    ]
    parts = {name: held.detach().float().cpu() for name, held in told.parts.items()}
    return Rewards(values, tuple(reasons), parts)


def _joined(told: Sequence[Rewards]) -> Rewards:
    """Several minibatches as one; a part that one of them lacks is NaN there."""
    names = dict.fromkeys(name for one in told for name in one.parts)
    lacking = [torch.full((len(one),), torch.nan) for one in told]
    parts = {
        name: torch.cat([one.parts.get(name, no) for one, no in zip(told, lacking, strict=True)])
        for name in names
    }
    reasons = tuple(why for one in told for why in one.reasons)
    return Rewards(torch.cat([one.values for one in told]), reasons, parts)
