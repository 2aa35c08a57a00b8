"""GRPO to the digit: ratios begin at 1, and the gradient is that of the formulas written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from personae.diffusion.backbone import Context
from personae.training.rolling import rollout_noise
from personae.training.session import Session
from tests.training.competitors import (
    brightness,
    catch_gradient,
    competing,
    method_of,
    numbers,
    session_of,
)
from tests.training.conftest import MakeRecipe


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize(
    ("more", "precision"),
    [
        ({}, "no"),
        ({"guard": False, "minibatch": 3, "same_noise": False, "window_start": 1}, "no"),
        ({"kind": "cps", "guard": False}, "no"),
        ({"kind": "dance", "noise": 0.3}, "bf16"),
    ],
)
def test_at_the_first_update_every_ratio_is_one_to_the_bit(
    make_recipe: MakeRecipe, tmp_path: Path, more: dict[str, Any], precision: str
) -> None:
    recipe = competing(make_recipe, grpo=more, training={"precision": precision})
    run = session_of(recipe, tmp_path / "run")
    caught = catch_gradient(run)
    seen = method_of(recipe, brightness()).step(run)
    ratios = numbers(seen, "ratio")
    assert len(ratios) == 8 * 2
    assert torch.equal(ratios, torch.ones(16))
    assert torch.equal(numbers(seen, "approx_kl"), torch.zeros(16, dtype=torch.float64))
    assert any(gradient.any() for gradient in caught.values())


def test_the_second_update_is_off_policy_and_clipped(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = competing(make_recipe, grpo={"updates": 2, "clip": 1e-6}, optimizer={"lr": 1e-2})
    run = session_of(recipe, tmp_path / "run")
    first, second = method_of(recipe, brightness()).step(run)[1:]
    assert torch.equal(first.parts["ratio"], torch.ones(8))
    assert (second.parts["ratio"] != 1).any()
    assert second.parts["clip_fraction"].any()
    assert (second.parts["approx_kl"] > 0).any()


def test_the_gradient_is_that_of_the_formulas_written_out(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    """A second, slow implementation of one step: one picture after the other, by hand."""
    recipe = competing(make_recipe, grpo={"window_start": 1, "kl": 0.3, "minibatch": 3}, seed=3)
    run = session_of(recipe, tmp_path / "run")
    caught = catch_gradient(run)
    method_of(recipe, brightness()).step(run)
    slow_step(run)
    assert len(caught) == len(run.params)
    for name, param in run.params.items():
        assert param.grad is not None
        torch.testing.assert_close(caught[name], param.grad, atol=2e-6, rtol=5e-3)


def slow_velocity(run: Session, x: Tensor, here: Tensor, told: Context) -> Tensor:
    untold = run.backbone.predict(x, here.view(1), Context(told.text))
    return untold + 2.0 * (run.backbone.predict(x, here.view(1), told) - untold)


def slow_step(run: Session) -> None:
    batch, _ = run.batch(0)
    t = run.backbone.times(4, 64, 64)
    seeds = [run.recipe.seed, run.number(0)]
    every = torch.empty(8, *batch.image.shape[1:])
    start = rollout_noise([*seeds, 0, 3], batch.image)
    noises = [rollout_noise([*seeds, k, 3], every) for k in (1, 2)]
    text = run.backbone.encode_tokens(batch.tokens, batch.mask).detach()
    path: dict[tuple[int, int], tuple[Tensor, ...]] = {}
    brights = torch.zeros(8)
    contexts = []
    for i in range(8):
        row = slice(i // 4, i // 4 + 1)
        contexts.append(Context(text[row], tuple(item[row] for item in batch.references)))
        x = start[row]
        for k in range(4):
            dt = t[k + 1] - t[k]
            with torch.no_grad():
                v = slow_velocity(run, x, t[k], contexts[i])
            if k in (1, 2):
                sigma = 0.7 * (t[k] / (1 - t[k])).sqrt()
                drift = v + sigma**2 / (2 * t[k]) * (x + (1 - t[k]) * v)
                mean = x + drift * dt
                after = mean + sigma * (-dt).sqrt() * noises[k - 1][i : i + 1]
                path[i, k] = (x, mean, after)
                x = after
            else:
                x = x + dt * v
        with torch.no_grad():
            brights[i] = run.backbone.decode(x).clamp(0, 1).mean()
    total = torch.zeros(())
    for (i, k), (x, old, after) in path.items():
        dt = t[k] - t[k + 1]
        sigma = 0.7 * (t[k] / (1 - t[k])).sqrt()
        std = sigma * dt.sqrt()
        group = brights[i // 4 * 4 : i // 4 * 4 + 4]
        advantage = (brights[i] - group.mean()) / (group.std(correction=0) + 1e-4)
        v = slow_velocity(run, x, t[k], contexts[i])
        mean = x - dt * (v + sigma**2 / (2 * t[k]) * (x + (1 - t[k]) * v))
        ratio = ((after - old).square() - (after - mean).square()).mean() / (2 * std**2)
        guarded = (std * (ratio + (mean - old).square().mean() / (2 * std**2))).exp()
        with torch.no_grad(), run.frozen():
            frozen = slow_velocity(run, x, t[k], contexts[i])
        kl = dt / 2 * (sigma * (1 - t[k]) / (2 * t[k]) + 1 / sigma) ** 2
        total = total - advantage * guarded / dt + 0.3 * kl * (v - frozen).square().mean()
    (total / len(path)).backward()  # type: ignore[no-untyped-call]


def test_minibatches_do_not_change_what_is_drawn(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    pictures = []
    for minibatch in (8, 3):
        recipe = competing(make_recipe, grpo={"minibatch": minibatch, "window_start": 1})
        run = session_of(recipe, tmp_path / f"{minibatch}")
        catch_gradient(run)
        reward = brightness()
        method_of(recipe, reward).step(run)
        pictures.append(torch.cat(reward.pictures))
        owners = [id(one) for asked in reward.asked for one in asked]
        assert owners == [owners[0]] * 4 + [owners[4]] * 4
    torch.testing.assert_close(*pictures, atol=1e-4, rtol=1e-4)
