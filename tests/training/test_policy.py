"""The policy's loss: exact at the start, the right slope, and the guard's formula written out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.diffusion.stochastic import StepKind, log_ratio, noisy_step, step_mean, step_sample
from personae.training.policy import (
    approximate_kl,
    clip_fraction,
    clipped_loss,
    guarded_log_ratio,
)

STEP = noisy_step("flow", 0.7, 0.8, 0.6)


def latents(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def slow_guard(
    here: float, there: float, noise: float, x: np.ndarray, old: np.ndarray, new: np.ndarray
) -> float:
    """GRPO-Guard as published, of one picture, element by element."""
    sigma = noise * (here / (1 - here)) ** 0.5
    std = sigma * (here - there) ** 0.5
    total = 0.0
    for value, before, after in zip(x.ravel(), old.ravel(), new.ravel(), strict=True):
        ratio = -((value - after) ** 2) / (2 * std**2) + (value - before) ** 2 / (2 * std**2)
        total += std * (ratio + (after - before) ** 2 / (2 * std**2))
    return float(total / x.size)


@given(st.integers(0, 1000))
def test_the_guard_is_the_published_formula(seed: int) -> None:
    x, velocity, other, drawn = latents(seed, 4, 3, 2, 2, 2)
    old, new = step_mean(STEP, x, velocity), step_mean(STEP, x, other)
    sample = step_sample(STEP, old, drawn)
    told = guarded_log_ratio(STEP, sample, old, new)
    slow = [
        slow_guard(0.8, 0.6, 0.7, sample[row].numpy(), old[row].numpy(), new[row].numpy())
        for row in range(3)
    ]
    torch.testing.assert_close(told, torch.tensor(slow, dtype=torch.float64))


def test_the_guard_has_mean_zero_and_the_plain_ratio_has_not() -> None:
    x, velocity, other = latents(0, 3, 1, 16)
    drawn = latents(1, 20_000, 16)
    for here, there in ((0.95, 0.9), (0.5, 0.4), (0.2, 0.05)):
        step = noisy_step("flow", 0.7, here, there)
        old, new = step_mean(step, x, velocity), step_mean(step, x, other)
        sample = step_sample(step, old, drawn)
        guarded = guarded_log_ratio(step, sample, old, new)
        assert abs(float(guarded.mean())) < 4 * float(guarded.std()) / 20_000**0.5
        plain = log_ratio(step, sample, old, new)
        assert float(plain.mean()) < -10 * float(plain.std()) / 20_000**0.5


def test_with_the_guard_every_step_pulls_alike() -> None:
    """The gradient by the velocity, of a unit advantage, over steps of one schedule."""
    times = [1 - step / 10 for step in range(11)]
    x, velocity, drawn = latents(2, 3, 1, 64)
    pulls: dict[str, list[float]] = {"plain": [], "guarded": []}
    for here, there in list(pairwise(times))[:-1]:
        step = noisy_step("flow", 0.7, here, there)
        old = step_mean(step, x, velocity)
        sample = step_sample(step, old, drawn)
        for name, held in pulls.items():
            said = velocity.clone().requires_grad_(True)
            made = guarded_log_ratio if name == "guarded" else log_ratio
            told = made(step, sample, old, step_mean(step, x, said)).sum()
            told = told / step.span if name == "guarded" else told
            (gradient,) = torch.autograd.grad(told, said)
            held.append(float(gradient.norm()))
    spread = {name: max(held) / min(held) for name, held in pulls.items()}
    assert spread["guarded"] < 1.25
    assert spread["plain"] > 5


@pytest.mark.parametrize("made", [log_ratio, guarded_log_ratio])
@pytest.mark.parametrize("kind", ["flow", "dance", "cps"])
def test_the_ratio_is_one_to_the_bit_where_nothing_has_changed(
    made: type[log_ratio], kind: StepKind
) -> None:
    step = noisy_step(kind, 0.7, 0.8, 0.6)
    x, velocity, drawn = latents(3, 3, 2, 4, 4).float()
    old = step_mean(step, x, velocity)
    sample = step_sample(step, old, drawn)
    told = made(step, sample, old, step_mean(step, x, velocity.clone()))
    assert torch.equal(told.exp(), torch.ones(2))
    assert torch.equal(clipped_loss(told, torch.tensor([1.5, -2.0]), 1e-4), torch.tensor([-1.5, 2]))
    assert torch.equal(clip_fraction(told, 1e-9), torch.zeros(2))
    assert torch.equal(approximate_kl(told), torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("made", [log_ratio, guarded_log_ratio])
def test_the_gradient_is_that_of_finite_differences(made: type[log_ratio]) -> None:
    x, velocity, drawn = latents(4, 3, 3, 2, 3)
    advantage = torch.tensor([1.5, -0.7, 0.0], dtype=torch.float64)
    old = step_mean(STEP, x, velocity)
    sample = step_sample(STEP, old, drawn)
    moved = velocity + 0.05 * latents(5, 3, 2, 3)

    def loss(said: torch.Tensor, clip: float) -> torch.Tensor:
        told = made(STEP, sample, old, step_mean(STEP, x, said))
        return clipped_loss(told, advantage, clip).sum()

    for clip in (1e-3, 0.2):
        said = moved.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(said, clip), said)
        for place in np.ndindex(*said.shape):
            delta = torch.zeros_like(moved)
            delta[place] = 1e-6
            slope = (loss(moved + delta, clip) - loss(moved - delta, clip)) / 2e-6
            assert float(gradient[place]) == pytest.approx(float(slope), abs=1e-8, rel=1e-5)
    # No advantage, no gradient.
    assert torch.equal(gradient[2], torch.zeros(2, 3, dtype=torch.float64))


def test_the_first_gradient_is_that_of_the_log_probability() -> None:
    """At ratio 1 the loss's slope is -A times that of the log-probability: REINFORCE."""
    x, velocity, drawn = latents(6, 3, 2, 8)
    advantage = torch.tensor([2.0, -1.0], dtype=torch.float64)
    said = velocity.clone().requires_grad_(True)
    old = step_mean(STEP, x, velocity)
    sample = step_sample(STEP, old, drawn)
    told = log_ratio(STEP, sample, old, step_mean(STEP, x, said))
    (gradient,) = torch.autograd.grad(clipped_loss(told, advantage, 1e-4).sum(), said)
    by_hand = STEP.v_scale * (sample - old) / STEP.spread**2 / 8
    torch.testing.assert_close(gradient, -advantage[:, None] * by_hand)


