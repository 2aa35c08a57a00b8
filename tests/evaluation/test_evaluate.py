"""A folder of pictures to rows: all of them, once, whatever interrupts, however many workers."""

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

from personae.compute.runs import read_json, read_rows
from personae.errors import RequestError
from personae.evaluation.evaluate import Evaluation, evaluate
from tests.conftest import SceneFolder

KEY = ("scene", "seed", "metric", "subject", "protocol", "eyes")


def smaller(pixels: np.ndarray, side: int) -> np.ndarray:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return np.asarray(image)


@pytest.fixture
def things(folder: SceneFolder, demo) -> SceneFolder:
    """Two scenes of a cat and a cup, three small pictures each."""
    references = {
        name: ("object", [folder.photo(f"{name}.png", smaller(demo["references"][name], 200))])
        for name in ("cat", "cup")
    }
    for scene, names in {
        "one": ("good", "missing", "twice"),
        "two": ("good", "blended", "swapped"),
    }.items():
        folder.scene(scene, references, relation=["cat", "left of", "cup"])
        for seed, name in enumerate(names):
            folder.picture(f"{scene}-{seed}.png", smaller(demo["pictures"][name], 240))
    return folder


def task(folder: SceneFolder, **changes) -> Evaluation:
    settings = {"scenes": folder.scenes, "images": folder.images, "out": folder.out, **changes}
    return Evaluation(**settings)


def rows_of(folder: Path) -> list[dict]:
    return list(read_rows(folder / "results.jsonl"))


def keys(rows: list[dict]) -> list[tuple]:
    return [tuple(row[name] for name in KEY) for row in rows]


def test_every_planned_row_is_there_once_and_a_second_run_does_nothing(things: SceneFolder) -> None:
    result = evaluate(task(things))
    rows = rows_of(things.out)
    assert result.problems == ()
    assert result.num_pictures == result.num_scored_now == 6
    assert len(set(keys(rows))) == len(rows) == 6 * (2 * 3 + 3 + 1)
    assert all((row["value"] is None) == bool(row["unmeasured"]) for row in rows)
    before = (things.out / "results.jsonl").read_bytes()
    assert evaluate(task(things)).num_scored_now == 0
    assert (things.out / "results.jsonl").read_bytes() == before
    summary = read_json(things.out / "summary.json")
    assert {item["metric"] for item in summary["metrics"]} == {row["metric"] for row in rows}
    assert read_json(things.out / "run.json")["eyes"]


def test_two_processes_write_the_rows_of_one(things: SceneFolder) -> None:
    evaluate(task(things))
    evaluate(task(things, out=things.path / "out2", num_workers=2))
    assert rows_of(things.out) == rows_of(things.path / "out2")


def test_both_protocols_live_in_one_folder(things: SceneFolder) -> None:
    evaluate(task(things))
    strict = rows_of(things.out)
    evaluate(task(things, protocol="official"))
    both = rows_of(things.out)
    assert both[: len(strict)] == strict
    assert {row["protocol"] for row in both[len(strict) :]} == {"official"}


def test_a_changed_picture_is_scored_again_and_a_vanished_one_leaves(things: SceneFolder) -> None:
    evaluate(task(things))
    before = {row["image"]: row for row in rows_of(things.out) if row["metric"] == "balance"}
    (things.images / "one-0.png").unlink()
    Image.open(things.images / "one-1.png").rotate(180).save(things.images / "one-2.png")
    assert evaluate(task(things)).num_scored_now == 1
    rows = rows_of(things.out)
    assert len(set(keys(rows))) == len(rows)
    assert {row["image"] for row in rows} == set(before) - {"one-0.png"}


def test_results_of_other_pictures_are_not_mixed_in(things: SceneFolder, tmp_path: Path) -> None:
    evaluate(task(things))
    (tmp_path / "other").mkdir()
    with pytest.raises(RequestError, match="holds results of other images"):
        evaluate(task(things, images=tmp_path / "other"))
    result = evaluate(task(things, images=tmp_path / "other", overwrite=True))
    assert result.num_pictures == 0
    rows = rows_of(things.out)
    assert {row["unmeasured"] for row in rows} == {"the scene has no picture"}


def test_killed_and_resumed_the_rows_are_those_of_one_run(things: SceneFolder) -> None:
    evaluate(task(things))
    expected = rows_of(things.out)
    out = things.path / "killed"
    command = [
        sys.executable,
        "-m",
        "personae",
        "evaluate",
        str(things.scenes),
        "--images",
        str(things.images),
        "--out",
        str(out),
        "--workers",
        "1",
        "--json",
    ]
    kills = 0
    for wanted in (1, 3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        journal = out / ".results.journal.jsonl"
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if journal.exists() and len(journal.read_bytes().splitlines()) >= wanted:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        process.wait()
    assert kills, "the run was over before it could be killed"
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout)["metrics"]
    assert rows_of(out) == expected


def test_ctrl_c_keeps_what_was_finished(things: SceneFolder) -> None:
    out = things.path / "stopped"
    command = [
        sys.executable,
        "-m",
        "personae",
        "evaluate",
        str(things.scenes),
        "--images",
        str(things.images),
        "--out",
        str(out),
        "--workers",
        "2",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    journal = out / ".results.journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes()):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"what was finished is kept" in errors
    assert b"Traceback" not in errors
    assert evaluate(task(things, out=out)).num_scored_now < 6
    assert len(set(keys(rows_of(out)))) == len(rows_of(out)) == 6 * 10
