"""Runs side by side, from files alone, and in the Hub's forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results

from personae.cli import main
from personae.errors import DataError, RequestError
from personae.evaluation.leaderboard import read_boards
from personae.report.leaderboard_page import write_leaderboard
from tests.evaluation.test_suite_table import row


def cell(mean, n=4, missing=0, reason=""):
    ends = None if mean is None else [mean - 0.1, mean + 0.1]
    return {"mean": mean, "ci95": ends, "n": n, "n_missing": missing, "reason": reason}


def finished(folder: Path, model: str, value: float, **changes) -> Path:
    """A run of ToonBench as `personae bench` leaves it."""
    folder.mkdir(parents=True)
    line = {"subset": "overall", "protocol": "strict"}
    data = {
        "suite": "toonbench",
        "model": model,
        "eyes": ["examiner"],
        "judge": None,
        "num_scenes": 4,
        "num_seeds": 1,
        "unverified": "",
        "account": {"told": [f"{model} left something out"]},
        "lines": [
            {**line, "cells": {"ID": cell(value), "SA": cell(None, 0, 4, "nobody was asked")}}
        ],
    }
    (folder / "bench.json").write_text(json.dumps({**data, **changes}))
    rows = [
        row(f"s{number}", 0, "strict_id_similarity", value + number / 100, "a", "strict")
        for number in range(4)
    ] + [row("s0", 0, "strangers", 1.0, None, "strict")]
    (folder / "results.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        finished(tmp_path / "1" / "out", "base", 0.25),
        finished(tmp_path / "2" / "out", "umo", 0.5),
    ]


def test_differences_are_paired_and_of_the_suites_columns(runs: list[Path]) -> None:
    (board,) = read_boards(runs)
    (difference,) = board.differences["umo"]
    assert difference.metric == "strict_id_similarity"
    assert (difference.mean, difference.n) == (pytest.approx(0.25), 4)
    assert not board.cautions


def test_runs_that_do_not_compare_are_told_of(runs: list[Path], tmp_path: Path) -> None:
    other = finished(tmp_path / "3", "blind", 0.9, eyes=["toons"], num_seeds=2)
    (board,) = read_boards([*runs, other])
    assert len(board.cautions) == 2 and "differ in eyes" in board.cautions[0]
    with pytest.raises(RequestError, match="both called 'umo'"):
        read_boards([*runs, finished(tmp_path / "4", "umo", 0.1)])
    (tmp_path / "5").mkdir()
    with pytest.raises(DataError, match="no such file"):
        read_boards([tmp_path / "5"])
    (tmp_path / "5" / "bench.json").write_text('{"settings": {"suite": "toonbench"}}')
    with pytest.raises(DataError, match="no finished run"):
        read_boards([tmp_path / "5"])


def test_the_page_has_the_best_first(runs: list[Path], tmp_path: Path) -> None:
    page = write_leaderboard(read_boards(runs), tmp_path / "page.html").read_text()
    assert page.index("umo, strict") < page.index("base, strict")
    assert "umo left something out" in page and "+0.250" in page and "<script" not in page


def test_the_hubs_own_readers_read_what_is_written(runs, tmp_path: Path, capsys) -> None:
    hub = tmp_path / "hub"
    arguments = ["--hub", str(hub), "--hub-dataset", "toonbench=me/toons", "--json"]
    with pytest.raises(SystemExit) as left:
        main(["leaderboard", *map(str, runs), *arguments])
    assert left.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["hub"]) == 4 and said["boards"][0]["runs"][1]["model"] == "umo"
    folder = hub / "toonbench_umo"
    index = yaml.safe_load((folder / "model-index.yml").read_text())["model-index"]
    name, results = model_index_to_eval_results(index)
    # What is unmeasured is not written.
    assert (name, [item.metric_value for item in results]) == ("umo", [0.5])
    assert results[0].metric_args["ci95"] == [0.4, 0.6]
    listed = yaml.safe_load((folder / ".eval_results" / "toonbench.yaml").read_text())
    (entry,) = parse_eval_result_entries(listed)
    assert (entry.dataset_id, entry.task_id) == ("me/toons", "overall/ID/strict")
    assert entry.value == 0.5 and "n_missing 0" in entry.notes


def test_a_dataset_of_another_form_is_refused(runs, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(["leaderboard", str(runs[0]), "--hub-dataset", "toons"])
    assert left.value.code == 2 and "SUITE=ORG/NAME" in capsys.readouterr().err
