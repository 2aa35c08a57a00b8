"""Steps with noise: the ODE's without it, the right spread, and exact probabilities."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from personae.diffusion.stochastic import (
    NoisyStep,
    StepKind,
    log_probability,
    log_ratio,
    noisy_step,
    step_mean,
    step_sample,
    velocity_kl,
)
from personae.errors import RequestError

KINDS: tuple[StepKind, ...] = ("flow", "dance", "cps")

# Standard deviation of what is drawn of data N(2, 0.5^2) by its exact velocity at times shifted
# by 3: steps, then the ODE, flow 0.7, flow 0.9, dance 0.3, cps 0.7, cps 0.8. Simulated with
# 200,000 samples by another program than this one.
TABLE = {
    6: (0.293, 0.406, 0.458, 0.324, 0.275, 0.269),
    10: (0.369, 0.424, 0.444, 0.384, 0.328, 0.315),
    28: (0.450, 0.470, 0.475, 0.456, 0.382, 0.362),
    100: (0.485, 0.492, 0.492, 0.487, 0.409, 0.387),
}
COLUMNS: tuple[tuple[StepKind, float], ...] = (
    ("flow", 0.0),
    ("flow", 0.7),
    ("flow", 0.9),
    ("dance", 0.3),
    ("cps", 0.7),
    ("cps", 0.8),
)


def times(steps: int) -> list[float]:
    plain = [1 - step / steps for step in range(steps + 1)]
    return [3 * t / (1 + 2 * t) for t in plain]


def steps_of(kind: StepKind, noise: float, count: int) -> list[tuple[float, NoisyStep]]:
    here = times(count)
    return [(t, noisy_step(kind, noise, t, u)) for t, u in pairwise(here)]


def slope(t: float) -> float:
    """Of the exact velocity of N(2, 0.25) at time t, a line through x = 2 (1 - t)."""
    return (t - (1 - t) * 0.25) / ((1 - t) ** 2 * 0.25 + t**2)


def exact_spread(kind: StepKind, noise: float, count: int) -> float:
    """By the variance's own recursion: no sampling."""
    variance = 1.0
    for t, step in steps_of(kind, noise, count):
        variance = (step.x_scale + step.v_scale * slope(t)) ** 2 * variance + step.spread**2
    return math.sqrt(variance)


def latents(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", TABLE)
def test_the_exact_spread_is_that_of_the_table(count: int) -> None:
    for (kind, noise), wanted in zip(COLUMNS, TABLE[count], strict=True):
        # The table's own standard error is below 0.001.
        assert exact_spread(kind, noise, count) == pytest.approx(wanted, abs=0.002), (kind, noise)


@pytest.mark.parametrize("count", [6, 28])
@pytest.mark.parametrize(("kind", "noise"), COLUMNS)
def test_what_is_drawn_has_the_exact_spread(kind: StepKind, noise: float, count: int) -> None:
    samples = 100_000
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(samples, generator=generator)
    for t, step in steps_of(kind, noise, count):
        velocity = -2 + slope(t) * (x - 2 * (1 - t))
        drawn = torch.randn(samples, generator=generator)
        x = step_sample(step, step_mean(step, x, velocity), drawn)
    wanted = exact_spread(kind, noise, count)
    assert float(x.mean()) == pytest.approx(2, abs=4 * wanted / samples**0.5)
    assert float(x.std()) == pytest.approx(wanted, abs=4 * wanted / (2 * samples) ** 0.5)


def test_flow_and_dance_keep_the_marginals_and_cps_does_not() -> None:
    assert exact_spread("flow", 0.7, 2000) == pytest.approx(0.5, abs=0.001)
    assert exact_spread("dance", 0.3, 2000) == pytest.approx(0.5, abs=0.001)
    assert exact_spread("cps", 0.7, 2000) < 0.43


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 4, 28])
def test_without_noise_it_is_eulers_step_to_the_bit(kind: StepKind, count: int) -> None:
    x, velocity, noise = latents(0, 3, 2, 4, 5, 6)
    points = torch.tensor(times(count))
    for here, there in pairwise(points):
        step = noisy_step(kind, 0.0, float(here), float(there))
        after = step_sample(step, step_mean(step, x, velocity), noise)
        assert torch.equal(after, x + (there - here) * velocity)


