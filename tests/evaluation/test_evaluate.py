"""A folder of pictures to rows: all of them, once, whatever interrupts, however many workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from personae.compute.runs import read_json, read_rows
from personae.errors import RequestError
from personae.evaluation.evaluate import Evaluation, evaluate
from tests.conftest import SceneFolder

PAD = ((40, 40), (40, 40), (0, 0))
KEY = ("scene", "seed", "metric", "subject", "protocol", "eyes")


@pytest.fixture
def people(folder: SceneFolder) -> SceneFolder:
    """Two scenes of two people, three small pictures each: faces are quick to look at."""
    faces = {"ann": data.astronaut()[:200, 120:320], "bob": enlarged(data.lfw_subset()[5])}
    references = {
        name: ("person", [folder.photo(f"{name}.png", np.pad(face, PAD, mode="edge"))])
        for name, face in faces.items()
    }
    cases = {
        "one": (("ann", "bob"), ("ann",), ("ann", "ann")),
        "two": (("bob", "ann"), ("bob",), ()),
    }
    for scene, pictures in cases.items():
        folder.scene(scene, references, relation=["ann", "left of", "bob"])
        for seed, names in enumerate(pictures):
            picture = np.full((280, 520, 3), 100 + 10 * seed, np.uint8)
            for place, name in enumerate(names):
                picture[40:240, 40 + 240 * place : 240 + 240 * place] = faces[name]
            folder.picture(f"{scene}-{seed}.png", picture)
    return folder


def enlarged(face: np.ndarray) -> np.ndarray:
    """A small grey face as a photo, (200, 200, 3) uint8."""
    grey = Image.fromarray((face * 255).clip(0, 255).astype(np.uint8))
    return np.asarray(grey.resize((200, 200), Image.Resampling.BICUBIC).convert("RGB"))


def task(folder: SceneFolder, **changes) -> Evaluation:
    settings = {"scenes": folder.scenes, "images": folder.images, "out": folder.out, **changes}
    return Evaluation(**settings)


def rows_of(folder: Path) -> list[dict]:
    return list(read_rows(folder / "results.jsonl"))


def keys(rows: list[dict]) -> list[tuple]:
    return [tuple(row[name] for name in KEY) for row in rows]


def evaluate_command(folder: SceneFolder, out: Path, *more: str) -> list[str]:
    """The command line, to be run in a process of its own."""
    arguments = [str(folder.scenes), "--images", str(folder.images), "--out", str(out)]
    return [sys.executable, "-m", "personae", "evaluate", *arguments, *more]


def test_every_planned_row_is_there_once_and_a_second_run_does_nothing(people: SceneFolder) -> None:
    result = evaluate(task(people))
    rows = rows_of(people.out)
    assert result.problems == ()
    assert result.num_pictures == result.num_scored_now == 6
    assert len(set(keys(rows))) == len(rows) == 6 * (2 * 3 + 5 + 1)
    assert all((row["value"] is None) == bool(row["unmeasured"]) for row in rows)
    absent = [row for row in rows if (row["details"] or {}).get("absent")]
    assert absent
    assert all(row["value"] == 0 for row in absent)
    before = (people.out / "results.jsonl").read_bytes()
    assert evaluate(task(people)).num_scored_now == 0
    assert (people.out / "results.jsonl").read_bytes() == before
    summary = read_json(people.out / "summary.json")
    assert {item["metric"] for item in summary["metrics"]} == {row["metric"] for row in rows}
    assert read_json(people.out / "run.json")["eyes"]


def test_two_processes_write_the_rows_of_one(people: SceneFolder) -> None:
    evaluate(task(people))
    evaluate(task(people, out=people.path / "out2", num_workers=2))
    assert rows_of(people.out) == rows_of(people.path / "out2")


def test_both_protocols_live_in_one_folder(people: SceneFolder) -> None:
    evaluate(task(people))
    strict = rows_of(people.out)
    evaluate(task(people, protocol="official"))
    both = rows_of(people.out)
    assert both[: len(strict)] == strict
    assert {row["protocol"] for row in both[len(strict) :]} == {"official"}


def test_a_changed_picture_is_scored_again_and_a_vanished_one_leaves(people: SceneFolder) -> None:
    evaluate(task(people))
    before = {row["image"]: row for row in rows_of(people.out) if row["metric"] == "balance"}
    (people.images / "one-0.png").unlink()
    Image.open(people.images / "one-1.png").rotate(180).save(people.images / "one-2.png")
    assert evaluate(task(people)).num_scored_now == 1
    rows = rows_of(people.out)
    assert len(set(keys(rows))) == len(rows)
    assert {row["image"] for row in rows} == set(before) - {"one-0.png"}


def test_results_of_other_pictures_are_not_mixed_in(people: SceneFolder, tmp_path: Path) -> None:
    evaluate(task(people))
    (tmp_path / "other").mkdir()
    with pytest.raises(RequestError, match="holds results of other images"):
        evaluate(task(people, images=tmp_path / "other"))
    result = evaluate(task(people, images=tmp_path / "other", overwrite=True))
    assert result.num_pictures == 0
    rows = rows_of(people.out)
    assert {row["unmeasured"] for row in rows} == {"the scene has no picture"}


def test_killed_and_resumed_the_rows_are_those_of_one_run(people: SceneFolder) -> None:
    evaluate(task(people))
    expected = rows_of(people.out)
    out = people.path / "killed"
    command = evaluate_command(people, out, "--workers", "1", "--json")
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


def _hear_ctrl_c() -> None:
    # A background job starts with SIGINT ignored, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_keeps_what_was_finished(people: SceneFolder) -> None:
    for seed in range(3, 21):
        shutil.copy(people.images / "one-0.png", people.images / f"one-{seed}.png")
    out = people.path / "stopped"
    command = evaluate_command(people, out, "--workers", "2")
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_hear_ctrl_c,  # noqa: PLW1509 - no threads here that a fork could break
    )
    journal = out / ".results.journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes()):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"what was finished is kept" in errors
    assert b"Traceback" not in errors
    assert evaluate(task(people, out=out)).num_scored_now < 24
    assert len(set(keys(rows_of(out)))) == len(rows_of(out)) == 24 * 12
