"""Advantages: what may not change them, who gets none, and a second, slow implementation."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.training.advantages import (
    global_advantages,
    group_advantages,
    group_spread,
    per_reward_advantages,
)

Advantages = Callable[[torch.Tensor, float], torch.Tensor]
BOTH = pytest.mark.parametrize("advantages", [group_advantages, global_advantages])
NAN = float("nan")
EPSILON = 1e-4

values = st.one_of(st.just(NAN), st.floats(-3, 3).map(lambda x: round(x, 2)))
tables = st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(
    lambda shape: st.lists(
        st.lists(values, min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    )
)


def slow_mean_std(numbers: list[float]) -> tuple[float, float]:
    held = [number for number in numbers if not math.isnan(number)]
    if not held:
        return 0.0, 0.0
    mean = math.fsum(held) / len(held)
    return mean, math.sqrt(math.fsum((number - mean) ** 2 for number in held) / len(held))


def slow_scores(groups: list[list[float]]) -> list[list[float]]:
    """Each number in its group's standard deviations."""
    scores = []
    for group in groups:
        mean, std = slow_mean_std(group)
        scores.append([0.0 if math.isnan(r) else (r - mean) / (std + EPSILON) for r in group])
    return scores


def slow_global(groups: list[list[float]]) -> list[list[float]]:
    _, std = slow_mean_std([number for group in groups for number in group])
    scores = []
    for group in groups:
        mean, _ = slow_mean_std(group)
        scores.append([0.0 if math.isnan(r) else (r - mean) / (std + EPSILON) for r in group])
    return scores


def slow_per_reward(
    rewards: dict[str, list[list[float]]], weights: dict[str, float], counts: list[list[bool]]
) -> list[list[float]]:
    """GDPO to the letter: normalize each, sum, take mean and standard deviation of the batch."""
    total = [[0.0] * len(row) for row in counts]
    for name, groups in rewards.items():
        kept = [
            [r if ok else NAN for r, ok in zip(group, row, strict=True)]
            for group, row in zip(groups, counts, strict=True)
        ]
        for g, group in enumerate(slow_scores(kept)):
            for i, score in enumerate(group):
                total[g][i] += weights[name] * score
    flat = [total[g][i] for g in range(len(counts)) for i in range(len(counts[g])) if counts[g][i]]
    mean, std = slow_mean_std(flat)
    return [
        [(s - mean) / (std + EPSILON) if ok else 0.0 for s, ok in zip(row, oks, strict=True)]
        for row, oks in zip(total, counts, strict=True)
    ]


def close(told: torch.Tensor, slow: list[list[float]], limit: float) -> None:
    wanted = torch.tensor(slow, dtype=torch.float64).clamp(-limit, limit)
    torch.testing.assert_close(told.double(), wanted, atol=1e-5, rtol=1e-5)


@given(tables, st.sampled_from([0.5, 1.0, 5.0]))
def test_they_are_what_the_slow_ones_say(groups: list[list[float]], limit: float) -> None:
    rewards = torch.tensor(groups)
    held = rewards.double().tolist()
    close(group_advantages(rewards, limit), slow_scores(held), limit)
    close(global_advantages(rewards, limit), slow_global(held), limit)


@given(tables)
def test_per_reward_is_what_the_slow_one_says(groups: list[list[float]]) -> None:
    rewards = torch.tensor(groups)
    other = torch.tensor([row[::-1] for row in groups[::-1]]).square() * 100
    counts = rewards.isfinite() & (rewards < 2)
    weights = {"one": 0.7, "two": -0.3}
    told = per_reward_advantages({"one": rewards, "two": other}, weights, counts, 5.0)
    both = {"one": rewards.double().tolist(), "two": other.double().tolist()}
    close(told, slow_per_reward(both, weights, counts.tolist()), 5.0)