def test_half_precision_is_left_behind() -> None:
    step = noisy_step("flow", 0.7, 1.0, 0.9)
    x = torch.full((1, 4), 300.0, dtype=torch.float16)
    mean = step_mean(step, x, x)
    assert mean.dtype == torch.float32
    assert log_probability(step, x, mean).isfinite().all()
    assert step_mean(step, x.double(), x).dtype == torch.float64


spans = st.tuples(st.floats(0.01, 1), st.floats(0.01, 0.9)).map(lambda p: (p[0], p[0] * p[1]))


@given(spans, st.floats(0.05, 1.5), st.sampled_from(["flow", "dance"]), st.integers(0, 99))
def test_probabilities_are_torchs(
    span: tuple[float, float], noise: float, kind: StepKind, seed: int
) -> None:
    step = noisy_step(kind, noise, *span)
    x, velocity, other, drawn = latents(seed, 4, 2, 3, 2, 2).double()
    mean, new = step_mean(step, x, velocity), step_mean(step, x, other)
    sample = step_sample(step, mean, drawn)
    old, fresh = Normal(mean, step.spread), Normal(new, step.spread)
    close = torch.testing.assert_close
    close(log_probability(step, sample, mean), old.log_prob(sample).mean((1, 2, 3)))
    difference = (fresh.log_prob(sample) - old.log_prob(sample)).mean((1, 2, 3))
    close(log_ratio(step, sample, mean, new), difference, rtol=1e-6, atol=1e-9)
    close(velocity_kl(step, velocity, other), kl_divergence(old, fresh).mean((1, 2, 3)))
    close(velocity_kl(step, velocity, other), velocity_kl(step, other, velocity))


def test_the_divergence_in_its_published_form_and_by_sampling() -> None:
    here, there, noise = 0.6, 0.5, 0.7
    step = noisy_step("flow", noise, here, there)
    velocity, other = latents(1, 2, 1, 8).double()
    sigma = noise * math.sqrt(here / (1 - here))
    published = (here - there) / 2 * (sigma * (1 - here) / (2 * here) + 1 / sigma) ** 2
    squares = (velocity - other).square().mean()
    told = float(velocity_kl(step, velocity, other))
    assert told == pytest.approx(published * float(squares), rel=1e-12)
    count = 100_000
    x = torch.zeros(count, 8, dtype=torch.float64)
    mean, new = step_mean(step, x, velocity), step_mean(step, x, other)
    drawn = torch.randn(count, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ratios = log_ratio(step, step_sample(step, mean, drawn), mean, new)
    assert float(-ratios.mean()) == pytest.approx(told, abs=4 * float(ratios.std()) / count**0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_ratio_of_a_policy_to_itself_is_exactly_one(kind: StepKind) -> None:
    step = noisy_step(kind, 0.7, 0.9, 0.8)
    x, velocity, drawn = latents(4, 3, 2, 4, 5, 6)
    mean = step_mean(step, x, velocity)
    assert torch.equal(log_ratio(step, x + drawn, mean, mean.clone()).exp(), torch.ones(2))


def test_cps_counts_squares_as_published() -> None:
    step = noisy_step("cps", 0.8, 0.9, 0.8)
    sample, mean, new = latents(5, 3, 2, 4)
    squares = (sample - mean).square().mean(1)
    torch.testing.assert_close(log_probability(step, sample, mean), -squares)
    told = log_ratio(step, sample, mean, new)
    torch.testing.assert_close(told, squares - (sample - new).square().mean(1))


@pytest.mark.parametrize(
    ("kind", "noise", "here", "there"),
    [("flow", 0.7, 0.5, 0.6), ("flow", -0.1, 0.6, 0.5), ("cps", 1.5, 0.6, 0.5)],
)
def test_what_is_no_step(kind: StepKind, noise: float, here: float, there: float) -> None:
    with pytest.raises(RequestError, match="expected"):
        noisy_step(kind, noise, here, there)


def test_no_noise_has_no_probability() -> None:
    x = torch.zeros(1, 2)
    for step in (noisy_step("flow", 0.0, 0.5, 0.4), noisy_step("cps", 0.7, 0.5, 0.0)):
        with pytest.raises(RequestError, match="without noise"):
            log_probability(step, x, x)
