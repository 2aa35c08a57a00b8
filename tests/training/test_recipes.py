"""The recipes that are shipped: they read, and the small one trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from personae.config import as_data
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.errors import DataError, RequestError
from personae.training.dry_run import dry_run
from personae.training.finetune import finetune
from personae.training.recipe import DataRecipe, Recipe, changed_keys, read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
OURS = sorted(path.name for path in RECIPES.glob("*.toml"))


@pytest.mark.parametrize("name", OURS)
def test_a_shipped_recipe_reads(name: str) -> None:
    recipe = read_recipe(RECIPES / name, ["training.steps=7"])
    assert recipe.training.steps == 7
    assert changed_keys(as_data(recipe), recipe) == []


def test_the_baseline_of_reward_training_differs_by_the_reward_alone() -> None:
    followed, flow = (
        as_data(read_recipe(RECIPES / name)) for name in ("umo_toons.toml", "umo_toons_flow.toml")
    )
    for section in ("rewards", "rerefl"):
        del followed[section]
    followed["rollout"] = flow["rollout"]
    assert followed == flow


def test_grpo_goes_on_from_the_adapter_that_ships(tmp_path: Path) -> None:
    run = dry_run(RECIPES / "psr_toons.toml", tmp_path / "run", ["lora.start=toons-umo"])
    assert run.mistakes == ()


def test_three_steps_of_the_small_recipe(tiny: Path, tmp_path: Path) -> None:
    recipe = read_recipe(
        RECIPES / "sft_toons.toml",
        [
            f"base={tiny}",
            "training.steps=3",
            "training.batch_size=2",
            "data.toons.count=6",
            "data.workers=1",
            "samples.every=3",
            "samples.count=2",
            "samples.steps=1",
        ],
    )
    result = finetune(recipe, tmp_path / "run")
    assert result.steps == 3
    assert result.saved is not None
    assert (tmp_path / "run" / "samples" / "step-00000003.png").is_file()
    load_lora(load_backbone(tiny), result.saved)


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('base = "toons"\n[data.toons]\n[training]\nstep = 3\n')
    with pytest.raises(DataError, match="unknown key 'step'; did you mean 'steps'"):
        read_recipe(path)


def test_data_is_one_of_three() -> None:
    with pytest.raises(RequestError, match="got none"):
        DataRecipe()


def test_more_toons_than_the_model_takes(tiny: Path, tmp_path: Path) -> None:
    recipe = read_recipe(RECIPES / "sft_toons.toml", [f"base={tiny}", "data.workers=1"])
    weights = (1.0,) * 6
    toons = recipe.data.toons
    assert toons is not None
    many = replace(recipe, data=replace(recipe.data, toons=replace(toons, weights=weights)))
    with pytest.raises(RequestError, match="up to 6 toons"):
        finetune(many, tmp_path / "run")


def test_what_may_differ_on_resuming() -> None:
    recipe = read_recipe(RECIPES / "sft_toons.toml")

    def with_(text: str) -> Recipe:
        return read_recipe(RECIPES / "sft_toons.toml", [text])

    old = as_data(recipe)
    assert changed_keys(old, with_("training.steps=9")) == []
    assert changed_keys(old, with_("samples.every=9")) == []
    assert changed_keys(old, with_("optimizer.lr=0.5")) == ["optimizer.lr"]
    assert changed_keys(old, with_("lora.alpha=3")) == ["lora.alpha"]
