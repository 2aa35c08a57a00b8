"""From scenes.jsonl to pictures to scores, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.cli import main
from personae.compute.runs import read_rows
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import add_lora, save_lora
from tests.conftest import SceneFolder
from tests.diffusion.tiny import save_tiny_klein

FAST = ["--size", "64x64", "--steps", 2, "--device", "cpu"]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(item) for item in arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return save_tiny_klein(tmp_path_factory.mktemp("model"))


@pytest.fixture
def pair(folder: SceneFolder, demo) -> SceneFolder:
    """Two scenes of a cat and a cup."""
    for name in ("cat", "cup"):
        photo = Image.fromarray(demo["references"][name]).resize((150, 100))
        folder.photo(f"{name}.png", np.asarray(photo))
    cast = {"cat": ("animal", ["cat.png"]), "cup": ("object", ["cup.png"])}
    for name in ("one", "two"):
        folder.scene(name, cast)
    return folder


def test_draw_score_and_draw_no_more(pair: SceneFolder, model: Path, capsys) -> None:
    drawn = pair.path / "drawn"
    command = ["generate", pair.scenes, "--model", model, "--out", drawn, "--seeds", 2, *FAST]
    assert run(*command, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["num_pictures"], answer["num_drawn_now"]) == (4, 4)
    assert answer["failures"] == answer["problems"] == []
    images = drawn / "images"
    assert run("evaluate", pair.scenes, "--images", images, "--out", pair.out, "--workers", 1) == 0
    scored = {(row["scene"], row["seed"]) for row in read_rows(pair.out / "results.jsonl")}
    assert scored == {("one", 0), ("one", 1), ("two", 0), ("two", 1)}
    capsys.readouterr()
    assert run(*command) == 0
    captured = capsys.readouterr()
    assert "4 pictures" in captured.err
    assert "0 of them drawn now" in captured.err
    assert captured.out == ""


def test_every_flag_reaches_the_rows(pair: SceneFolder, model: Path, tmp_path, capsys) -> None:
    pair.scenes.write_text(pair.lines[0])
    backbone = load_backbone(model)
    for name, value in add_lora(backbone, 2, 2.0).items():
        if ".lora_B." in name:
            value.data.fill_(0.05)
    save_lora(backbone, tmp_path / "lora")
    flags = ["--adapter", tmp_path / "lora", "--guidance", 1.5]
    flags += ["--reference-guidance", 2.5, "--init", "mean-shift"]
    flags += ["--gamma", 0.4, "--layout", "random", "--relative-size", "cup=0.5", "--best-of", 2]
    command = ["generate", pair.scenes, "--model", model, "--seeds", "3,5", *FAST, *flags]
    assert run(*command, "--out", pair.path / "drawn") == 0
    found = list(read_rows(pair.path / "drawn" / "images.jsonl"))
    assert {row["seed"] for row in found} == {3, 5}
    row = found[0]
    assert row["adapter"] == f"{tmp_path / 'lora'}@1"
    assert (row["steps"], row["width"], row["height"]) == (2, 64, 64)
    assert (row["guidance"], row["reference_guidance"]) == (1.5, 2.5)
    assert row["sampler"] == "FlowMatchEulerDiscreteScheduler"
    assert row["init"] == {"kind": "mean-shift", "gamma": 0.4, "layout": "random"}
    assert row["best_of"]["n"] == len(row["best_of"]["scores"]) == 2
    assert row["best_of"]["rater"].startswith("strict_matching_reward by ")
    capsys.readouterr()
    assert run("generate", pair.scenes, "--model", model, *FAST, "--out", pair.path / "drawn") == 2
    said = " ".join(capsys.readouterr().err.split())
    for differing in ("weights", "guidance 1.5", "gamma 0.4", "best_of 2"):
        assert differing in said
    assert "--overwrite" in said


def test_one_bad_line_and_one_bad_reference_leave_the_rest(
    pair: SceneFolder, model: Path, capsys
) -> None:
    pair.scene("torn", {"cat": ("animal", ["cat.png"]), "dog": ("animal", ["dog.png"])})
    pair.line("{")
    drawn = pair.path / "drawn"
    command = ["generate", pair.scenes, "--model", model, "--out", drawn, *FAST, "--json"]
    assert run(*command) == 1
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["num_pictures"] == 2
    assert [item["scene"] for item in answer["failures"]] == ["torn"]
    assert "dog.png: no such file" in answer["failures"][0]["reason"]
    assert "scenes.jsonl:4: not JSON" in answer["problems"][0]
    assert "scenes.jsonl:4" in captured.err
    assert sorted(path.parent.name for path in drawn.glob("images/*/*.png")) == ["one", "two"]


@pytest.mark.parametrize(
    ("flags", "status", "says"),
    [
        (["--seeds", "x"], 2, "expected a number (4), a list (3,7) or a range (4-7)"),
        (["--seeds", "0"], 2, "expected at least 1"),
        (["--batch", "0"], 2, "expected at least 1"),
        (["--size", "64"], 2, "expected WIDTHxHEIGHT"),
        (["--size", "65x64"], 2, "multiples of 16"),
        (["--init", "warm"], 2, "--init 'warm': expected one of"),
        (["--layout", "circle"], 2, "layout 'circle': expected one of"),
        (["--gamma", "-1"], 2, "gamma -1"),
        (["--relative-size", "cat"], 2, "expected NAME=NUMBER"),
        (["--best-of", "0"], 2, "best_of 0"),
        (["--best-of", "2", "--faces", "examiner"], 2, "it only measures"),
        (["--steps", "0"], 2, "steps 0"),
        (["--device", "tpu9"], 2, "device 'tpu9'"),
        (["--adapter", "nowhere.safetensors"], 1, "nowhere.safetensors"),
        (["--model", "nowhere"], 1, "no such folder"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_request_says_what_to_do_and_leaves_nothing(
    flags, status: int, says: str, pair: SceneFolder, model: Path, capsys
) -> None:
    drawn = pair.path / "drawn"
    command = ["generate", pair.scenes, "--model", model, "--out", drawn, "--device", "cpu"]
    assert run(*command, *flags) == status
    captured = capsys.readouterr()
    assert says in " ".join(captured.err.split())
    assert "Traceback" not in captured.err
    assert not drawn.exists()


def test_ranges_of_seeds_and_overwriting(pair: SceneFolder, model: Path) -> None:
    drawn = pair.path / "drawn"
    command = ["generate", pair.scenes, "--model", model, "--out", drawn, *FAST]
    assert run(*command, "--seeds", "4-6") == 0
    assert sorted(path.stem for path in drawn.glob("images/one/*.png")) == ["4", "5", "6"]
    wrong = ["--size", "65x65", "--overwrite"]
    assert run(*command, *wrong) == 2
    assert len(list(drawn.glob("images/one/*.png"))) == 3, "a wrong request throws nothing away"
    assert run(*command, "--seeds", "7,", "--overwrite") == 0
    assert [path.stem for path in drawn.glob("images/one/*.png")] == ["7"]


def test_ctrl_c_keeps_what_is_finished(pair: SceneFolder, model: Path) -> None:
    drawn = pair.path / "drawn"
    command = ["generate", pair.scenes, "--model", model, "--out", drawn, "--size", "64x64"]
    command += ["--steps", 2, "--seeds", 5000, "--device", "cpu"]
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from personae.cli import main; main(sys.argv[1:])"
    )
    working = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, command)],
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 120
        while not (drawn / "images.jsonl").exists() or not (drawn / "images.jsonl").stat().st_size:
            assert working.poll() is None, working.stderr and working.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        working.send_signal(signal.SIGINT)
        _, said = working.communicate(timeout=60)
    finally:
        working.kill()
    assert working.returncode == 130, said.decode()
    assert "run the same command again" in " ".join(said.decode().split())
    rows = list(read_rows(drawn / "images.jsonl"))
    assert rows
    assert all((drawn / row["image"]).is_file() for row in rows)
    assert np.array_equal(sorted({row["seed"] for row in rows}), range(len(rows)))
