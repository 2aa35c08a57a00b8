"""Weights in parts on two processes: the numbers of two processes that hold all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from personae.compute.runs import write_atomic
from personae.config import as_data, as_toml
from personae.diffusion.load import load_backbone
from personae.errors import DataError, RequestError
from personae.training.dry_run import dry_run
from personae.training.finetune import finetune
from personae.training.recipe import Recipe
from personae.training.recipe_check import read_whole
from personae.training.sharding import blocks_of
from personae.training.sharding_recipe import check_even
from tests.training.conftest import MakeRecipe
from tests.training.test_processes import launch, weights

TRAINING = {"steps": 3, "threads": 1, "ema_decay": 0.9, "reference_dropout": 0.3}
RUNS = ("no", "fsdp2")
PROGRAM = (str(Path(__file__).with_name("brightness.py")),)


@dataclass(frozen=True)
class Turn:
    """One of several runs of the same two processes."""

    name: str
    recipe: Recipe
    resume: bool = False
    blind: tuple[int, ...] = ()


def run(folder: Path, turns: Sequence[Turn]) -> None:
    """Train on two processes, one turn after the other."""
    plan = []
    for number, turn in enumerate(turns):
        path = folder / f"{number}.toml"
        write_atomic(path, as_toml(as_data(turn.recipe)))
        plan.append([str(path), turn.name, turn.resume, turn.blind])
    write_atomic(folder / "plan.json", json.dumps(plan))
    done = launch(folder / "plan.json", folder, program=PROGRAM)
    assert done.returncode == 0, done.stderr[-4000:]


def of_all(make_recipe: MakeRecipe, sharding: str, **sections: Any) -> Recipe:
    """All weights trained, in parts or not."""
    training = {**TRAINING, **sections.pop("training", {}), "sharding": sharding}
    return make_recipe(training=training, **sections)


def compare(folder: Path, one: str, other: str, *, atol: float) -> None:
    """Weights, their mean, the optimizer's state and the log of two runs."""
    for kind in ("weights", "ema", "optimizer"):
        expected, found = weights(folder / one, kind), weights(folder / other, kind)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].dtype == value.dtype
            torch.testing.assert_close(found[name], value, atol=atol, rtol=1e-3)
    pairs = zip(rows(folder / one), rows(folder / other), strict=True)
    for before, after in pairs:
        assert before.keys() == after.keys()
        for name in {"loss", "reward", "grad_norm", "validation.reward"} & before.keys():
            assert after[name] == pytest.approx(before[name], rel=1e-3, abs=1e-4), name


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_in_parts_it_learns_the_same_and_either_way_goes_on(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    # Sheets too: the main process draws alone, with the mean of the weights.
    sheets = {"every": 2, "count": 1, "steps": 1}
    runs = [Turn(name, of_all(make_recipe, name, samples=sheets)) for name in RUNS]
    for name, other in zip(RUNS, reversed(RUNS), strict=True):
        longer = of_all(make_recipe, other, samples=sheets, training={"steps": 4})
        runs.append(Turn(name, longer, resume=True))
    run(tmp_path, runs)
    compare(tmp_path, *RUNS, atol=2e-5)
    assert [row["step"] for row in rows(tmp_path / "fsdp2")] == [1, 2, 2, 3, 4, 4]
    # What is written at the end, each by the other way: an ordinary model.
    models = [tmp_path / name / "model" for name in RUNS]
    configs = [(model / "transformer/config.json").read_text() for model in models]
    assert configs[0] == configs[1]
    states = [load_backbone(model).denoiser.state_dict() for model in models]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=2e-3, rtol=1e-2)
    # And one process takes it up where the two stopped.
    alone = of_all(make_recipe, "fsdp2", samples=sheets, training={"steps": 5})
    assert finetune(alone, tmp_path / "fsdp2", resume=True).steps == 5


