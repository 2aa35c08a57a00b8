"""Suites whose files are not documented, by a mapping of columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personae.errors import DataError, RequestError
from personae.evaluation.suites.dreambench import DREAMBENCH
from personae.evaluation.suites.multiid import MULTIID
from personae.evaluation.suites.omnicontext import OMNICONTEXT
from personae.evaluation.suites.registry import SUITES
from personae.evaluation.suites.suite import SuiteOptions, missing_files


def load(suite, folder: Path, **mapping: str):
    return suite.load(folder, SuiteOptions(mapping=mapping))


def items(folder: Path, *records: dict) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "items.json").write_text(json.dumps(list(records)))
    return folder


OMNI = {"prompt": "instruction", "references": "input_images", "subset": "task"}


def test_tasks_say_the_kinds_except_where_they_mix_them(tmp_path: Path) -> None:
    folder = items(
        tmp_path,
        {
            "instruction": "Both dance.",
            "input_images": ["a.png", "b.png"],
            "task": "multi_character",
        },
        {"instruction": "A cup.", "input_images": ["c.png"], "task": "single_object"},
        {"instruction": "?", "input_images": ["a.png", "c.png"], "task": "multi_character_object"},
        {"instruction": "?", "input_images": ["a.png"], "task": "double_trouble"},
    )
    loaded = load(OMNICONTEXT, folder, **OMNI)
    assert [(s.id, [x.kind for x in s.subjects.values()]) for s in loaded.scenes] == [
        ("0000", ["person", "person"]),
        ("0001", ["object"]),
    ]
    assert loaded.scenes[0].words == "Both dance."
    assert "kinds=" in loaded.problems[0] and "double_trouble" in loaded.problems[1]
    assert [one.repeats for one in loaded.asked["0000"]] == [3]
    assert len(missing_files(loaded)) == 3
    record = {"instruction": "?", "input_images": ["a.png", "c.png"], "k": "person;object"}
    items(folder, record | {"task": "multi_character_object"})
    (scene,) = load(OMNICONTEXT, folder, **OMNI, kinds="k").scenes
    assert [x.kind for x in scene.subjects.values()] == ["person", "object"]


def test_people_and_their_targets_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(
        "text,one,two,truth,name\nA man waves.,a.png,,t1.png,x\n"
        "Two wave.,a.png,b.png,t1.png;t2.png,y\n"
    )
    columns = {"prompt": "text", "references": "one+two", "targets": "truth", "id": "name"}
    loaded = load(MULTIID, tmp_path, **columns)
    assert loaded.subset_of == {"x": "1 person", "y": "2 people"}
    assert [x.target.image.name for x in loaded.scenes[1].subjects.values()] == ["t1.png", "t2.png"]


def test_nouns_are_put_in_braces_and_pictures_taken(tmp_path: Path) -> None:
    folder = items(
        tmp_path,
        {"p": "a dog and a mug", "r": '["d.png", "m.png"]', "n": "dog;mug", "made": "o.png"},
        {"p": "a dog", "r": ["../d.png"], "n": "dog"},
        {"p": "a dog", "r": ["d.png"], "n": "dog;cat"},
        {"p": "a dog"},
    )
    loaded = load(DREAMBENCH, folder, prompt="p", references="r", nouns="n", image="made")
    assert [scene.prompt for scene in loaded.scenes] == ["a {dog} and a {mug}"]
    assert loaded.given == {"0000": (folder / "o.png",)}
    for text, part in zip(loaded.problems, ("leaves", "2 for 1", "no column 'r'"), strict=True):
        assert part in text


def test_what_is_not_said_is_asked_for(tmp_path: Path) -> None:
    items(tmp_path, {"p": "a dog"})
    with pytest.raises(RequestError, match="--column subset=THEIRS"):
        load(OMNICONTEXT, tmp_path, prompt="p", references="r")
    with pytest.raises(RequestError, match="did you mean 'prompt'"):
        load(OMNICONTEXT, tmp_path, promt="p")
    with pytest.raises(DataError, match="no item that can be read"):
        load(DREAMBENCH, tmp_path, prompt="p", references="r")
    (tmp_path / "more.csv").write_text("p\n")
    with pytest.raises(DataError, match="--column file="):
        load(DREAMBENCH, tmp_path, prompt="p", references="r")


def test_every_card_is_whole() -> None:
    for name, suite in SUITES.items():
        card = suite.card
        assert card.name == name and card.licence and card.source and card.eyes and card.faults
        subsets = {*card.sizes, "overall"}
        for row in card.published:
            assert row.subset in subsets and row.source, row
            assert set(row.values) <= set(card.names), row
        for average in card.averages:
            assert set(average.of) <= {column.name for column in card.columns}
        assert set(card.overall) <= set(card.names)
    unverified = {name for name, suite in SUITES.items() if suite.card.unverified}
    assert unverified == {"omnicontext", "multiid", "dreambench"}
