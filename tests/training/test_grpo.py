"""GRPO as a whole, on a tiny model: any reward rises, and nothing is lost on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from personae.config import as_data
from personae.diffusion.load import load_backbone
from personae.errors import DataError, RequestError
from personae.training.checkpoint import checkpoints
from personae.training.finetune import finetune
from personae.training.grpo import Grpo, GrpoRecipe
from personae.training.grpo_recipe import window_of
from personae.training.recipe import Recipe, changed_keys, read_recipe
from personae.training.rewards.combined import CombinedReward
from personae.training.rollout import RolloutRecipe
from tests.training.competitors import (
    SMALL,
    Plain,
    blind,
    brightness,
    catch_gradient,
    competing,
    method_of,
    rows,
    session_of,
    weights_of,
)
from tests.training.conftest import MakeRecipe

RECIPES = Path(__file__).parents[2] / "recipes"


def learns(recipe: Recipe, out: Path, reward: Plain) -> list[dict[str, Any]]:
    """Rows of a run on a model that shows its first latents, as its random decoder hides them."""
    backbone = load_backbone(Path(recipe.base))
    backbone.decode = (
        lambda latents: (  # type: ignore[method-assign]
            0.5 + 0.2 * F.interpolate(latents[:, :3], scale_factor=16.0)
        )
    )
    result = finetune(recipe, out, backbone=backbone, reward=reward)
    assert result.saved == out / "adapter"
    return rows(out)


def rise(told: Sequence[dict[str, Any]]) -> float:
    values = [row["reward"] for row in told]
    return (sum(values[-4:]) - sum(values[:4])) / 4


def fast(make_recipe: MakeRecipe, **grpo: Any) -> Recipe:
    chosen = {"group": 8, "minibatch": 16, "window": 3, "clip": 1.0, **grpo}
    optimizer = {"lr": 4e-2, "clip": 0.0}
    rollout = {"steps": 4}
    steps = {"steps": 11}
    return competing(make_recipe, grpo=chosen, training=steps, optimizer=optimizer, rollout=rollout)


def test_a_plain_reward_rises_and_every_number_is_logged(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    told = learns(fast(make_recipe), tmp_path / "run", brightness())
    assert rise(told) > 0.015
    names = ("reward", "reward_std", "advantage", "ratio", "clip_fraction", "approx_kl")
    for row in told:
        assert all(math.isfinite(row[name]) for name in (*names, "grad_norm"))
        assert (row["window_start"], row["ratio"]) == (0, 1)
        assert row["clip_fraction"] == row["approx_kl"] == 0


def test_a_reward_without_a_gradient_rises_too(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """Bytes that leave torch: how much of the picture has more red than a threshold."""

    def judge(picture: Tensor) -> Tensor:
        red = (picture[0] * 255).round().to(torch.uint8).numpy()
        return torch.tensor(float((red > 128).mean()))

    recipe = fast(make_recipe, updates=2, minibatch=8, clip=1e-2)
    told = learns(recipe, tmp_path / "run", Plain(judge, "red"))
    assert rise(told) > 0.05


def test_where_nothing_can_be_measured_no_weight_moves(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = competing(make_recipe, optimizer={"lr": 1e-2, "weight_decay": 0.5})
    run = session_of(recipe, tmp_path / "run")
    method_of(recipe, brightness()).step(run)  # so that the optimizer has a momentum
    before = weights_of(run)
    (seen,) = method_of(recipe, blind()).step(run)
    assert all(torch.equal(param, before[name]) for name, param in run.params.items())
    assert all(param.grad is None for param in run.params.values())
    assert len(seen.notes) == 8
    assert seen.notes[5].startswith(f"{seen.ids[1]}, picture 2: too dark")
    assert seen.parts["reward"].isnan().all()


def test_equals_move_no_weight_either(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = competing(make_recipe, grpo={"advantages": "global"})
    run = session_of(recipe, tmp_path / "run")
    before = weights_of(run)
    method_of(recipe, Plain(lambda picture: torch.tensor(0.3))).step(run)
    assert all(torch.equal(param, before[name]) for name, param in run.params.items())


def test_unmeasured_pictures_have_no_advantage_and_what_is_no_number_is_unmeasured(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    count = iter(range(8))

    def judge(picture: Tensor) -> Tensor | str:
        place = next(count)
        return {0: "no face", 5: torch.tensor(math.inf)}.get(place, picture.mean())

    recipe = competing(make_recipe)
    run = session_of(recipe, tmp_path / "run")
    seen = method_of(recipe, Plain(judge)).step(run)[0]
    assert (seen.parts["advantage"] == 0).nonzero().flatten().tolist() == [0, 5]
    assert seen.notes == (
        f"{seen.ids[0]}, picture 1: no face",
        f"{seen.ids[1]}, picture 2: the reward is not a finite number",
    )


def test_a_stopped_run_ends_with_the_same_weights_to_the_bit(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    grpo = {"kl": 0.1, "updates": 2, "slide_every": 2, "flow_weight": 0.1, "same_noise": False}
    for name, stops in (("whole", [3]), ("parts", [2, 3])):
        for steps in stops:
            recipe = competing(
                make_recipe,
                grpo=grpo,
                training={"steps": steps, "save_every": 1},
                optimizer={"lr": 1e-2},
            )
            finetune(recipe, tmp_path / name, resume=steps == 3, reward=brightness())
    ends = [
        load_file(checkpoints(tmp_path / name / "checkpoints")[-1] / "weights.safetensors")
        for name in ("whole", "parts")
    ]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    assert any(key.endswith("lora_B.default.weight") and ends[0][key].any() for key in ends[0])
    kept = ("step", "reward", "ratio", "kl", "loss", "window_start", "grad_norm")
    logs = [
        [[row[key] for key in kept] for row in rows(tmp_path / name)] for name in ("whole", "parts")
    ]
    assert logs[0] == logs[1]
    assert [row[5] for row in logs[0]] == [0, 0, 1]


def test_each_step_draws_other_pictures_and_the_same_ones_again(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = competing(make_recipe, grpo={"minibatch": 8})
    run = session_of(recipe, tmp_path / "run")
    catch_gradient(run)
    reward = brightness()
    for step in (0, 1, 0):
        run.step = step
        method_of(recipe, reward).step(run)
    first, other, again = reward.pictures
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(torch.unique(first, dim=0)) == 8


def test_rewards_are_weighed_one_by_one(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """A thousand times the scale of one of two rewards changes nothing."""
    advantages = []
    for scale in (1.0, 1000.0):
        recipe = competing(make_recipe, grpo={"advantages": "per_reward"})
        run = session_of(recipe, tmp_path / f"{scale}")
        catch_gradient(run)
        members = {
            "bright": brightness(),
            "flat": Plain(lambda picture, scale=scale: -scale * picture.std()),
        }
        reward = CombinedReward(members, {"bright": 0.7, "flat": 0.3})
        seen = method_of(recipe, reward).step(run)[0]
        assert {"bright", "flat"} <= set(seen.parts)
        advantages.append(seen.parts["advantage"])
    torch.testing.assert_close(*advantages, atol=0.05, rtol=0.05)


def test_where_the_window_stands() -> None:
    sliding = GrpoRecipe(window=4, window_start=2, slide_every=25)
    starts = [window_of(sliding, 8, step)[0] for step in (0, 24, 25, 50, 75, 125)]
    assert starts == [2, 2, 3, 0, 1, 3]
    assert window_of(GrpoRecipe(window=0), 28, 100) == (0, 27)
    assert window_of(GrpoRecipe(window=0, window_start=2), 10, 100) == (2, 7)
    assert window_of(GrpoRecipe(slide_every=0, window=9), 10, 10_000) == (0, 9)


@pytest.mark.parametrize(("name", "reward"), [("psr_toons", 0.7), ("psr_flux2_klein", 0.4)])
def test_a_shipped_recipe_reads(name: str, reward: float) -> None:
    recipe = read_recipe(RECIPES / f"{name}.toml")
    assert recipe.grpo is not None
    assert recipe.rewards is not None
    assert recipe.rewards.weights["strict_pairwise"] == reward
    window_of(recipe.grpo, recipe.rollout.steps, 0)
    assert changed_keys(as_data(recipe), recipe) == []


def test_what_does_not_fit_is_said_before_the_first_step(make_recipe: MakeRecipe) -> None:
    with pytest.raises(RequestError, match="does not fit rollouts of 4 steps"):
        Grpo(GrpoRecipe(window=4), RolloutRecipe(steps=4), brightness())
    with pytest.raises(RequestError, match="per_reward"):
        Grpo(GrpoRecipe(advantages="per_reward"), RolloutRecipe(), brightness())
    with pytest.raises(RequestError, match="group of 2 or more"):
        GrpoRecipe(group=1)
    with pytest.raises(RequestError, match="not enough for 7 updates"):
        GrpoRecipe(updates=7)
    with pytest.raises(RequestError, match="noise"):
        GrpoRecipe(kind="cps", noise=1.0)
    with pytest.raises(DataError, match=r"training\.batch_size must be 2"):
        competing(make_recipe, training={"batch_size": 3})
    with pytest.raises(DataError, match=r"add a section \[lora\]"):
        competing(make_recipe, grpo={"kl": 0.1}, lora=None)
    with pytest.raises(DataError, match="denoiser alone"):
        competing(make_recipe, training={"train_text_encoder": True}, lora=None)
    with pytest.raises(DataError, match=r"one of \[rerefl\] and \[grpo\]"):
        competing(make_recipe, rerefl={})
    with pytest.raises(DataError, match=r"got \[grpo\]"):
        make_recipe(grpo=SMALL, training={"batch_size": 2})