@BOTH
@given(groups=tables)
def test_unmeasured_pictures_get_nothing_and_change_nothing(
    advantages: Advantages, groups: list[list[float]]
) -> None:
    rewards = torch.tensor(groups)
    told = advantages(rewards, 5.0)
    assert told.isfinite().all()
    assert (told[rewards.isnan()] == 0).all()
    without = torch.cat([rewards, torch.full((len(rewards), 2), NAN)], dim=1)
    torch.testing.assert_close(advantages(without, 5.0)[:, :-2], told)


@BOTH
@given(groups=tables, order=st.permutations(range(5)))
def test_order_does_not_matter(
    advantages: Advantages, groups: list[list[float]], order: list[int]
) -> None:
    rewards = torch.tensor(groups)
    places = [place for place in order if place < rewards.shape[1]]
    torch.testing.assert_close(advantages(rewards[:, places], 5), advantages(rewards, 5)[:, places])


@BOTH
@given(groups=tables)
def test_a_group_sums_to_nothing_and_better_is_higher(
    advantages: Advantages, groups: list[list[float]]
) -> None:
    rewards = torch.tensor(groups)
    told = advantages(rewards, 1e9)
    assert told.sum(1).abs().max() < 1e-4
    for row, group in zip(told.tolist(), rewards.tolist(), strict=True):
        pairs = [
            (a, b)
            for a, r in zip(row, group, strict=True)
            for b, s in zip(row, group, strict=True)
            if r > s
        ]
        assert all(a > b for a, b in pairs)


def test_what_a_prompt_is_worth_does_not_count() -> None:
    rewards = torch.tensor([[0.1, 0.4, 0.7], [0.2, 0.3, 0.9]])
    told = group_advantages(rewards + torch.tensor([[0.0], [5.0]]), 5.0)
    torch.testing.assert_close(told, group_advantages(rewards, 5.0), atol=1e-5, rtol=1e-5)


@BOTH
@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.0, -7.7, 1e6])
def test_equals_get_exactly_nothing(advantages: Advantages, value: float) -> None:
    rewards = torch.tensor([[value] * 7, [NAN] * 6 + [value], [0.0, 1.0] + [NAN] * 5])
    told = advantages(rewards, 5.0)
    assert (told[:2] == 0).all()
    assert told[2, 1] > 0
    alone = per_reward_advantages({"one": rewards}, {"one": 0.4}, rewards.isfinite(), 5.0)
    assert (alone[:2] == 0).all()


def test_nothing_measured_at_all() -> None:
    rewards = torch.full((2, 3), NAN)
    for advantages in (group_advantages, global_advantages):
        assert torch.equal(advantages(rewards, 5.0), torch.zeros(2, 3))
    none = per_reward_advantages({"one": rewards}, {"one": 1.0}, rewards.isfinite(), 5.0)
    assert torch.equal(none, torch.zeros(2, 3))
    assert group_spread(rewards).isnan().all()


def test_they_are_clipped() -> None:
    rewards = torch.tensor([[0.0] * 50 + [1.0]])
    assert group_advantages(rewards, 5.0).max() == 5.0
    assert group_advantages(rewards, 9.0).max() > 5.0


def test_the_scale_of_one_reward_does_not_drown_another() -> None:
    torch.manual_seed(0)
    one, two = torch.rand(2, 4, 6).double()
    weights, all_of = {"one": 0.5, "two": 0.5}, torch.ones(4, 6, dtype=torch.bool)
    told = per_reward_advantages({"one": one, "two": two}, weights, all_of, 5.0)
    large = per_reward_advantages({"one": one, "two": 100 * two}, weights, all_of, 5.0)
    torch.testing.assert_close(told, large, atol=2e-3, rtol=2e-3)


def test_the_spread_of_a_group() -> None:
    told = group_spread(torch.tensor([[1.0, 3.0, NAN], [1.0, NAN, NAN]]))
    assert told[0] == 1
    assert told[1].isnan()
