"""A model's answer read as one JSON object: strictly, or with a complaint that it can be told."""

from __future__ import annotations

import json
import re
from typing import Any, Never

from personae.errors import DataError

__all__ = ["read_json_object"]

_MOST_CHARACTERS = 20_000
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCED = re.compile(r"\A```(?:json|JSON)?[ \t]*\n(.*?)\n?```\Z", re.DOTALL)


def read_json_object(text: str) -> dict[str, Any]:
    """The one JSON object of an answer.

    Accepted is an object and nothing else but white space around it; it may stand in one code
    fence (three backticks, with or without ``json``), and a block ``<think>...</think>`` may come
    before. Refused are other words, half an object, a key that comes twice, NaN.

    Raises:
        DataError: a complaint, in words that a model can be told.

    >>> read_json_object('<think>Hm.</think> {"score": 7}')
    {'score': 7}
    """
    thoughts = _THOUGHTS.match(text)
    text = (text[thoughts.end() :] if thoughts else text).strip()
    if len(text) > _MOST_CHARACTERS:
        _complain(f"the answer has {len(text)} characters; expected only a small JSON object")
    fenced = _FENCED.match(text)
    text = fenced[1].strip() if fenced else text
    if not text:
        _complain("the answer is empty; expected one JSON object")
    try:
        data = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        _complain("the answer is nested too deep; expected one flat JSON object")
    except ValueError as error:
        _complain(f"the answer is not one JSON object alone ({error})")
    if not isinstance(data, dict):
        _complain(f"the answer is a JSON {type(data).__name__}; expected an object")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if twice:
        raise ValueError(f"the key {twice[0][:40]!r} comes {keys.count(twice[0])} times")
    return dict(pairs)


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no number of JSON")


def _complain(what: str) -> Never:
    raise DataError(what) from None
