"""A dry run: what would be trained, quickly, without weights or a network."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from personae.cli import main
from personae.training.dry_run import dry_run
from personae.training.recipe import read_recipe
from personae.training.recipe_check import read_whole
from tests.training.dry.told import wheres

RECIPES = Path(__file__).parents[3] / "recipes"
KLEIN = "black-forest-labs/FLUX.2-klein-base-4B"


def test_toons_in_seconds(tmp_path: Path) -> None:
    began = time.process_time()
    run = dry_run(RECIPES / "umo_toons.toml", tmp_path)
    assert time.process_time() - began < 5
    assert run.mistakes == run.unchecked == ()
    plan = run.plan
    assert plan["trained"] == "an adapter of rank 32"
    assert (plan["trained_numbers"], plan["trained_layers"]) == (618_496, 34)
    assert plan["shapes"] == {"128x128+64x64+64x64": 1.0}
    assert plan["rewards"] == {"strict_matching": 1.0}
    assert run.memory is not None
    assert run.memory.held["adapter"] == 4 * 618_496
    assert run.memory.certain < run.memory.total < run.memory.available
    assert run.time is not None
    assert "measured speed" in run.time.source
    assert run.time.total > plan["steps"] * run.time.per_step
    assert not list(tmp_path.iterdir())


def test_every_shipped_recipe_reads(tmp_path: Path) -> None:
    for path in sorted(RECIPES.glob("*.toml")):
        reading = read_whole(path)
        assert reading.mistakes == (), path
        assert reading.recipe == read_recipe(path)


@pytest.mark.parametrize("name", ["sft_flux2_klein", "umo_flux2_klein"])
def test_klein_without_its_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("personae.training.base_check.hub_folder", lambda *_: None)
    run = dry_run(RECIPES / f"{name}.toml", tmp_path)
    assert run.plan["parameters"] == 7_982_058_787
    assert run.memory is not None
    assert run.memory.held["transformer weights"] == 2 * 3_875_544_576
    missing = {"device", "data.file", *(["rewards.faces"] if name.startswith("umo") else [])}
    if torch.cuda.is_available():
        missing -= {"device"}
    assert set(wheres(run)) == missing
    told = " ".join(map(str, run.unchecked))
    assert f"weights of {KLEIN}: not on this machine" in told
    assert "the first run fetches about 14.9 GiB" in told


def test_remarks_are_no_mistakes(recipe: Path, tmp_path: Path) -> None:
    settings = ["training.precision=bf16", "training.threads=9999", "validation.patience=3"]
    settings += ["samples.every=99", "lora.rank=99", "rewards.models.pickscore=x/y"]
    run = dry_run(recipe, tmp_path / "run", settings)
    assert run.mistakes == ()
    told = " ".join(map(str, run.remarks))
    for words in ("slower there", "9999 on", "patience does", "samples.every 99", "rank 99"):
        assert words in told
    assert "rewards.models.pickscore is not used" in told


def test_umo_has_the_published_settings() -> None:
    recipe = read_recipe(RECIPES / "umo_flux2_klein.toml")
    assert recipe.rerefl is not None
    assert recipe.lora is not None
    assert (recipe.rerefl.flow_weight, recipe.lora.rank, recipe.optimizer.lr) == (1.0, 512, 5e-6)
    assert recipe.training.batch_size * recipe.training.accumulate == 8
    assert (recipe.rollout.steps, recipe.rerefl.window) == (25, (1, 10))


def test_nothing_is_wrong_with_a_right_recipe(recipe: Path, tmp_path: Path) -> None:
    run = dry_run(recipe, tmp_path / "run")
    assert run.mistakes == ()
    assert run.plan["examples"] == 6
    assert set(run.plan["shapes"]) == {"64x64+64x64", "64x64+64x64+64x64"}
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    def ask(*more: str) -> int:
        arguments = ["train", str(recipe), "--dry-run", "--out", str(tmp_path / "run"), *more]
        try:
            main([*arguments, "--json"] if as_json else arguments)
        except SystemExit as done:
            return int(done.code or 0)
        return 0

    assert ask() == 0
    said = capsys.readouterr()
    if as_json:
        told = json.loads(said.out)
        assert told["mistakes"] == []
        assert told["plan"]["trained_layers"] == 14
        assert told["memory"]["total"] > 0
    else:
        assert "an adapter of rank 3" in said.out
        assert "time, an estimate" in said.out
        assert "no mistakes" in said.err
    assert ask("--set", "training.step=1", "--set", "lora.rank=0") == 2
    said = capsys.readouterr()
    if as_json:
        told = json.loads(said.out)["mistakes"]
        assert {item["where"].rpartition(" ")[2] for item in told} == {"training.step", "lora.rank"}
        assert set(told[0]) == {"where", "expected", "came", "do"}
    else:
        assert "mistake: " in said.err
        assert "2 mistakes" in said.err
    assert not (tmp_path / "run").exists()
