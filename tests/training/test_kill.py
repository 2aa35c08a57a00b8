"""Killed at random moments, a run ends with the same weights as one that was let be, to the bit."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from personae.compute.runs import write_atomic
from personae.config import as_data, as_toml
from personae.training.checkpoint import checkpoints
from personae.training.finetune import finetune
from personae.training.recipe import Recipe
from tests.training.brightness import Brightness
from tests.training.conftest import MakeRecipe

SECTIONS = {
    "training": {"steps": 30, "save_every": 1, "threads": 1, "ema_decay": 0.9, "keep": 2},
    "lora": {"rank": 2},
    "optimizer": {"lr": 1e-2},
    "rewards": {},
    "rollout": {"steps": 2},
    "rerefl": {"window": [1, 2], "reward_weight": 10.0},
}


def started(recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    flags = ["--resume"] if out.exists() else []
    program = str(Path(__file__).with_name("brightness.py"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("WORLD_SIZE", None)
    return subprocess.Popen(
        [sys.executable, program, str(recipe), str(out), *flags],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def newest(out: Path) -> int:
    found = checkpoints(out / "checkpoints")
    return int(found[-1].name.removeprefix("step-")) if found else 0


def kill_somewhere(recipe: Path, out: Path, random_: random.Random, most: int) -> int:
    """Let it get one step on, then kill -9 a random moment later; the step it had reached."""
    process, before = started(recipe, out), newest(out) if out.exists() else 0
    deadline = time.monotonic() + 120
    while process.poll() is None and newest(out) <= before and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(random_.random() * most / 100)
    process.kill()
    process.communicate()
    return newest(out)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_minus_nine_loses_nothing(make_recipe: MakeRecipe, tmp_path: Path, kills: int) -> None:
    recipe = recipe_of(make_recipe, 4 * kills)
    path, out = tmp_path / "recipe.toml", tmp_path / "killed"
    write_atomic(path, as_toml(as_data(recipe)))
    random_ = random.Random(kills)
    reached = [kill_somewhere(path, out, random_, 30) for _ in range(kills)]
    assert reached[0] > 0 and reached == sorted(reached)
    assert reached[0] < recipe.training.steps, "it was over before it was killed"
    process = started(path, out)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-2000:]
    finetune(recipe, tmp_path / "whole", reward=Brightness())
    for kind in ("weights", "ema", "optimizer"):
        whole, killed = (
            load_file(checkpoints(tmp_path / name / "checkpoints")[-1] / f"{kind}.safetensors")
            for name in ("whole", "killed")
        )
        assert whole.keys() == killed.keys()
        assert all(bool((whole[key] == killed[key]).all()) for key in whole), kind
    assert (out / "adapter").is_dir()


def recipe_of(make_recipe: MakeRecipe, steps: int) -> Recipe:
    training = {**SECTIONS["training"], "steps": steps}
    return make_recipe(**{**SECTIONS, "training": training})
