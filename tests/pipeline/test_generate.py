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
from tests.vision.test_language_endpoint import KEY, chat, serving

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
    flags += ["--regions", "--region-weight", 0.5]
    command = ["generate", pair.scenes, "--model", model, "--seeds", "3,5", *FAST, *flags]
    assert run(*command, "--out", pair.path / "drawn") == 0
    found = list(read_rows(pair.path / "drawn" / "images.jsonl"))
    assert {row["seed"] for row in found} == {3, 5}
    row = found[0]
    assert row["adapter"] == f"{tmp_path / 'lora'}@1"
    assert (row["steps"], row["width"], row["height"]) == (2, 64, 64)
    assert (row["guidance"], row["reference_guidance"]) == (1.5, 2.5)
    assert row["sampler"] == "FlowMatchEulerDiscreteScheduler"
    boxes = row["init"].pop("boxes")
    assert row["init"] == {"kind": "mean-shift", "gamma": 0.4, "layout": "random"}
    assert (row["regions"]["weight"], row["regions"]["boxes"]) == (0.5, boxes)
    assert set(row["regions"]["prompts"]) == set(boxes) == {"cat", "cup"}
    assert row["best_of"]["n"] == len(row["best_of"]["scores"]) == 2
    assert row["best_of"]["rater"].startswith("strict_matching_reward by ")
    capsys.readouterr()
    assert run("generate", pair.scenes, "--model", model, *FAST, "--out", pair.path / "drawn") == 2
    said = " ".join(capsys.readouterr().err.split())
    for differing in ("weights", "guidance 1.5", "gamma 0.4", "best_of 2"):
        assert differing in said
    assert "--overwrite" in said


def test_an_endpoint_plans_and_its_key_is_written_nowhere(
    pair: SceneFolder, model: Path, capsys, monkeypatch
) -> None:
    pair.scenes.write_text(pair.lines[0])
    monkeypatch.setenv("PERSONAE_LLM_KEY", KEY)
    drawn = pair.path / "drawn"
    layout = {"cup": [0.5, 0.6, 0.95, 0.95], "cat": [0.05, 0.6, 0.45, 0.95]}
    command = ["generate", pair.scenes, "--model", model, *FAST, "--out", drawn, "--json"]
    command += ["--init", "mean-shift", "--layout", "llm"]
    busy = (429, {"Retry-After": "0"}, b"")
    with serving(busy, (200, {}, chat("Sure!")), (200, {}, chat(json.dumps(layout)))) as endpoint:
        asking = [*command, "--llm-url", endpoint.url, "--llm-model", "planner-1"]
        assert run(*asking) == 0
        assert len(endpoint.asked) == 3
        assert run(*asking, "--seeds", 2) == 0
        assert len(endpoint.asked) == 3, "the second time nobody is asked"
        capsys.readouterr()
        assert run(*asking[:-1], "planner-2") == 2
    said = capsys.readouterr()
    assert "planner" in said.err
    assert all(KEY.encode() not in path.read_bytes() for path in drawn.rglob("*") if path.is_file())
    assert KEY not in said.err + said.out
    row = next(read_rows(drawn / "images.jsonl"))
    assert row["init"]["planner_model"] == f"planner-1 at {endpoint.url}"
    assert list(row["init"]["boxes"]) == ["cup", "cat"], "from back to front"


def test_a_refused_key_fails_every_scene_and_is_not_shown(
    pair: SceneFolder, model: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("PERSONAE_LLM_KEY", KEY)
    drawn = pair.path / "drawn"
    command = ["generate", pair.scenes, "--model", model, *FAST, "--out", drawn]
    command += ["--regions", "--layout", "llm", "--llm-model", "planner-1"]
    with serving((401, {}, f"bad key {KEY}".encode())) as endpoint:
        assert run(*command, "--llm-url", endpoint.url) == 1
    said = capsys.readouterr()
    assert "status 401" in said.err
    assert KEY not in said.err + said.out
    assert all(KEY.encode() not in path.read_bytes() for path in drawn.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--layout", "llm"], "who plans?"),
        (["--layout", "llm", "--llm-url", "http://127.0.0.1:1/v1"], "who plans?"),
        (["--llm-model", "m"], "add --layout llm"),
        (["--layout", "llm", "--llm-model", "m", "--llm-url", "nowhere"], "--llm-url"),
        (["--layout", "circle"], "expected one of"),
        (["--region-weight", 2], "region_weight"),
    ],
)
def test_flags_of_planning_that_do_not_fit_are_refused(
    pair: SceneFolder, flags, says, capsys
) -> None:
    out = pair.path / "drawn"
    assert run("generate", pair.scenes, "--model", "nothing", "--out", out, *flags) == 2
    assert says in " ".join(capsys.readouterr().err.split())


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
