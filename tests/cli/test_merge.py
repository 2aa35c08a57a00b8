"""personae merge: adapters in, one adapter or model out; and learned tokens drawn from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from personae.cli import main
from personae.compute.runs import read_rows
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import DIFFUSERS_FILE, add_lora, load_lora, save_lora
from personae.diffusion.low_rank import attached_layers
from personae.diffusion.tokens import add_tokens, save_tokens
from personae.toons import scene, write_scenes
from tests.diffusion.tiny import save_tiny_klein


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, two adapters of it, and a learned token."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("merge")
    save_tiny_klein(folder / "klein")
    for seed, name in enumerate(("ann", "bob")):
        backbone = load_backbone(folder / "klein")
        generator = torch.Generator().manual_seed(seed)
        for value in add_lora(backbone, 2 + seed, 2.0).values():
            value.data.normal_(0, 0.2, generator=generator)
        save_lora(backbone, folder / name)
    backbone = load_backbone(folder / "klein")
    add_tokens(backbone, {"olis": "girl"})["text_encoder"].data.normal_(0, 3)
    save_tokens(backbone, folder / "words")
    return folder


def run(*arguments: object) -> int:
    try:
        main([*map(str, arguments)])
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def merge(made: Path, *arguments: object) -> int:
    pairs = [f"{name}={made / name}" for name in ("ann", "bob")]
    return run("merge", *pairs, "--model", made / "klein", "--device", "cpu", *arguments)


def test_the_weighted_sum(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "both"
    assert merge(made, "--how", "cat", "--weight", "ann=1", "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"out": str(out / DIFFUSERS_FILE), "how": "cat", "adapters": ["ann", "bob"]}
    with safe_open(out / DIFFUSERS_FILE, "pt") as stored:
        assert json.loads(stored.metadata()["merge"]) == {"how": "cat", "of": ["ann", "bob"]}
    backbone = load_backbone(made / "klein")
    load_lora(backbone, out)
    assert {layer.rank for layer in attached_layers(backbone).values()} == {5}
    assert merge(made, "--how", "cat", "--out", out) == 2
    assert "already" in capsys.readouterr().err


def test_gradient_fusion(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = ("--prompt", "ann=olis girl 1", "--prompt", "bob=man 1", "--prompt", "bob=a man")
    how = ("--steps", 2, "--size", "64x64", "--tokens", made / "words", "--rank", 3)
    assert merge(made, *prompts, *how, "--out", tmp_path / "both", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["how"] == "gradient-fusion"
    assert told["fusion"]["rank"] == 3
    assert 0 < told["fusion"]["lost"] < 1
    assert (tmp_path / "both" / DIFFUSERS_FILE).is_file()
    assert merge(made, *prompts, *how[:4], "--whole-model", "--out", tmp_path / "whole") == 0
    assert "their average" in capsys.readouterr().err
    load_backbone(tmp_path / "whole")


def test_wrong_requests(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = ("--prompt", "ann=girl 1", "--prompt", "bob=man 1")
    for arguments, reason in (
        (("--how", "gradient_fusion"), "did you mean 'gradient-fusion'"),
        (("--how", "tie"), "did you mean 'ties'"),
        (("--prompt", "ann=girl 1"), "no --prompt bob=TEXT"),
        ((*prompts, "--prompt", "zoe=x"), "expected one of ann, bob"),
        ((*prompts, "--weight", "ann=1"), "--weight: means nothing"),
        (("--how", "cat", *prompts), "--prompt: means nothing"),
        (("--how", "cat", "--weight", "ann=much"), "such as ann=0.7"),
        (("--how", "cat", "--weight", "ann=1", "--weight", "ann=2"), "'ann' is given 2 times"),
        ((*prompts, "--whole-model", "--tokens", made / "words"), "learned tokens"),
        ((*prompts, "--size", "64"), "WIDTHxHEIGHT"),
    ):
        assert merge(made, *arguments, "--out", tmp_path / "out") == 2, arguments
        assert reason in capsys.readouterr().err
    lone = ("merge", f"ann={made / 'ann'}", "--model", made / "klein", "--out", tmp_path / "out")
    assert run(*lone, "--how", "cat") == 2
    assert "--adapter-scale" in capsys.readouterr().err
    foreign = ("merge", f"ann={made / 'ann'}", "bob=toons-umo", "--model", made / "klein")
    assert run(*foreign, "--how", "cat", "--device", "cpu", "--out", tmp_path / "out") == 1
    assert "adapter bob" in capsys.readouterr().err


def test_learned_tokens_are_drawn_from_and_noted(made: Path, tmp_path: Path) -> None:
    path = write_scenes([scene(3, count=1)], tmp_path)
    asked = json.loads(path.read_text())
    (name,) = asked["subjects"]
    asked["subjects"][name]["token"] = "olis"
    path.write_text(json.dumps(asked) + "\n")
    command = ("generate", path, "--model", made / "klein", "--size", "64x64", "--steps", 2)
    for out, more in (("with", ("--tokens", made / "words")), ("without", ())):
        assert run(*command, "--device", "cpu", *more, "--out", tmp_path / out) == 0
    (row,), (other,) = (read_rows(tmp_path / out / "images.jsonl") for out in ("with", "without"))
    assert row["adapter"] == f"tokens:{made / 'words'}"
    assert other["adapter"] is None
    pictures = [
        (tmp_path / out / r["image"]).read_bytes() for out, r in (("with", row), ("without", other))
    ]
    assert pictures[0] != pictures[1]
