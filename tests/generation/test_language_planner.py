"""Answers of language models: read strictly, complained about, never guessed, remembered."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personae.compute.runs import read_json, read_rows
from personae.errors import DataError, RequestError, WorkError
from personae.generation import Drawing, LanguagePlanner, draw, generate
from personae.generation.layout_answers import read_answer
from personae.generation.layout_memory import RememberedPlanner
from personae.generation.planners import LayoutRequest
from personae.subjects.scene import Relation
from tests.generation.fake import FakeBackbone, scenes
from tests.generation.test_relation_words import scene

GOOD = '{"ann": [0.05, 0.1, 0.45, 0.95], "bob": [0.55, 0.1, 0.95, 0.95]}'
BOXES = {"ann": (0.05, 0.1, 0.45, 0.95), "bob": (0.55, 0.1, 0.95, 0.95)}


def request(prompt: str = "{ann} and {bob} in a park", aspect: float = 0.5, **more):
    aspects = dict.fromkeys(("ann", "bob"), aspect)
    return LayoutRequest(scene(prompt, "ann", "bob", **more), aspects, {}, (64, 64))


class Script:
    """A model that says these things, one after the other, the last again and again."""

    name = "script"

    def __init__(self, *answers: str | Exception) -> None:
        self.answers, self.talks = list(answers), []

    def complete(self, messages):
        self.talks.append(list(messages))
        answer = self.answers[min(len(self.talks), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\n",
        f"<think>Ann is left {{maybe}}.</think>\n\n{GOOD}",
        json.dumps(json.loads(GOOD), indent=4),
    ],
)
def test_one_object_is_accepted_bare_or_in_a_fence(text: str) -> None:
    assert read_answer(text, request()) == BOXES


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("```json\n\n```", "empty"),
        ("I am sorry, I cannot.", "not one JSON object alone"),
        (f"Here it is: {GOOD}", "not one JSON object alone"),
        (f"{GOOD} I hope this helps!", "not one JSON object alone"),
        (f"{GOOD}{GOOD}", "not one JSON object alone"),
        (f"Sure!\n```json\n{GOOD}\n```", "not one JSON object alone"),
        (f"```json\n{GOOD}\n```\n```json\n{GOOD}\n```", "not one JSON object alone"),
        (GOOD[:40], "not one JSON object alone"),
        ("[" * 9_000, "JSON"),
        ("x" * 20_001, "20001 characters"),
        ("[[0, 0, 1, 1]]", "expected an object"),
        ("null", "expected an object"),
        ("{}", "no box for"),
        ('{"ann": [0.05, 0.1, 0.45, 0.95]}', r"no box for \['bob'\]"),
        (GOOD[:-1] + ', "dog": [0, 0, 1, 1]}', r"unknown keys \['dog'\]"),
        (GOOD[:-1] + ', "bob": [0.5, 0, 1, 1]}', "'bob' comes 2 times"),
        (GOOD.replace("0.55", "NaN"), "NaN is no number"),
        (GOOD.replace("0.55", "-Infinity"), "-Infinity is no number"),
        (GOOD.replace("0.55", "1e999"), "leaves the picture"),
        (GOOD.replace("0.55", '"0.55"'), "expected"),
        (GOOD.replace("0.55", "null"), "expected"),
        (GOOD.replace("0.55", "true"), "expected"),
        (GOOD.replace("0.55, ", ""), "expected"),
        (GOOD.replace("[0.55, 0.1, 0.95, 0.95]", '{"left": 0.55}'), "expected"),
        (GOOD.replace("0.55", "55"), "leaves the picture"),
        (GOOD.replace("0.55", "-0.01"), "leaves the picture"),
        (GOOD.replace("0.95]}", "1.01]}"), "leaves the picture"),
        (GOOD.replace("0.55, 0.1, 0.95", "0.95, 0.1, 0.55"), "left < right"),
        (GOOD.replace("0.1, 0.95, 0.95", "0.95, 0.95, 0.1"), "top < bottom"),
        (GOOD.replace("0.55, 0.1, 0.95", "0.55, 0.1, 0.55"), "left < right"),
        (GOOD.replace("0.55", "0.94"), "too small"),
        (GOOD.replace("0.05, 0.1, 0.45", "0.05, 0.85, 0.45"), "fill too little"),
        (GOOD.replace("0.55", "0.2"), "overlap by 6"),
    ],
)
def test_anything_else_is_a_complaint(text: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        read_answer(text, request())


@given(st.text(alphabet='{}[]":,.0123456789annbob e-`\n', max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(DataError):
        read_answer(text, request())


def test_boxes_overlap_where_the_prompt_asks_for_it() -> None:
    close = GOOD.replace("0.55", "0.2")
    for prompt in ("{ann} hugging {bob}", "{bob} behind {ann}", "{ann} riding {bob}"):
        assert read_answer(close, request(prompt))["bob"][0] == 0.2
    assert read_answer(close, request("x", relation=Relation("bob", "in front of", "ann")))
    with pytest.raises(DataError, match="overlap"):
        read_answer(close, request("{ann} next to {bob}"))


def test_the_order_of_the_answer_is_kept() -> None:
    other = json.dumps(dict(reversed(json.loads(GOOD).items())))
    assert list(read_answer(other, request())) == ["bob", "ann"]


def test_the_model_is_told_what_was_wrong_and_asked_again() -> None:
    model = Script("Sure!", GOOD.replace("0.55", "55"), GOOD)
    assert LanguagePlanner(model).plan(request()) == BOXES
    first, second, third = model.talks
    assert [turn.role for turn in first] == ["system", "user"]
    assert json.loads(first[1].content)["subjects"]["ann"] == {"is": "noun ann", "aspect": 0.5}
    assert second[:2] == first
    assert second[2].content == "Sure!"
    assert "not one JSON object alone" in second[3].content
    assert "leaves the picture" in third[5].content


def test_relative_heights_pixels_and_relation_are_told() -> None:
    model = Script(GOOD)
    asked = replace(
        request(relation=Relation("ann", "above", "bob")),
        sizes={"ann": 1.0, "bob": 0.5},
        size=(128, 64),
    )
    LanguagePlanner(model).plan(asked)
    told = json.loads(model.talks[0][1].content)
    assert told["picture"] == {"width": 128, "height": 64}
    assert told["relation"] == ["ann", "above", "bob"]
    assert told["subjects"]["bob"] == {"is": "noun bob", "aspect": 1.0, "relative_height": 0.5}


def test_it_is_given_up_with_the_scene_and_the_last_complaint() -> None:
    model = Script("no", "nor", "{}")
    with pytest.raises(DataError, match=r"scene 's' by script in 3 tries.*no box for \['ann'"):
        LanguagePlanner(model).plan(request())
    assert len(model.talks) == 3
    with pytest.raises(RequestError, match="at least 1"):
        LanguagePlanner(model, tries=0)


def test_nobody_is_asked_twice(tmp_path) -> None:
    model = Script(GOOD)
    remembering = RememberedPlanner(LanguagePlanner(model), tmp_path)
    assert remembering.plan(request()) == remembering.plan(request()) == BOXES
    same = replace(request(), scene=replace(request().scene, id="other"))
    assert RememberedPlanner(LanguagePlanner(model), tmp_path).plan(same) == BOXES
    assert len(model.talks) == 1
    remembering.plan(request("{ann} left of {bob}"))
    remembering.plan(replace(request(), sizes={"ann": 1.0, "bob": 0.5}))
    other = Script(GOOD)
    other.name = "another model"
    RememberedPlanner(LanguagePlanner(other), tmp_path).plan(request())
    assert (len(model.talks), len(other.talks)) == (3, 1)
    rows = list(read_rows(tmp_path / "layouts.jsonl"))
    assert [row["model"] for row in rows] == ["script"] * 3 + ["another model"]
    assert rows[0]["layout"] == json.loads(GOOD)


def test_a_bad_answer_is_not_remembered(tmp_path) -> None:
    model = Script("no", "no", "no", GOOD)
    remembering = RememberedPlanner(LanguagePlanner(model), tmp_path)
    with pytest.raises(DataError):
        remembering.plan(request())
    assert remembering.plan(request()) == BOXES


def rows_of(out) -> dict[str, dict]:
    return {row["scene"]: row for row in read_rows(out / "images.jsonl")}


def test_generate_draws_by_the_planner_says_so_and_resumes_without_asking(tmp_path) -> None:
    out, two = tmp_path / "out", scenes(tmp_path, "one", "two")
    two[1] = replace(two[1], prompt="{ann} and {bob} on a beach")
    drawing = Drawing(init="mean-shift", layout="llm")
    model = Script(GOOD)
    summary = generate(two, FakeBackbone(), out, drawing, planner=LanguagePlanner(model), seeds=2)
    assert (summary.num_drawn_now, len(model.talks)) == (4, 2)
    init = rows_of(out)["one"]["init"]
    assert (init["planner"], init["planner_model"], init["layout"]) == ("llm", "script", "llm")
    assert set(init["boxes"]) == {"ann", "bob"}
    assert 0.05 <= init["boxes"]["ann"][0] < init["boxes"]["ann"][2] <= 0.45
    assert read_json(out / "generation.json")["planner"] == "llm: script"
    (out / "images/one/1.png").unlink()
    again = generate(two, FakeBackbone(), out, drawing, planner=LanguagePlanner(model), seeds=2)
    assert (again.num_drawn_now, len(model.talks)) == (1, 2)
    other = Script(GOOD)
    other.name = "other"
    with pytest.raises(RequestError, match="planner"):
        generate(two, FakeBackbone(), out, drawing, planner=LanguagePlanner(other), seeds=2)


@pytest.mark.parametrize("failure", ["no", WorkError("nobody answers"), RequestError("key")])
def test_a_scene_that_cannot_be_planned_fails_and_the_others_go_on(tmp_path, failure) -> None:
    out, two = tmp_path / "out", scenes(tmp_path, "one", "two")
    two[1] = replace(two[1], prompt="{ann} and {bob} on a beach")
    answers = [failure] * (3 if failure == "no" else 1)
    planner = LanguagePlanner(Script(*answers, GOOD))
    drawing = Drawing(init="mean-shift", layout="llm")
    summary = generate(two, FakeBackbone(), out, drawing, planner=planner)
    assert [item.scene for item in summary.failures] == ["one"]
    assert rows_of(out)["two"]["error"] is None
    assert rows_of(out)["one"]["image"] is None
    assert generate(two, FakeBackbone(), out, drawing, planner=planner).num_drawn_now == 1


def test_without_a_planner_it_is_refused_before_any_work(tmp_path) -> None:
    drawing = Drawing(init="mean-shift", layout="llm")
    (one,) = scenes(tmp_path, "one")
    with pytest.raises(RequestError, match="nobody plans it"):
        generate([one], FakeBackbone(), tmp_path / "out", drawing)
    with pytest.raises(RequestError, match="nobody plans it"):
        draw(FakeBackbone(), one, drawing=drawing)
    assert not (tmp_path / "out").exists()


def test_a_layout_that_nothing_uses_is_not_asked_for(tmp_path) -> None:
    model = Script(GOOD)
    generate(
        scenes(tmp_path, "one"), FakeBackbone(), tmp_path / "out", Drawing(layout="llm"),
        planner=LanguagePlanner(model),
    )  # fmt: skip
    assert model.talks == []


def test_planned_needs_nobody_and_its_boxes_are_in_the_row(tmp_path) -> None:
    out = tmp_path / "out"
    (one,) = scenes(tmp_path, "one")
    one = replace(one, prompt="{ann} right of {bob}")
    drawing = Drawing(init="mean-shift", layout="planned")
    generate([one], FakeBackbone(), out, drawing, seeds=2)
    first, second = (row["init"]["boxes"] for row in read_rows(out / "images.jsonl"))
    assert first["bob"][2] <= first["ann"][0]
    assert first != second, "the seed decides what is free"
    assert "planner" not in rows_of(out)["one"]["init"]
