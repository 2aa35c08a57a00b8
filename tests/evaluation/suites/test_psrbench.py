"""PSRBench's items to scenes, and its arithmetic by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from personae.errors import DataError
from personae.evaluation.suite_table import suite_table
from personae.evaluation.suites.psrbench import PSRBENCH, first_relation
from personae.evaluation.suites.suite import SuiteOptions, missing_files
from personae.metrics.evidence import Evidence, Gallery
from personae.metrics.scoring import group_scores
from personae.subjects.box import Box
from personae.vision.protocols import Detection
from tests.evaluation.suites.folders import photo
from tests.evaluation.test_suite_table import row

POSITION = "The airplane is to the left of the trolley, above it all."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    def write(name, items):
        (tmp_path / f"{name}.json").write_text(json.dumps(items))

    def item(instruction, paths, nouns, key="input_path", **more):
        told = {f"category{place}": noun for place, noun in enumerate(nouns, start=1)}
        return {"instruction": instruction, key: paths, **told, **more}

    pair = ["subjects/airplane.jpg", "subjects/trolley.jpg"]
    write("position_bench", [item(POSITION, pair, ["airplane", "trolley"])])
    cats = ["animals/cat.png", "animals/cat2.png"]
    write(
        "action",
        [
            item("The cat sleeps, and the cat eats.", cats, ["cat", "cat"], "input_paths"),
            item("The cat sleeps.", "animals/cat.png", ["cat"]),
            item("The cat sleeps.", cats, ["cat"]),
            item("The cat runs.", cats[:1], ["cat"], result_path="made/7.png"),
        ],
    )
    for number, path in enumerate([*pair, *cats]):
        photo(tmp_path / path, number)
    photo(tmp_path / "made" / "7.png")
    return tmp_path


def test_items_become_scenes_whatever_the_key_and_bad_ones_are_told_of(folder: Path) -> None:
    (folder / "animals" / "cat2.png").unlink()
    loaded = PSRBENCH.load(folder, SuiteOptions())
    scenes = {scene.id: scene for scene in loaded.scenes}
    assert list(scenes) == ["action-000", "action-003", "position-000"]
    cats = scenes["action-000"]
    assert cats.prompt == "The {cat} sleeps, and the {cat-2} eats."
    assert [subject.kind for subject in cats.subjects.values()] == ["animal", "animal"]
    assert missing_files(loaded) == {folder / "animals" / "cat2.png": ["action-000"]}
    assert loaded.given == {"action-003": (folder / "made" / "7.png",)}
    told = "\n".join(loaded.problems)
    assert "item 1: input_path" in told and "item 2: category2" in told
    assert sum("50 items are left out" in text for text in loaded.problems) == 5
    relation = scenes["position-000"].relation
    assert (relation.first, relation.words, relation.second) == (
        "airplane",
        "to the left of",
        "trolley",
    )
    assert "position-000" not in loaded.asked
    assert [one.strict for one in loaded.asked["action-000"]] == [False, True]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no item of PSRBench"):
        PSRBENCH.load(tmp_path, SuiteOptions())


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ("it is under the lamp, on top of the box", "on top of"),
        ("above the box, to the right of the lamp", "to the right of"),
        ("next to the box", None),
    ],
)
def test_the_first_of_the_list_counts_not_of_the_sentence(instruction, words) -> None:
    assert first_relation(instruction) == words


def test_the_position_subsets_alignment_is_its_position_score(folder: Path) -> None:
    loaded = PSRBENCH.load(folder, SuiteOptions())
    rows = [
        row("position-000", 0, "position_score", 1.0),
        row("position-000", 0, "subject_consistency", 0.5, "airplane"),
        row("position-000", 0, "subject_consistency", None, "trolley", why="not found"),
        row("action-000", 0, "semantic_alignment", 0.5, eyes="judge"),
        row("action-000", 0, "hps_v3", 11.0),
    ]
    lines = suite_table(
        loaded, rows, protocols=("official",), eyes=frozenset({"faces", "judge"}), num_seeds=1
    )
    cells = {line.subset: line.cells for line in lines}
    assert cells["position"]["SA"].mean == 1.0
    # What the program would have guessed (the whole picture as the trolley) is left out.
    assert (cells["position"]["SC"].mean, cells["position"]["SC"].n_missing) == (0.5, 1)
    assert (cells["action"]["SA"].mean, cells["action"]["SA"].n_missing) == (0.5, 1)
    assert cells["action"]["HPS"].mean == pytest.approx(1.1)
    assert cells["overall"]["SA"].mean == 0.75


def evidence(nouns: dict[str, str], found: list[str | None], similarity) -> Evidence:
    names, values = tuple(nouns), np.array(similarity)
    boxes = [
        Detection(Box(50.0 * n, 0, 50.0 * n + 40, 40), 0.9, who) for n, who in enumerate(found)
    ]
    known = {name: torch.ones(1, 2) for name in names}
    square = np.eye(len(names))
    gallery = Gallery(
        names, nouns, dict.fromkeys(names, ()), known, {}, {}, (), square, square, {}, {}, {}
    )
    return Evidence(
        "thing", "eyes", 0.5, gallery, names, tuple(boxes), values, values, {}, {}, (200, 200)
    )


def consistency(seen: Evidence, metric="subject_consistency") -> dict:
    return {
        item.subject: item.value for item in group_scores("official", seen) if item.metric == metric
    }


def test_two_of_a_category_take_the_boxes_in_the_detectors_order() -> None:
    """The published fault: a right picture that is swapped is punished."""
    nouns, swapped = {"a": "cat", "b": "cat"}, [[0.1, 0.9], [0.8, 0.2]]
    assert consistency(evidence(nouns, [None, None], swapped)) == {"a": 0.1, "b": 0.2}
    assert consistency(evidence(nouns, [None], [[0.9], [0.8]])) == {"a": 0.9, "b": None}


def test_three_with_a_shared_category_share_its_first_box() -> None:
    seen = evidence(
        {"a": "cat", "b": "cat", "c": "mug"},
        [None, None, "c"],
        [[0.1, 0.9, 0.0], [0.8, 0.2, 0.0], [0.0, 0.0, 0.7]],
    )
    assert consistency(seen) == {"a": 0.1, "b": 0.8, "c": 0.7}
    # XVerseBench's instead takes the most similar of a noun's boxes.
    assert consistency(seen, "ip_similarity") == {"a": 0.9, "b": 0.8, "c": 0.7}


def test_published_overall_is_near_the_mean_of_the_digitised_subsets() -> None:
    """psr.md 5.2: row means reproduce the overall to 0.003 where every marker is visible."""
    rows = PSRBENCH.card.published
    read = [row for row in rows if row.model == "PSR" and row.mark == "digitised"]
    (overall,) = [row for row in rows if row.model == "PSR" and row.subset == "overall"]
    assert len(read) == 7 and overall.mark == "second-hand"
    for column in ("SC", "HPS", "SA"):
        mean = sum(row.values[column] for row in read) / 7
        assert mean == pytest.approx(overall.values[column], abs=0.0035)
