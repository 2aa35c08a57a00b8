"""Runs side by side, from files alone, and in the Hub's forms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results

from personae.cli import main
from personae.errors import DataError, RequestError
from personae.evaluation.hub_results import write_hub_results
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
        "eyes": ["faces"],
        "judge": None,
        "num_scenes": 4,
        "num_seeds": 1,
        "unverified": "",
        "account": {"told": [f"{model} left something out"]},
        "scenes": {
            f"s{n}": {"subset": "action" if n < 2 else "three", "kinds": {"a": "person"}}
            for n in range(4)
        },
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


def cells_of(board, model: str) -> dict:
    return {
        (item.subset, item.column): item
        for item in board.by_subset[model]
        if item.protocol == "strict"
    }


def test_differences_by_subset_are_of_the_pictures_that_both_have(
    runs: list[Path], tmp_path: Path
) -> None:
    base, umo = runs
    rows = [json.loads(line) for line in (umo / "results.jsonl").read_text().splitlines()]
    for item in rows:
        if item["metric"] == "strict_id_similarity":
            item["value"] += {"s0": 0.0, "s1": 0.25, "s2": -0.5, "s3": -0.5}[item["scene"]]
    # Of other eyes, of a subject of another kind, of a scene that the other run has not measured.
    rows.append(row("s0", 0, "strict_id_similarity", 0.9, "a", "strict", eyes="others"))
    rows.append(row("s0", 0, "strict_id_similarity", 0.9, "stone", "strict"))
    rows.append(row("s3", 1, "strict_id_similarity", 0.9, "a", "strict"))
    (umo / "results.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows))
    (board,) = read_boards([base, umo])
    found = cells_of(board, "umo")
    action, three, pairs = (found[name, "ID"] for name in ("action", "three", "all pairs"))
    assert (action.mean, action.n, action.n_unpaired) == (pytest.approx(0.375), 2, 0)
    assert action.ci95 == pytest.approx((0.25, 0.5))
    assert (three.mean, three.n, three.n_unpaired) == (pytest.approx(-0.25), 2, 1)
    assert (pairs.mean, pairs.n, pairs.n_unpaired) == (pytest.approx(0.0625), 4, 1)
    # Two scenes that lean one way say nothing, six may.
    assert (action.n_scenes, action.tone, three.tone) == (2, "", "")
    assert replace(action, n_scenes=6).tone == "better"
    assert replace(three, n_scenes=6).tone == "worse"
    assert replace(action, n_scenes=6, higher_is_better=False).tone == "worse"
    assert replace(pairs, n_scenes=6).tone == ""
    assert ("action", "position") not in found
    page = write_leaderboard([board], tmp_path / "page.html").read_text()
    assert "umo minus base, paired, strict" in page and "+0.375" in page and "2 pairs" in page


def test_runs_of_before_scenes_were_told_have_no_differences_by_subset(tmp_path: Path) -> None:
    old = [
        finished(tmp_path / name, name, value, scenes=None)
        for name, value in {"base": 0.25, "umo": 0.5}.items()
    ]
    (board,) = read_boards(old)
    assert board.by_subset == {"umo": ()} and board.differences["umo"][0].n == 4
    page = write_leaderboard([board], tmp_path / "page.html").read_text()
    assert "umo, strict_id_similarity: +0.250" in page


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
    assert "umo left something out" in page and "+0.25" in page and "<script" not in page


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


def test_the_hubs_model_card_holds_them_and_gives_them_back(runs, tmp_path: Path) -> None:
    (board,) = read_boards(runs)
    (path,) = write_hub_results(board.runs[1], tmp_path / "hub")
    head = path.read_text()
    card = ModelCard(f"---\nlicense: apache-2.0\n{head}---\n# umo\n")
    assert card.data.model_name == "umo"
    (result,) = card.data.eval_results
    assert (result.task_type, result.dataset_type, result.dataset_config) == (
        "text-to-image",
        "toonbench",
        "overall",
    )
    assert (result.metric_type, result.metric_value) == ("ID", 0.5)
    assert result.metric_args["n_missing"] == 0 and result.metric_args["protocol"] == "strict"
    # Written by the library and read again it is the same, also beside results of another.
    other = EvalResult(
        task_type="text-to-image",
        dataset_type="x",
        dataset_name="X",
        metric_type="y",
        metric_value=1.0,
    )
    data = ModelCardData(model_name="umo", eval_results=[result, other])
    again = ModelCard(f"---\n{data.to_yaml()}\n---\n").data.eval_results
    assert again == [result, other]
    # The form is the Hub's: names of the model index and nothing else.
    (entry,) = yaml.safe_load(head)["model-index"]
    assert set(entry) == {"name", "results"}
    (one,) = entry["results"]
    assert set(one) == {"task", "dataset", "metrics"}
    assert set(one["metrics"][0]) <= {"type", "value", "name", "config", "args", "verified"}


def test_a_dataset_of_another_form_is_refused(runs, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(["leaderboard", str(runs[0]), "--hub-dataset", "toons"])
    assert left.value.code == 2 and "SUITE=ORG/NAME" in capsys.readouterr().err
