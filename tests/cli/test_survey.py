"""`personae survey` and `personae agreement` as a user types them."""

from __future__ import annotations

import json

import pytest

from personae.cli import main
from personae.evaluation.survey_files import read_key
from tests.evaluation.people import answer, write_models, write_sheet


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(item) for item in arguments])
    return int(ended.value.code or 0)


def ask(tmp_path, folders, *more):
    few = ("--raters", 3, "--questions", 12, "--judges", 2)
    return run("survey", *folders, "--out", tmp_path / "out", *few, *more)


def test_ask_and_hear(tmp_path, capsys):
    folders, values = write_models(tmp_path)
    assert ask(tmp_path, folders) == 0
    told = capsys.readouterr()
    assert told.out == "" and "survey.html#rater=1 to #rater=3" in told.err
    assert "key.json" in told.err and "personae agreement" in told.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"survey.html", "key.json"}
    key = read_key(tmp_path / "out" / "key.json")
    for rater in (1, 2):
        write_sheet(
            tmp_path / "in",
            key,
            rater,
            lambda q: answer(key, q, lambda m, s, k: values[m][s, k]),
        )
    page = tmp_path / "said.html"
    assert run("agreement", tmp_path / "out", tmp_path / "in", "--out", page) == 0
    told = capsys.readouterr()
    assert "win rate of the first" in told.out and "mine" in told.out
    assert "2 raters count" in told.err and "sheets that have not come back: 1" in told.err
    assert page.stat().st_size > 10_000
    assert run("agreement", tmp_path / "out", tmp_path / "in", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "personae.agreement"
    assert found["metrics"][0]["pairs"]["subjects"]["accuracy"] == 1


def test_one_folder_and_json(tmp_path, capsys):
    folders, _ = write_models(tmp_path, models=("ours",))
    assert ask(tmp_path, folders, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["judges"] == {"each": 3} and told["raters"] == 3
    assert told["bytes"] == (tmp_path / "out" / "survey.html").stat().st_size
    assert told["problems"] == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--kind", "all"], "expected one of each, pair, both"),
        (["--kind", "pair"], "name a second results folder"),
        (["--judges", "5"], "--judges 5: there are 3 raters"),
        (["--max-mb", "0.03"], "--max-mb"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_nothing_is_left(tmp_path, capsys, more, words):
    folders, _ = write_models(tmp_path, models=("ours",))
    assert ask(tmp_path, folders, *more) == 2
    assert words in capsys.readouterr().err
    out = tmp_path / "out"
    assert not out.exists() or not list(out.iterdir())


def test_a_survey_under_way_is_not_replaced(tmp_path, capsys):
    folders, _ = write_models(tmp_path)
    assert ask(tmp_path, folders) == 0
    files = {p: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert ask(tmp_path, folders) == 0
    assert ask(tmp_path, folders, "--seed", 1) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} == files
    assert ask(tmp_path, folders, "--seed", 1, "--overwrite") == 0
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} != files


def test_answers_that_are_broken_end_with_1(tmp_path, capsys):
    folders, _ = write_models(tmp_path)
    assert ask(tmp_path, folders) == 0
    (tmp_path / "1.json").write_text("{")
    assert run("agreement", tmp_path / "out", tmp_path / "1.json") == 1
    assert "1.json: not whole JSON" in capsys.readouterr().err
