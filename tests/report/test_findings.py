"""A picture in words."""

import json

import pytest

from personae.report.findings import (
    ABSENT,
    DUPLICATED,
    STRANGER,
    UNMEASURED,
    WHOLE,
    findings,
    flags_of,
    presence_of,
)
from personae.report.records import Picture, Presence, Score, read_run
from tests.report.runs import people_details, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_run(write_run(tmp_path_factory.mktemp("run")))


@pytest.mark.parametrize(
    ("case", "words", "flags"),
    [
        ("good", ["every subject there, once"], WHOLE),
        ("absent", ["bob: absent"], ABSENT),
        ("twice", ["bob: twice"], DUPLICATED),
        ("stranger", ["1 stranger"], STRANGER),
    ],
)
def test_each_case_has_its_words(run, case, words, flags):
    said = findings(run.pictures[case, 0], run.labels())
    assert [text for _, text in said] == words
    assert flags_of(said) == flags


def test_unmeasured_gives_its_reason_once(run):
    said = findings(run.pictures["unmeasured", 0], run.labels())
    assert flags_of(said) == UNMEASURED
    assert len(said) == 1
    assert said[0][1].startswith("unmeasured: no face in reference <x>.jpg (")
    assert "more scores" in said[0][1]


def test_absent_and_unmeasured_are_told_apart():
    picture = Picture("s", 0, scores=[Score(0, "bob", "", None, "no face in reference b.jpg")])
    picture.presence = {"ann": Presence("absent", 0), "bob": Presence("unmeasured", 0, "no face")}
    said = findings(picture, ["presence"])
    assert said == [
        ("absent", "ann: absent"),
        ("unmeasured", "unmeasured: no face in reference b.jpg (presence of bob)"),
    ]


def test_without_presence_rows_the_match_speaks():
    picture = Picture("s", 0, groups=[json.dumps(people_details("absent"))])
    assert presence_of(picture) == {"ann": Presence("found", 1), "bob": Presence("absent", 0)}
    picture = Picture("s", 0, groups=[json.dumps(people_details("twice"))])
    assert presence_of(picture)["bob"] == Presence("twice", 2)


def test_three_copies_and_several_strangers():
    group = people_details("good") | {"strangers": [2, 3], "notes": ["two faces overlap"]}
    picture = Picture("s", 0, groups=[json.dumps(group)])
    picture.presence = {"ann": Presence("twice", 3)}
    assert [text for _, text in findings(picture, [])] == [
        "ann: three times",
        "2 strangers",
        "two faces overlap",
    ]


def test_an_unmeasured_side_score_does_not_take_the_whole_away():
    picture = Picture("s", 0, scores=[Score(0, None, "", None, "needs a target")])
    picture.presence = {"ann": Presence("found", 1)}
    said = findings(picture, ["copy_paste"])
    assert flags_of(said) == WHOLE | UNMEASURED
    picture.presence = {"ann": Presence("unmeasured", 0, "no face")}
    assert flags_of(findings(picture, ["copy_paste"])) == UNMEASURED
