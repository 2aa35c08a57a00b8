"""Answers come back strictly: what is not whole, or not of this survey, is told where."""

from __future__ import annotations

import json

import pytest

from personae.errors import DataError
from personae.evaluation.survey import make_survey, write_key
from personae.evaluation.survey_design import Plan
from personae.evaluation.survey_files import read_all_answers, read_answers, read_key
from tests.evaluation.people import answer, sheet, write_models, write_sheet


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survey")
    folders, values = write_models(folder)
    plan = Plan(kinds=("each", "pair"), raters=3, questions=8, judges=2)
    made = make_survey(folders, plan, folder / "out")
    write_key(made, folder / "out")
    return folder / "out", made.key, values


def says(survey):
    _, key, values = survey
    return lambda question: answer(key, question, lambda m, s, k: values[m][s, k])


@pytest.fixture
def content(survey):
    return sheet(survey[1], 2, says(survey))


def written(tmp_path, content):
    path = tmp_path / "answers.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def refused(tmp_path, survey, content, *words):
    with pytest.raises(DataError) as caught:
        read_answers(written(tmp_path, content), survey[1])
    text = str(caught.value)
    assert text.startswith(str(tmp_path / "answers.json"))
    assert all(word in text for word in words), text


def of_kind(content, part):
    return next(i for i, a in enumerate(content["answers"]) if part in a)


def test_what_was_written_is_read(tmp_path, survey, content):
    found = read_answers(written(tmp_path, content), survey[1])
    assert (
        found.rater == 2
        and found.model_dump(mode="json", exclude_none=True)["answers"][0]["question"]
        == content["answers"][0]["question"]
    )
    again = written(tmp_path, "\ufeff\n  " + json.dumps(content) + "\n")
    assert read_answers(again, survey[1]) == found


def test_answers_of_another_survey(tmp_path, survey, content):
    refused(tmp_path, survey, content | {"survey": "abc"}, "survey:", "'abc'", survey[1].survey)


def test_a_half_file(tmp_path, survey, content):
    text = json.dumps(content)
    refused(tmp_path, survey, text[: len(text) // 2], "not whole JSON")
    lost = content["answers"].pop(3)
    refused(tmp_path, survey, content, "1 of", lost["question"], "rater 2", "finish")


def test_an_unknown_question_and_one_answered_twice(tmp_path, survey, content):
    content["answers"].append(content["answers"][1])
    refused(tmp_path, survey, content, f"answers[{len(content['answers']) - 1}]", "second time")
    content["answers"][-1] = content["answers"][1] | {"question": "nope"}
    refused(tmp_path, survey, content, "'nope' is not on the sheet of rater 2")


def test_a_question_of_another_rater(tmp_path, survey, content):
    refused(tmp_path, survey, content | {"rater": 1}, "answers[0].question", "rater 1")
    refused(tmp_path, survey, content | {"rater": 4}, "rater: expected 1 to 3; got 4")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ms": -1}, ["ms"]),
        ({"ms": "5"}, ["ms", "'5'"]),
        ({"extra": 1}, ["extra"]),
        ({"better": {"subjects": "A", "text": "left", "naturalness": "left"}}, ["better.subjects"]),
        ({"better": {"subjects": "left", "text": "left"}}, ["better.naturalness"]),
        ({"better": None}, ["expected `better`"]),
        ({"subjects": []}, ["expected `better`"]),
    ],
)
def test_an_answer_of_the_wrong_form(tmp_path, survey, content, change, words):
    place = of_kind(content, "better")
    content["answers"][place] |= change
    refused(tmp_path, survey, content, f"answers[{place}]", *words)


@pytest.mark.parametrize(
    ("subjects", "words"),
    [
        ([{"appears": "no"}], ["expected 2 answers", "got 1"]),
        ([{"appears": "no"}, {"appears": "yes"}], ["subjects[1].resembles", "None", "'yes'"]),
        ([{"appears": "no", "resembles": "no"}, {"appears": "no"}], ["subjects[0].resembles"]),
        ([{"appears": "maybe"}, {"appears": "no"}], ["subjects[0].appears"]),
        (None, ["expected `subjects`"]),
    ],
)
def test_answers_about_subjects_of_the_wrong_form(tmp_path, survey, content, subjects, words):
    place = of_kind(content, "subjects")
    content["answers"][place]["subjects"] = subjects
    refused(tmp_path, survey, content, f"answers[{place}]", *words)


def test_a_form_of_another_version(tmp_path, survey, content):
    refused(tmp_path, survey, content | {"version": 2}, "version")
    refused(tmp_path, survey, content | {"format": "x"}, "format")
    del content["format"]
    refused(tmp_path, survey, content, "format", "required")
    refused(tmp_path, survey, "[1]", "the file", "an object")


def test_no_file_and_no_text(tmp_path, survey):
    with pytest.raises(DataError, match="no such file"):
        read_answers(tmp_path / "none.json", survey[1])
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_answers(tmp_path / "bytes.json", survey[1])


def test_a_doubled_rater_and_a_folder(tmp_path, survey):
    key = survey[1]
    for rater in (1, 3):
        write_sheet(tmp_path / "in", key, rater, says(survey))
    (tmp_path / "in" / "3.json").rename(tmp_path / "in" / "text.txt")
    found = read_all_answers([tmp_path / "in"], key)
    assert [answers.rater for answers in found] == [1, 3]
    twice = write_sheet(tmp_path / "more", key, 3, says(survey))
    with pytest.raises(DataError, match=r"more/3.json: rater 3 has answered already, in .*text"):
        read_all_answers([tmp_path / "in", twice], key)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="put the answers there"):
        read_all_answers([tmp_path / "empty"], key)


def test_a_broken_key(tmp_path, survey):
    content = json.loads((survey[0] / "key.json").read_text())
    content["questions"][4]["shown"] = [999]
    path = tmp_path / "key.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"questions\[4\].shown.*999"):
        read_key(path)
