"""Two processes train as one: the same weights as one process that takes both batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from personae.compute.runs import write_atomic
from personae.config import as_data, as_toml
from personae.training.checkpoint import checkpoints
from personae.training.finetune import finetune
from tests.training.brightness import Brightness
from tests.training.conftest import MakeRecipe

LIMIT_S = 240
SECTIONS = {
    "training": {"steps": 3, "threads": 1, "ema_decay": 0.9, "reference_dropout": 0.3},
    "lora": {"rank": 2},
}


def launch(
    recipe: Path, out: Path, *flags: str, program: tuple[str, ...] = ("-m", "personae", "train")
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", "0", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "127.0.0.1:0", *program, str(recipe)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *(("--out",) if "train" in program else ()), str(out), *flags],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def weights(out: Path, kind: str) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(out / "checkpoints")[-1] / f"{kind}.safetensors")


def test_two_processes_are_one_with_twice_the_batch(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(**SECTIONS)
    path = tmp_path / "recipe.toml"
    write_atomic(path, as_toml(as_data(recipe)))
    pair = launch(path, tmp_path / "pair")
    assert pair.returncode == 0, pair.stderr[-3000:]
    both = {**SECTIONS, "training": {**SECTIONS["training"], "accumulate": 2}}
    finetune(make_recipe(**both), tmp_path / "alone")
    for kind in ("weights", "ema"):
        alone, together = (weights(tmp_path / name, kind) for name in ("alone", "pair"))
        assert alone.keys() == together.keys()
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, atol=1e-5, rtol=1e-4)
    rows = [json.loads(line) for line in (tmp_path / "pair/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]  # one of them writes
    assert (tmp_path / "pair/adapter").is_dir()


def test_two_processes_that_follow_a_reward_are_one_with_twice_the_batch(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    more = {
        "rewards": {},
        "rollout": {"steps": 3},
        "rerefl": {"window": [1, 2], "reward_weight": 10.0},
    }
    recipe = make_recipe(**SECTIONS, **more)
    path = tmp_path / "recipe.toml"
    write_atomic(path, as_toml(as_data(recipe)))
    program = (str(Path(__file__).with_name("brightness.py")),)
    pair = launch(path, tmp_path / "pair", program=program)
    assert pair.returncode == 0, pair.stderr[-3000:]
    both = {**SECTIONS, **more, "training": {**SECTIONS["training"], "accumulate": 2}}
    finetune(make_recipe(**both), tmp_path / "alone", reward=Brightness())
    alone, together = (weights(tmp_path / name, "weights") for name in ("alone", "pair"))
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, atol=2e-5, rtol=1e-3)
    told = (tmp_path / "pair/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in told] == [1, 2, 3]
    assert all("reward" in json.loads(line) for line in told)


def test_two_processes_both_say_what_is_wrong(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    write_atomic(path, as_toml(as_data(make_recipe(**SECTIONS))))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/recipe.resolved.toml").write_text(path.read_text())
    failed = launch(path, tmp_path / "run")
    assert failed.returncode != 0
    assert "holds a run already" in failed.stdout + failed.stderr


@pytest.fixture(autouse=True)
def _without_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
