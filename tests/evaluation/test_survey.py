"""Results folders to a survey: what is asked about, what the key knows, what is refused."""

from __future__ import annotations

import hashlib
import itertools
import json

import pytest

from personae.errors import DataError, RequestError
from personae.evaluation.survey import check_folder, make_survey, write_key
from personae.evaluation.survey_design import Place, Plan
from personae.evaluation.survey_files import read_key
from personae.evaluation.survey_sources import apart, model_names, read_source
from tests.evaluation.people import write_models, write_results

PLAN = Plan(kinds=("each", "pair"), raters=4, questions=12)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_key_says_what_was_shown(tmp_path):
    folders, _ = write_models(tmp_path)
    survey = make_survey(folders, PLAN, tmp_path / "out")
    key = survey.key
    assert key.models == {"ours": "../ours", "theirs": "../theirs"}
    for picture, file in zip(key.pictures, survey.files, strict=True):
        assert (file is None) == (picture.what != "picture")
        if file is not None:
            found = tmp_path / picture.model / "images" / picture.scene / f"{picture.seed}.png"
            assert file.samefile(found)
            assert picture.sha256 == hashlib.sha256(found.read_bytes()).hexdigest()
    assert len({question.id for question in key.questions}) == len(key.questions)
    for question in key.questions:
        shown = [key.pictures[place] for place in question.shown]
        if question.expected is None:
            assert {(p.scene, p.seed) for p in shown} == {(question.scene, shown[0].seed)}
            assert len({p.model for p in shown}) == len(shown)
        elif question.expected == "yes":
            assert shown[0].what == "references" and shown[0].scene == question.scene
    assert survey.problems == ()


def test_the_place_of_a_picture_does_not_tell_its_model(tmp_path):
    folders, _ = write_models(tmp_path)
    key = make_survey(folders, PLAN, tmp_path / "out").key
    models = [picture.model for picture in key.pictures if picture.what == "picture"]
    changes = sum(one != two for one, two in itertools.pairwise(models))
    assert len(models) // 4 < changes


def test_the_same_call_makes_the_same_survey_and_another_picture_another(tmp_path):
    folders, _ = write_models(tmp_path)
    first = make_survey(folders, PLAN, tmp_path / "out").key
    assert make_survey(folders, PLAN, tmp_path / "out").key == first
    changed = next(tmp_path.glob("ours/images/s0/*.png"))
    changed.write_bytes(next(tmp_path.glob("theirs/images/s5/*.png")).read_bytes())
    assert make_survey(folders, PLAN, tmp_path / "out").key.survey != first.survey


def test_pictures_without_a_twin_are_left_out_and_told(tmp_path):
    folders, _ = write_models(tmp_path)
    (tmp_path / "theirs" / "images" / "s2" / "1.png").unlink()
    survey = make_survey(folders, PLAN, tmp_path / "out")
    assert ("s2", 1) not in {(p.scene, p.seed) for p in survey.key.pictures}
    assert "no such picture" in survey.problems[0] and "s2/1.png" in survey.problems[0]
    assert "ours: 1 pictures have no twin" in survey.problems[1]


def test_one_folder_alone_asks_the_first_questionnaire(tmp_path):
    folders, _ = write_models(tmp_path, models=("ours",))
    key = make_survey(folders, Plan(kinds=("each",), raters=3), tmp_path / "out").key
    assert {question.kind for question in key.questions} == {"each"}
    with pytest.raises(RequestError, match="name a second results folder"):
        make_survey(folders, PLAN, tmp_path / "out")


def test_names_are_as_long_as_needed(tmp_path):
    a, b = tmp_path / "a" / "rows", tmp_path / "b" / "rows"
    assert model_names([a, b]) == ["a/rows", "b/rows"]
    assert model_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    with pytest.raises(RequestError, match="named twice"):
        model_names([a, a])


def test_scenes_that_differ_between_models_are_refused(tmp_path):
    folders, values = write_models(tmp_path)
    rows = lines(tmp_path / "set" / "scenes.jsonl")
    rows[3]["prompt"] = "something else"
    other = tmp_path / "set" / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_results(tmp_path / "theirs", other, values["theirs"])
    with pytest.raises(DataError, match="scene 's3' has other words"):
        make_survey(folders, PLAN, tmp_path / "out")


def test_models_without_a_common_picture_are_refused(tmp_path):
    folders, values = write_models(tmp_path)
    moved = {(scene, seed + 10): value for (scene, seed), value in values["theirs"].items()}
    write_results(tmp_path / "theirs", tmp_path / "set" / "scenes.jsonl", moved)
    with pytest.raises(RequestError, match="no scene and seed has a picture of every model"):
        make_survey(folders, PLAN, tmp_path / "out")


def test_a_folder_that_holds_no_results_is_told(tmp_path):
    with pytest.raises(DataError, match="is this the folder of a run"):
        read_source(tmp_path, "x")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataError, match="expected an object with scenes and images"):
        read_source(tmp_path, "x")
    (write_models(tmp_path)[0][0] / "results.jsonl").write_text("")
    with pytest.raises(DataError, match="no picture to ask about; no rows"):
        read_source(tmp_path / "ours", "x")


def test_a_row_without_a_key_is_told_with_its_line(tmp_path):
    folders, _ = write_models(tmp_path)
    path = folders[0] / "results.jsonl"
    rows = lines(path)
    del rows[2]["seed"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"results.jsonl:3: .*'seed' is missing"):
        read_source(folders[0], "x")


def test_references_may_not_leave_the_folder_of_the_scenes(tmp_path):
    folders, _ = write_models(tmp_path)
    path = tmp_path / "set" / "scenes.jsonl"
    path.write_text(path.read_text().replace("refs/s0-a.png", "../ours/images/s0/0.png"))
    assert "leaves" in read_source(folders[0], "x").problems[0]
    assert Place("s0", 0) in read_source(folders[0], "x", tmp_path).pictures


def test_scenes_are_apart_where_no_subject_can_be_the_same(tmp_path):
    (one,), _ = write_models(tmp_path / "one", models=("ours",), num_scenes=3)
    assert apart(read_source(one, "x").scenes)["s0"] == ["s1", "s2"]
    (two,), _ = write_models(tmp_path / "two", models=("ours",), num_scenes=3, shared=True)
    assert apart(read_source(two, "x").scenes)["s0"] == []


def test_a_folder_with_another_survey_is_not_overwritten(tmp_path):
    folders, _ = write_models(tmp_path)
    out = tmp_path / "out"
    first = make_survey(folders, PLAN, out)
    check_folder(first, out)
    assert read_key(write_key(first, out)) == first.key
    check_folder(first, out)
    other = make_survey(folders, Plan(kinds=("each", "pair"), raters=5, questions=12), out)
    with pytest.raises(RequestError, match="whose answers need its key"):
        check_folder(other, out)
