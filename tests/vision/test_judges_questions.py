"""Question sets and trees."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from personae.errors import DataError, RequestError
from personae.subjects.scene import Claim
from personae.vision.judges import (
    PSR_INTENTS,
    QuestionTree,
    omnicontext_questions,
    psr_question,
    read_question_trees,
    tree_questions,
)
from tests.vision.judged import REFERENCES, picture

WORDS = "The cat wears a cape and the crab a crown."


def test_psr_asks_one_mark_an_intent_and_shows_references_only_strictly() -> None:
    assert set(PSR_INTENTS) == {"attribute", "action", "background", "complex", "three", "four"}
    asked = [psr_question(intent, WORDS, picture()) for intent in PSR_INTENTS]
    assert all(item.kind == "mark" and not item.references for item in asked)
    assert all(WORDS in item.words for item in asked)
    assert len({item.words for item in asked}) == 4
    strict = psr_question("action", WORDS, picture(), REFERENCES)
    assert strict.criterion == "strict_psr_action"
    assert strict.references == REFERENCES
    assert strict.words.startswith(asked[1].words)
    assert asked[1].criterion == "psr_action"


def test_position_is_not_judged() -> None:
    with pytest.raises(RequestError, match="position_score"):
        psr_question("position", WORDS, picture())


def test_omnicontext_asks_two_marks_about_the_same_pictures() -> None:
    claims = (Claim("place", None, "park"),)
    asked = omnicontext_questions(WORDS, picture(), REFERENCES, claims)
    assert list(asked) == ["PF", "SC"]
    assert asked["PF"].references == asked["SC"].references == REFERENCES
    assert asked["PF"].claims == claims
    assert not asked["SC"].claims
    assert asked["PF"].words != asked["SC"].words
    with pytest.raises(RequestError, match="no reference"):
        omnicontext_questions(WORDS, picture(), ())


def item(**more):
    return {
        "prompt": "a bear on ice",
        "qid2tuple": {"1": "entity - whole", "2": "entity - whole", "3": "relation - spatial"},
        "qid2dependency": {"1": [0], "2": [0], "3": [1, 2]},
        "qid2question": {"1": "Is there a bear?", "2": "Is there ice?", "3": "Is it on the ice?"},
        **more,
    }


def read(tmp_path, *items):
    path = tmp_path / "x_DSG.json"
    path.write_text(json.dumps(list(items)))
    return read_question_trees(path)


def test_trees_are_read_and_asked(tmp_path) -> None:
    (tree,) = read(tmp_path, item())
    assert tree.prompt == "a bear on ice"
    assert tree.parents == {"1": (), "2": (), "3": ("1", "2")}
    asked = tree_questions(tree, picture())
    assert [one.words for one in asked.values()] == list(item()["qid2question"].values())
    assert {one.kind for one in asked.values()} == {"yes_no"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qid2dependency": {"1": [0], "2": [0], "3": [9]}}, "question 3 hangs on 9"),
        ({"qid2dependency": {"1": [0], "2": [3], "3": [2]}}, "wait for each other"),
        ({"qid2dependency": {"1": [0], "2": [0]}}, "expected the same numbers"),
        ({"qid2dependency": {"1": [0], "2": [0], "3": ["1"]}}, "1.qid2dependency.3.0"),
        ({"qid2question": {}, "qid2dependency": {}}, "no question"),
        ({"qid2question": {"1": "", "2": "b", "3": "c"}}, "qid2question.1"),
        ({"prompt": None}, "prompt"),
    ],
)
def test_a_wrong_tree_is_named(tmp_path, change, message) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, item(), item(**change))
    assert "item 1" in str(caught.value)


def test_what_is_no_list_of_trees_is_said(tmp_path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    with pytest.raises(DataError, match=str(path)):
        read_question_trees(path)
    with pytest.raises(DataError, match="no such file"):
        read_question_trees(tmp_path / "y.json")
    with pytest.raises(DataError, match="in memory"):
        QuestionTree("p", {"1": "?"}, {"1": ("1",)})


@pytest.mark.skipif("PERSONAE_DATA" not in os.environ, reason="PERSONAE_DATA is not set")
def test_xversebench_is_read_whole() -> None:
    folder = Path(os.environ["PERSONAE_DATA"]) / "benchmarks" / "xversebench"
    if not folder.is_dir():
        pytest.skip("no xversebench in PERSONAE_DATA")
    single = read_question_trees(folder / "XVerseBench_single_DSG.json")
    multi = read_question_trees(folder / "XVerseBench_multi_DSG.json")
    assert (len(single), len(multi)) == (90, 210)
    assert sum(len(tree.questions) for tree in single + multi) == 1916
    # The one question that comes before one of its parents.
    assert multi[95].parents["5"] == ("3", "9")
