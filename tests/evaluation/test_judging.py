"""Judges in a run: rows, resuming, and what a judge that fails or dies leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from personae.compute.runs import RowLog, read_rows
from personae.errors import RequestError
from personae.evaluation.judging import judge_shots
from personae.evaluation.measure import Shot
from personae.evaluation.suites.asked import AskedAlignment, AskedOverall, AskedTree
from personae.subjects.scene import Scene
from personae.subjects.subject import ReferenceFile, Subject
from personae.vision.judges import Judgement, QuestionTree
from tests.evaluation.suites.folders import photo


class Judge:
    """Says the next of its marks; a text is the reason for none, an error is raised."""

    name, num_threads, settings = "judge|one", 1, {}

    def __init__(self, *marks) -> None:
        self.marks, self.asked = list(marks), []

    def judge(self, question, repeat=0):
        self.asked.append((question.criterion, repeat))
        mark = self.marks.pop(0)
        if isinstance(mark, Exception):
            raise mark
        return Judgement.missing(mark) if isinstance(mark, str) else Judgement(float(mark))


@pytest.fixture
def shots(tmp_path: Path) -> list[Shot]:
    reference = ReferenceFile(photo(tmp_path / "ref.png"))
    scenes = [
        Scene(f"s{n}", "a {cat}", {"cat": Subject("cat", "cat", "animal", (reference,))})
        for n in range(4)
    ]
    return [
        Shot(scene, 0, photo(tmp_path / f"{scene.id}.png", n), f"{scene.id}.png")
        for n, scene in enumerate(scenes)
    ]


def run(tmp_path: Path, judge: Judge, shots, asked):
    with RowLog(tmp_path / "results.jsonl") as log:
        account = judge_shots(
            judge, {shot.scene.id: [asked] for shot in shots}, shots, log, lambda shot: "stamp"
        )
    return account, list(read_rows(tmp_path / "results.jsonl"))


ALIGNMENT = AskedAlignment("action", strict=False)


def test_a_judge_that_dies_in_the_middle_loses_nothing_and_counts_nothing_twice(
    shots, tmp_path: Path
) -> None:
    dying = Judge(8, 6, RequestError("the key was taken back"))
    account, rows = run(tmp_path, dying, shots, ALIGNMENT)
    assert [row["value"] for row in rows] == [0.8, 0.6]
    assert (account.num_pictures, account.num_judged, account.num_not_asked) == (4, 2, 2)
    assert account.stopped == "the key was taken back"
    again = Judge(4, 2)
    account, rows = run(tmp_path, again, shots, ALIGNMENT)
    assert [(row["scene"], row["value"]) for row in rows] == [
        ("s0", 0.8),
        ("s1", 0.6),
        ("s2", 0.4),
        ("s3", 0.2),
    ]
    assert len(again.asked) == 2 and account.num_judged == 4 and not account.stopped
    account, rows = run(tmp_path, Judge(), shots, ALIGNMENT)
    assert len(rows) == 4 and account.num_judged == 4


def test_a_silent_judge_leaves_a_reason_and_is_asked_again(shots, tmp_path: Path) -> None:
    account, rows = run(tmp_path, Judge(8, "status 500", 6, "status 500"), shots, ALIGNMENT)
    assert [row["value"] for row in rows] == [0.8, None, 0.6, None]
    assert rows[1]["unmeasured"] == "status 500" and rows[1]["eyes"] == "judge|one"
    assert account.num_missing == 2 and account.reasons == {"status 500": 2}
    account, rows = run(tmp_path, Judge(1, 2), shots, ALIGNMENT)
    assert sorted((row["scene"], row["value"]) for row in rows) == [
        ("s0", 0.8),
        ("s1", 0.1),
        ("s2", 0.6),
        ("s3", 0.2),
    ]
    assert account.num_judged == 4 and account.num_missing == 0


def test_the_published_loop_keeps_the_last_of_three_the_strict_one_their_mean(
    shots, tmp_path: Path
) -> None:
    judge = Judge(1, 1, 9, 4, 4, 4)
    _, rows = run(tmp_path, judge, shots[:1], AskedOverall())
    by_hand = {row["metric"]: row["value"] for row in rows}
    assert by_hand["omnicontext_overall"] == pytest.approx(6.0)
    assert by_hand["strict_omnicontext_overall"] == pytest.approx((11 / 3 * 4) ** 0.5, abs=1e-6)
    assert [repeat for _, repeat in judge.asked] == [0, 1, 2, 0, 1, 2]


def test_a_tree_gives_both_protocols_a_row(shots, tmp_path: Path) -> None:
    tree = QuestionTree("a cat", {"1": "A cat?", "2": "Grey?"}, {"1": (), "2": ("1",)})
    _, rows = run(tmp_path, Judge(0, 1), shots[:1], AskedTree(tree))
    assert {(row["metric"], row["protocol"]): row["value"] for row in rows} == {
        ("dpg_score", "official"): 0.0,
        ("strict_dpg_score", "strict"): 0.0,
    }
    rows = run(tmp_path / "silent", Judge(1, "no"), shots[:1], AskedTree(tree))[1]
    assert [row["value"] for row in rows] == [1.0, None]


def test_what_cannot_be_read_is_not_asked_about(shots, tmp_path: Path) -> None:
    shots[0].path.write_bytes(b"")
    shots[1] = Shot(shots[1].scene)
    shots[2].scene.subjects["cat"].references[0].image.unlink()
    account, rows = run(tmp_path, Judge(), shots[:3], AskedAlignment("action", strict=True))
    assert [row["value"] for row in rows] == [None] * 3 and account.num_missing == 3
    for row, part in zip(rows, ("empty", "no picture", "no such file"), strict=True):
        assert part in row["unmeasured"]
