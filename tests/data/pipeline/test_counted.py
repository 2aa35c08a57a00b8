"""How many people there are, and how many there should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from personae.data.pipeline.counted import Counted, people_said
from personae.data.pipeline.items import Item
from personae.data.pipeline.people import face_eyes, look
from personae.data.pipeline.runner import run_pipeline
from personae.errors import DataError
from personae.toons import scene


@pytest.mark.parametrize(
    ("caption", "number"),
    [
        ("a man and a woman at a table", 2),
        ("Three women.", 3),
        ("two smiling young men and another tall woman", 3),
        ("a man with 2 children", 3),
        ("no people on the beach", 0),
        ("A person", 1),
        ("a group of people", None),
        ("two men and several others", None),
        ("a dog and a cat", None),
        ("the woman waves", None),
        ("", None),
        ("a manual for a womanizer", None),
    ],
)
def test_words_say_a_number_or_none(caption: str, number: int | None) -> None:
    assert people_said(caption) == number


def test_the_account_tells_who_was_dropped_and_who_could_not_be_asked(tmp_path: Path) -> None:
    eyes, source = face_eyes("toons"), []
    for number, (seed, there, told) in enumerate([(1, 2, 2), (2, 2, 3), (3, 3, 2), (4, 2, None)]):
        faces = [face.as_json() for face in look(eyes, scene(seed, count=there).image, there)]
        nouns = {} if told is None else {"nouns": dict.fromkeys("abc"[:told], "toon")}
        source.append(Item(id=str(number), data={"faces": faces, **nouns}))
    account = run_pipeline(source, [Counted()], tmp_path / "out")
    assert [item.id for item in account.items()] == ["0", "3"]
    (step,) = account.steps
    assert step.dropped == {"fewer people than its words say": 1, "more than its words say": 1}
    assert step.unmeasured == {"its words say no number of people": 1}
    again = run_pipeline(source, [Counted()], tmp_path / "out").steps[0]
    assert (again.num_made, again.unmeasured) == (0, step.unmeasured)
    assert run_pipeline(source, [Counted(slack=1)], tmp_path / "s").steps[0].num_out == 4
    lost = run_pipeline([Item(id="x")], [Counted()], tmp_path / "n").steps[0]
    assert lost.failed == {"the step failed (DataError)": 1}
    with pytest.raises(DataError, match="tells of no faces"):
        Counted()._verdict(Item(id="x"))