@given(st.floats(-0.5, 0.5), st.floats(-3, 3), st.floats(0.01, 0.3))
def test_beyond_the_clip_nothing_pulls_further(
    change: float, advantage: float, clip: float
) -> None:
    told = torch.tensor([change], dtype=torch.float64, requires_grad=True)
    loss = clipped_loss(told, torch.tensor([advantage], dtype=torch.float64), clip)
    (gradient,) = torch.autograd.grad(loss.sum(), told)
    ratio = float(told.detach().exp())
    assert float(loss.detach()) >= -advantage * ratio - 1e-12  # never better than without
    gone_too_far = (advantage > 0 and ratio > 1 + clip) or (advantage < 0 and ratio < 1 - clip)
    if gone_too_far:
        assert float(gradient) == 0
    elif abs(ratio - 1) < clip:
        assert float(gradient) == pytest.approx(-advantage * ratio)


def test_what_the_log_is_told() -> None:
    told = torch.tensor([0.0, 0.05, -0.2, 0.3])
    assert clip_fraction(told, 0.1).tolist() == [0, 0, 1, 1]
    wanted = torch.tensor([x.exp() - 1 - x for x in told.double()], dtype=torch.float64)
    torch.testing.assert_close(approximate_kl(told), wanted)
    tiny = approximate_kl(torch.tensor([1e-4]))
    assert float(tiny) == pytest.approx(0.5e-8, rel=1e-3)
