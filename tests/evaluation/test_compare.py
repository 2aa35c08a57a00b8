"""Two runs, paired by key, and the gate for a user's own tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personae.cli import main
from personae.errors import RequestError
from personae.evaluation.compare import compare_runs, failed_gates, parse_gate


def row(scene: str, value: float | None, metric: str = "strict_id_similarity", **more) -> dict:
    return {
        "scene": scene,
        "seed": 0,
        "image": f"{scene}.png",
        "metric": metric,
        "subject": "ann",
        "protocol": "strict",
        "eyes": "e",
        "value": value,
        "unmeasured": None if value is not None else "gone",
        "details": None,
        **more,
    }


def written(folder: Path, *rows: dict) -> Path:
    folder.mkdir()
    (folder / "results.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    before = [row(str(n), 0.5 + 0.01 * n) for n in range(10)]
    after = [row(str(n), 0.45 + 0.01 * n) for n in range(9, -1, -1)]
    return (
        written(tmp_path / "a", *before, row("only here", 1.0), row("lost", 0.9)),
        written(tmp_path / "b", *after, row("lost", None), row("x", 3, "strangers")),
    )


def test_rows_are_paired_by_key_not_by_place(runs) -> None:
    by_name = {item.metric: item for item in compare_runs(*runs)}
    item = by_name["strict_id_similarity"]
    assert item.n == 10
    assert item.n_unpaired == 2
    assert item.mean == pytest.approx(-0.05)
    assert item.ci95 == pytest.approx((-0.05, -0.05))
    assert item.first - item.second == pytest.approx(0.05)
    assert by_name["strangers"].n == 0
    assert by_name["strangers"].mean is None


@pytest.mark.parametrize(
    ("gate", "fails"),
    [
        ("strict_id_similarity<-0.02", True),
        ("strict_id_similarity < -0.06", False),
        ("strict_id_similarity.low<=-0.049", True),
        ("strict_id_similarity.high>0", False),
        ("strangers>0.5", True),
    ],
)
def test_a_gate_decides_the_exit_status(gate: str, fails: bool, runs, capsys) -> None:
    assert bool(failed_gates([parse_gate(gate)], compare_runs(*runs))) is fails
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, runs), "--fail-if", gate, "--json"])
    assert ended.value.code == (1 if fails else 0)
    assert json.loads(capsys.readouterr().out)["failed"] == ([gate] if fails else [])


@pytest.mark.parametrize("text", ["presence", "presence<", "presence.mid<1", "Presence<1", "a=1"])
def test_a_gate_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="expected METRIC<NUMBER"):
        parse_gate(text)


def test_a_gate_on_an_unknown_metric_is_refused(runs) -> None:
    with pytest.raises(RequestError, match=r"no metric 'presense' here; known are"):
        failed_gates([parse_gate("presense<0")], compare_runs(*runs))


def test_runs_without_a_common_row_are_refused(tmp_path: Path) -> None:
    first = written(tmp_path / "a", row("1", 0.5))
    second = written(tmp_path / "b", row("2", 0.5))
    with pytest.raises(RequestError, match="no measured row in common"):
        compare_runs(first, second)
