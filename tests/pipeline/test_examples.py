from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from personae.compute.runs import read_rows
from personae.subjects.picture import read_picture
from personae.vision.toons.shipped import TOON_WEIGHTS
from tests.diffusion.tiny import save_tiny_klein

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: Path | str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ten_lines_draw_a_picture(tmp_path) -> None:
    run("03_ten_lines.py", tmp_path / "out", save_tiny_klein(tmp_path / "tiny"))
    picture = read_picture(tmp_path / "out" / "picture.png")
    assert picture.shape[2] == 3 and picture.std() > 1


def test_the_sheet_in_the_readme_is_what_the_example_draws(tmp_path) -> None:
    run("04_toon_world.py", tmp_path / "sheet.png")
    shown = read_picture(EXAMPLES.parent / "docs" / "toons.png").astype(int)
    drawn = read_picture(tmp_path / "sheet.png").astype(int)
    # Other versions of NumPy and Pillow may round a few pixels otherwise.
    assert shown.shape == drawn.shape and np.abs(shown - drawn).mean() < 0.05


@pytest.mark.slow
@pytest.mark.skipif("examiner-figures" not in TOON_WEIGHTS, reason="the examiner does not ship yet")
def test_the_whole_road_with_a_model_that_knows_nothing(tmp_path) -> None:
    said = run("02_draw_toons.py", tmp_path / "out", save_tiny_klein(tmp_path / "tiny"))
    assert "24 pictures" in said
    rows = list(read_rows(tmp_path / "out" / "toons" / "rows" / "results.jsonl"))
    assert {row["metric"] for row in rows} >= {"presence", "prompt_fidelity", "strangers"}
    assert (tmp_path / "out" / "toons" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_a_reward_is_followed_and_both_sides_are_shown(tmp_path) -> None:
    said = run("06_follow_a_reward.py", tmp_path / "out", "2")
    assert "2 steps of ReReFL" in said and "after minus before" in said
    page = (tmp_path / "out" / "reward" / "report.html").read_text()
    assert "strict_id_similarity" in page


@pytest.mark.slow
def test_two_toons_are_learned_and_drawn_together(tmp_path) -> None:
    said = run("07_personalize_toons.py", tmp_path / "out", "2")
    assert "2 steps of Seg-Mix" in said and "success" in said
    for name in ("plain", "shifted"):
        page = (tmp_path / "out" / "cast" / name / "rows" / "report.html").read_text()
        assert "strict_id_similarity" in page


@pytest.mark.slow
def test_people_are_asked_and_heard(tmp_path) -> None:
    said = run("08_ask_people.py", tmp_path)
    assert "truth-rows: 1.00 of 8" in said and "mangled-rows: 0.00 of 8" in said
    assert (tmp_path / "people" / "survey" / "survey.html").stat().st_size > 100_000
    assert "Which metric ranks" in (tmp_path / "people" / "people.html").read_text()
