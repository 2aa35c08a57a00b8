from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personae.errors import DataError, RequestError
from personae.evaluation.select import select_examples


def written(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Eight pictures: two subjects each, the last one unmeasured, one that could not be drawn."""
    drawn, results = tmp_path / "drawn", tmp_path / "results"
    images = [
        {"scene": f"s{n}", "seed": 0, "image": f"images/s{n}/0.png", "prompt": f"olis girl {n}"}
        for n in range(8)
    ]
    images.append({"scene": "s8", "seed": 0, "image": None, "prompt": "", "error": "too large"})
    written(drawn / "images.jsonl", images)
    rows = []
    for n in range(8):
        whole = {"scene": f"s{n}", "seed": 0, "subject": None}
        rows.append({**whole, "metric": "strict_detect_and_compare", "value": n / 10})
        for subject, value in (("a", 0.9), ("b", 1 - n / 10)):
            row = {**whole, "subject": subject, "metric": "presence", "value": value}
            rows.append(row)
    rows[-3]["value"] = None
    rows[-1]["value"] = None
    written(results / "results.jsonl", rows)
    return drawn, results


def kept(drawn: Path) -> list[str]:
    return [json.loads(line)["id"] for line in (drawn / "examples.jsonl").read_text().splitlines()]


def test_the_best_are_kept_with_their_prompts(folders: tuple[Path, Path]) -> None:
    seen = select_examples(*folders, top=0.5)
    assert (seen.num_kept, seen.num_seen, seen.num_unmeasured) == (4, 8, 1)
    assert kept(folders[0]) == ["s6-0", "s5-0", "s4-0", "s3-0"] and seen.least == 0.3
    first = json.loads(seen.path.read_text().splitlines()[0])
    assert first["prompt"] == "olis girl 6" and first["image"] == "images/s6/0.png"


def test_a_picture_is_as_good_as_its_worst_subject(folders: tuple[Path, Path]) -> None:
    select_examples(*folders, by="presence", top=2 / 7)
    assert kept(folders[0]) == ["s0-0", "s1-0"]


def test_a_floor_may_leave_nothing_and_says_so(folders: tuple[Path, Path]) -> None:
    seen = select_examples(*folders, top=1.0, at_least=0.95)
    assert seen.num_kept == 0 and seen.least is None and kept(folders[0]) == []
    assert select_examples(*folders, top=1.0, at_least=0.4).num_kept == 3


def test_what_cannot_be_selected(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="strict_detect_and_compare"):
        select_examples(*folders, by="beauty")
    with pytest.raises(RequestError, match=r"share in \(0, 1\]"):
        select_examples(*folders, top=0)
    with pytest.raises(DataError, match="run `personae evaluate`"):
        select_examples(*folders, by="balance")
    written(tmp_path / "empty" / "images.jsonl", [])
    with pytest.raises(DataError, match="run `personae generate` first"):
        select_examples(tmp_path / "empty", folders[1])
