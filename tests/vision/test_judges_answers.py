"""Answers of judges: what is read, and what is never guessed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personae.errors import DataError
from personae.vision.judges import answer_schema, read_answer


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"score": 0}', 0.0),
        ('{"score": 10}', 10.0),
        ('{"reasoning": "A detail is off.", "score": 7.5}', 7.5),
        (' \n{"score": 3, "reasoning": ""}\n ', 3.0),
        ('```json\n{"score": 4}\n```', 4.0),
        ('<think>Ten? No, {"score": 10} is too much.</think>\n{"score": 6}', 6.0),
        ('{"score": 1e1}', 10.0),
    ],
)
def test_marks_are_read(text: str, value: float) -> None:
    assert read_answer(text, "mark").value == value


def test_yes_and_no_are_read_with_their_reasoning() -> None:
    answer = read_answer('{"reasoning": "It sits.", "answer": "no"}', "yes_no")
    assert (answer.value, answer.reasoning) == (0.0, "It sits.")
    assert read_answer('{"answer": "yes"}', "yes_no").value == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "I give it 7 of 10.",
        "[Score]: 7",
        '{"score": 7} out of 10',
        'Sure! {"score": 7}',
        '{"score": 7',
        '{"reasoning": "it is \n broken", "score": 7}',
        '{"score": "7"}',
        '{"score": null}',
        '{"score": true}',
        '{"score": [7]}',
        '{"score": 7, "score": 9}',
        '{"score": 10.001}',
        '{"score": -0.5}',
        '{"score": 85}',
        '{"score": NaN}',
        '{"score": Infinity}',
        '{"score": 1e999}',
        '{"Score": 7}',
        '{"reasoning": "fine"}',
        '{"reasoning": 7, "score": 7}',
        '{"score": 7, "confidence": 0.5}',
        '{"answer": "yes"}',
        '[{"score": 7}]',
        '{"score": 7}{"score": 7}',
        "```json\n" + '{"score": 7}\n```\n```json\n{"score": 8}\n```',
        "[" * 3000,
        '{"score": ' + "7" * 9000 + "}",
        '{"score": 7, "reasoning": "' + "so " * 20_000 + '"}',
    ],
)
def test_all_else_is_a_complaint_and_never_a_mark(text: str) -> None:
    with pytest.raises(DataError) as caught:
        read_answer(text, "mark")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("answer", ["Yes", "YES", "yes.", "maybe", "", "true", 1, True, None])
def test_yes_or_no_are_two_words_and_no_others(answer) -> None:
    with pytest.raises(DataError, match="answer"):
        read_answer(json.dumps({"answer": answer}), "yes_no")


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_no_text_but_an_object_is_a_mark(text: str) -> None:
    try:
        read_answer(text, "mark")
    except DataError:
        return
    assert isinstance(json.loads(text.strip().strip("`").removeprefix("json")), dict)


def test_the_schema_is_what_the_reader_wants() -> None:
    schema = answer_schema("mark")
    assert schema["required"] == ["reasoning", "score"]
    assert schema["additionalProperties"] is False
    score = schema["properties"]["score"]
    assert (score["type"], score["minimum"], score["maximum"]) == ("number", 0, 10)
    assert answer_schema("yes_no")["properties"]["answer"]["enum"] == ["yes", "no"]
