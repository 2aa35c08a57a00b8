"""personae train: recipe in, answer out, exit status right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from personae.cli import main
from tests.diffusion.tiny import save_tiny_klein


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("train")
    base = save_tiny_klein(folder / "klein")
    path = folder / "small.toml"
    path.write_text(
        f'base = "{base}"\ndevice = "cpu"\n[data]\nworkers = 1\n[data.toons]\ncount = 4\n'
        "[training]\nsteps = 2\nbatch_size = 1\n[lora]\nrank = 2\n"
    )
    return path


def run(*arguments: object) -> int:
    try:
        main(["train", *map(str, arguments)])
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def test_a_run_and_its_resumption(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run(recipe, "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 2
    assert told["stopped"] is None
    assert told["saved"] == str(out / "adapter")
    assert run(recipe, "--out", out) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(recipe, "--out", out, "--resume", "--set", "training.steps=3", "--json") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 3
    assert (out / "adapter" / "pytorch_lora_weights.safetensors").is_file()


def test_wrong_requests(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(recipe, "--out", tmp_path, "--set", "training.step=3") == 1
    assert "did you mean 'steps'" in capsys.readouterr().err
    assert run(recipe, "--out", tmp_path, "--set", "nonsense") == 2
    assert run(tmp_path / "none.toml") == 1
    assert "no such file" in capsys.readouterr().err
    assert run(recipe, "--out", tmp_path, "--set", "base=/nowhere/at/all") == 1


def test_importing_the_command_is_light() -> None:
    code = (
        "import sys, personae.cli, personae.training.finetune, personae.data.latents\n"
        "heavy = {'diffusers', 'transformers', 'peft', 'accelerate'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
