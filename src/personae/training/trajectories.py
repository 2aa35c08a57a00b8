"""Drawing as a policy does: a few steps of the rollout have noise, and are remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from personae.diffusion.backbone import Backbone
from personae.diffusion.stochastic import (
    NoisyStep,
    StepKind,
    noisy_step,
    step_mean,
    step_sample,
)
from personae.training.rollout import Guides, guided_velocity, roll_out

__all__ = ["MixedSchedule", "Trajectory", "draw_trajectory", "mixed_schedule", "velocity_at"]


@dataclass(frozen=True, eq=False)
class MixedSchedule:
    """Steps of the ODE, then some with noise, then the ODE again (MixGRPO, arXiv 2507.21802).

    Attributes:
        times: (T + 1,) float32 on the CPU, from 1 to 0.
        first: the first step with noise.
        steps: those with noise, one after the other.
    """

    times: Tensor
    first: int
    steps: tuple[NoisyStep, ...]

    @property
    def behind(self) -> int:
        """The first step after them."""
        return self.first + len(self.steps)


def mixed_schedule(
    times: Tensor, first: int, count: int, kind: StepKind, noise: float
) -> MixedSchedule:
    """``count`` steps from ``first`` on get noise of this kind.

    >>> schedule = mixed_schedule(torch.tensor([1.0, 0.7, 0.4, 0.0]), 1, 1, "flow", 0.7)
    >>> schedule.behind, round(schedule.steps[0].span, 2)
    (2, 0.3)
    """
    here = times.tolist()
    places = range(first, first + count)
    return MixedSchedule(
        times, first, tuple(noisy_step(kind, noise, here[k], here[k + 1]) for k in places)
    )


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What n pictures did in the S steps with noise.

    Attributes:
        rows: (n,) int64 places among the pictures of a step, on the CPU.
        points: S + 1 latents (n, C, h, w) float32: before, between and after these steps.
        means: S (n, C, h, w) float32: where each step would have led without its noise.
    """

    rows: Tensor
    points: tuple[Tensor, ...]
    means: tuple[Tensor, ...]


def velocity_at(
    backbone: Backbone, schedule: MixedSchedule, place: int, x: Tensor, guides: Guides
) -> Tensor:
    """(n, C, h, w) what sampling follows at the schedule's step with noise number ``place``."""
    here = schedule.times[schedule.first + place].to(x.device).expand(len(x))
    return guided_velocity(backbone, x, here, guides)


@torch.no_grad()
def draw_trajectory(
    backbone: Backbone,
    x: Tensor,
    rows: Tensor,
    schedule: MixedSchedule,
    guides: Guides,
    noises: Sequence[Tensor],
) -> tuple[Trajectory, Tensor]:
    """From the window's beginning to the picture.

    Args:
        backbone: draws.
        x: (n, C, h, w) float32 latents where the steps with noise begin.
        rows: (n,) which pictures these are.
        schedule: of the whole rollout.
        guides: of these pictures.
        noises: S (n, C, h, w) standard normal numbers.

    Returns:
        What there is to remember, and the (n, C, h, w) clean latents.
    """
    points, means = [x], []
    for place, (step, noise) in enumerate(zip(schedule.steps, noises, strict=True)):
        velocity = velocity_at(backbone, schedule, place, points[-1], guides)
        means.append(step_mean(step, points[-1], velocity))
        points.append(step_sample(step, means[-1], noise))
    rest = schedule.times[schedule.behind :]
    stops = torch.full((len(x),), len(rest) - 1)
    clean = roll_out(backbone, points[-1], rest, stops, guides)
    return Trajectory(rows, tuple(points), tuple(means)), clean
