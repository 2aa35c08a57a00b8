"""What is read of a results folder, and what is said of a broken one."""

import json

import pytest

from personae.errors import DataError
from personae.report.records import read_run
from tests.report.runs import CASES, write_run


def test_rows_are_gathered_by_picture(tmp_path):
    run = read_run(write_run(tmp_path))
    assert {scene for scene, _ in run.pictures} == set(CASES)
    good = run.pictures["good", 0]
    assert good.mean(run.main_column()) == 0.8
    assert good.mean(run.columns["strict_id_similarity", "strict"]) == pytest.approx(0.7)
    assert json.loads(good.groups[0])["match"] == [0, 1]
    assert run.image_path(good) == tmp_path / "images" / "good" / "0.png"


def test_unmeasured_is_not_a_number(tmp_path):
    run = read_run(write_run(tmp_path))
    lost = run.pictures["lost", 0]
    assert lost.mean(run.main_column()) is None
    assert lost.presence["ann"].status == "unmeasured"
    assert run.image_path(lost) is None


def test_no_rows_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"results\.jsonl is missing"):
        read_run(tmp_path)


@pytest.mark.parametrize("line", ["{broken", "[1, 2]", '{"scene": "a"}'])
def test_a_broken_line_is_named(tmp_path, line):
    folder = write_run(tmp_path, cases=("good",))
    path = folder / "results.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:6], line, *lines[6:]]) + "\n")
    with pytest.raises(DataError, match=r"results\.jsonl:7"):
        read_run(folder)


def test_a_cut_off_last_line_is_left_out_with_a_note(tmp_path):
    folder = write_run(tmp_path, cases=("good", "absent"))
    path = folder / "results.jsonl"
    path.write_text(path.read_text()[:-20])
    run = read_run(folder)
    assert len(run.pictures) == 2
    assert any("cut off" in note for note in run.notes)


@pytest.mark.parametrize("name", ["run.json", "summary.json"])
def test_broken_facts_are_named(tmp_path, name):
    folder = write_run(tmp_path, cases=("good",))
    (folder / name).write_text("{")
    with pytest.raises(DataError, match=name):
        read_run(folder)


def test_missing_facts_and_scenes_do_no_harm(tmp_path):
    folder = write_run(tmp_path, cases=("good",))
    for name in ("run.json", "summary.json", "scenes.jsonl"):
        (folder / name).unlink()
    run = read_run(folder)
    assert run.summary is None
    assert any("scenes.jsonl was not found" in note for note in run.notes)


def test_a_broken_scene_is_named_and_the_others_kept(tmp_path):
    folder = write_run(tmp_path, cases=("good",))
    path = folder / "scenes.jsonl"
    path.write_text('{"nothing": 1}\n' + path.read_text())
    run = read_run(folder)
    assert "good" in run.prompts
    assert any("line 1 " in note for note in run.notes)


def test_protocols_get_columns_of_their_own(tmp_path):
    folder = write_run(tmp_path, cases=("good",))
    path = folder / "results.jsonl"
    row = json.loads(path.read_text().splitlines()[0]) | {"protocol": "official", "value": 0.1}
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    run = read_run(folder)
    assert "strict_matching_reward (strict)" in run.labels()
    assert "strict_matching_reward (official)" in run.labels()
    # The two rows hold the same boxes, which are drawn once.
    assert len(run.pictures["good", 0].groups) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"match": [0]},
        {"match": [0, 7]},
        {"strangers": [2]},
        {"similarity": [[0.7], [0.1]]},
        {"boxes": [[1, 2, 3], [4, 5, 6]]},
    ],
)
def test_a_matrix_that_does_not_fit_is_named(tmp_path, change):
    folder = write_run(tmp_path, cases=("good",))
    path = folder / "results.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[0])
    row["details"] |= change
    path.write_text("\n".join([json.dumps(row), *lines[1:]]) + "\n")
    with pytest.raises(DataError, match=r"results\.jsonl:1"):
        read_run(folder)


def test_not_a_number_is_unmeasured(tmp_path):
    folder = write_run(tmp_path, cases=("good",))
    path = folder / "results.jsonl"
    path.write_text(path.read_text().replace("0.8,", "NaN,"))
    picture = read_run(folder).pictures["good", 0]
    assert picture.mean(0) is None
    assert json.loads(picture.groups[0])["similarity"][1] == [0.15, 0.8]


def test_no_box_leaves_every_subject_unmatched(tmp_path):
    folder = write_run(tmp_path, cases=("good",))
    path = folder / "results.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[0])
    row["details"] |= {"boxes": [], "similarity": [], "match": []}
    path.write_text("\n".join([json.dumps(row), *lines[1:]]) + "\n")
    group = json.loads(read_run(folder).pictures["good", 0].groups[0])
    assert (group["similarity"], group["match"]) == ([[], []], [None, None])