def test_in_parts_it_follows_rewards(
    make_recipe: MakeRecipe, examples: Path, tmp_path: Path
) -> None:
    # Pictures of a rollout stop at different steps, and some batches have no references: processes
    # make different numbers of passes without a gradient.
    drawing = {"steps": 4, "guidance": 2.0, "reference_guidance": 1.5}
    rerefl = {"window": [1, 4], "reward_weight": 10.0}
    grpo = {"group": 2, "prompts": 2, "minibatch": 2, "window": 2, "flow_weight": 0.5}
    saving = {"steps": 2, "reference_dropout": 0.5, "gradient_checkpointing": True}
    more = {"rewards": {}, "rollout": drawing, "training": saving}
    looks = {"every": 1, "file": str(examples), "count": 2, "steps": 2, "best_by": None}
    runs = []
    for name in RUNS:
        with_looks = of_all(make_recipe, name, rerefl=rerefl, validation=looks, **more)
        runs.append(Turn(f"rerefl-{name}", with_looks))
        # The second process measures nothing, and has no gradient of its own.
        runs.append(
            Turn(f"blind-{name}", of_all(make_recipe, name, rerefl=rerefl, **more), blind=(1,))
        )
        runs.append(Turn(f"grpo-{name}", of_all(make_recipe, name, grpo=grpo, **more)))
    run(tmp_path, runs)
    for method in ("rerefl", "blind", "grpo"):
        compare(tmp_path, f"{method}-no", f"{method}-fsdp2", atol=5e-5)
        assert any("reward" in row for row in rows(tmp_path / f"{method}-fsdp2"))
    assert [row["step"] for row in rows(tmp_path / "rerefl-fsdp2")] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"lora": {"rank": 2}}, r"training\.sharding: expected no section \[lora\]"),
        ({"optimizer": {"name": "muon"}}, r"optimizer\.name: expected adamw .* got muon"),
        ({"optimizer": {"name": "adamw8bit"}}, r"optimizer\.name: expected adamw"),
        ({"training": {"compile": True}}, r"training\.compile: expected false"),
        ({"training": {"train_text_encoder": True}}, r"training\.train_text_encoder"),
        (
            {
                "training": {"gradient_checkpointing": True},
                "rewards": {},
                "rerefl": {"gradient_steps": 2},
            },
            r"rerefl\.gradient_steps: expected 1",
        ),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    make_recipe: MakeRecipe, tmp_path: Path, sections: dict[str, Any], said: str
) -> None:
    with pytest.raises((DataError, RequestError), match=said):
        of_all(make_recipe, "fsdp2", **sections)
    # A dry run reads the same, and says what to do.
    path = tmp_path / "recipe.toml"
    write_atomic(path, as_toml(as_data(of_all(make_recipe, "no", **sections))))
    found = read_whole(path, ["training.sharding=fsdp2"]).mistakes
    assert len(found) == 1
    assert "set" in found[0].do


def test_memory_is_shared_where_the_number_of_processes_is_known(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "recipe.toml"
    write_atomic(path, as_toml(as_data(of_all(make_recipe, "fsdp2"))))
    monkeypatch.setattr("personae.training.needs.measured_speed", lambda *_, **__: 1e10)
    alone = dry_run(path, tmp_path / "run")
    assert any("start the dry run as the run" in item.why for item in alone.unchecked)
    monkeypatch.setenv("WORLD_SIZE", "4")
    shared = dry_run(path, tmp_path / "run")
    assert (alone.mistakes, shared.mistakes, shared.unchecked) == ((), (), ())
    assert shared.plan["sharding"] == "fsdp2, processes: 4"
    assert alone.memory is not None
    assert shared.memory is not None
    whole, held = alone.memory.held, shared.memory.held
    for name in ("transformer weights", "gradients", "optimizer", "mean of the weights"):
        assert held[name] == pytest.approx(whole[name] / 4, abs=1)
    assert held["vae weights"] == whole["vae weights"]
    assert shared.memory.stages["the whole model, on the main process"] == whole["gradients"]


def test_competing_pictures_come_in_even_minibatches(make_recipe: MakeRecipe) -> None:
    grpo = {"group": 2, "prompts": 2, "minibatch": 2}
    recipe = of_all(make_recipe, "fsdp2", grpo=grpo, rewards={})
    check_even(recipe, [2, 5])
    with pytest.raises(RequestError, match="got 1, 2, for some shapes"):
        check_even(recipe, [1, 4])


def test_blocks_are_the_members_of_lists() -> None:
    net = nn.ModuleDict({"into": nn.Linear(2, 2), "blocks": nn.ModuleList([nn.Tanh(), nn.ReLU()])})
    assert blocks_of(net) == list(net["blocks"].children())
    with pytest.raises(RequestError, match="lists of blocks; got Linear"):
        blocks_of(nn.Linear(2, 2))


@pytest.fixture(autouse=True)
def _without_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
