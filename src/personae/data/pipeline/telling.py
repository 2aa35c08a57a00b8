"""What a prompt of a task must tell, and whether a sentence tells it: nothing is taken on trust."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Never, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personae.errors import DataError
from personae.metrics.position import RELATIONS
from personae.vision.language.json_answers import read_json_object

__all__ = [
    "NEEDS",
    "PARTS_ASKED",
    "Telling",
    "check_names",
    "check_telling",
    "read_model",
    "told_words",
]

NEEDS: Mapping[str, tuple[str, ...]] = {
    "attribute": ("attributes",),
    "background": (),
    "action": ("actions",),
    "position": ("relation",),
    "complex": (),
    "three": (),
    "four": (),
}
"""What a prompt of each task tells beside the place; complex: two of the three, whichever."""

PARTS_ASKED = """\
- "place": the words of the sentence that say where it is.
- "attributes": for task attribute or complex: of each id the words of the sentence that say what it
  wears or holds; they stand after {id} and before the next subject named.
- "actions": for task action or complex: likewise what it does.
- "relation": for task position or complex: [id, words, id], where words is one of "left of",
  "right of", "above", "below", "next to" and stands in the sentence between the two.
"""
"""How a language model is asked for the fields of a `Telling`."""

_PARTS = ("attributes", "actions", "relation")
_COMPLEX = 2
_MOST = 600
_NAMED = re.compile(r"\{([^{}]*)\}")
_Words = Annotated[str, Field(min_length=2, max_length=120, pattern=r"^[^{}\n]+$")]
_Model = TypeVar("_Model", bound=BaseModel)


class Telling(BaseModel):
    """What a sentence tells, in the very words that stand in it; subjects by their ids.

    Attributes:
        place: where all is.
        attributes, actions: what a subject wears or is like, and what it does.
        relation: first, words, second.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    place: _Words
    attributes: dict[str, _Words] = {}
    actions: dict[str, _Words] = {}
    relation: Annotated[list[str], Field(min_length=3, max_length=3)] | None = None


def read_model(text: str, kind: type[_Model]) -> _Model:
    """An answer as one JSON object of a kind, strictly.

    Raises:
        DataError: a complaint, in words that a model can be told.
    """
    data = read_json_object(text)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        got = "" if first["type"] == "missing" else f"; got {first['input']!r:.80}"
        raise DataError(f"{where}: {first['msg']}{got}") from None


def told_words(task: str) -> str:
    """What a task asks for, as a language model is told it."""
    if task == "complex":
        return "tell at least two of attributes, actions and relation"
    if not NEEDS[task]:
        return "tell the place; leave attributes, actions and relation out"
    return {
        "attributes": "tell of every subject one attribute (what it wears or holds), and no "
        "actions or relation",
        "actions": "tell of every subject what it does, and no attributes or relation",
        "relation": "tell the relation of two subjects, and no attributes or actions",
    }[NEEDS[task][0]]


def check_names(prompt: str, ids: Sequence[str], *, once: bool = False) -> None:
    """Does a prompt name all of these in braces, and nobody else?

    Raises:
        DataError: a complaint.

    >>> check_names("{a} and a cat", ["a", "b"])
    Traceback (most recent call last):
    personae.errors.DataError: the sentence names ['a'] in braces; expected each of ['a', 'b']
    """
    named = _NAMED.findall(prompt)
    if once and len(set(named)) < len(named):
        _complain(f"the sentence names {named}; expected each of {list(ids)} exactly once")
    if set(named) != set(ids):
        _complain(f"the sentence names {named} in braces; expected each of {list(ids)}")
    if re.search(r"[{}]", _NAMED.sub("", prompt)):
        _complain("braces stand around ids alone; there are others in the sentence")


def check_telling(
    task: str, prompt: str, nouns: Mapping[str, str], told: Telling, *, once: bool = False
) -> None:
    """Does a sentence tell what its task asks for, where it says so, and of whom?

    Every subject is named in braces (``once``: exactly once), and none of them by its noun as well:
    that would be another one. The words for a subject stand after it and before the next one named,
    those of a relation between its two.

    Raises:
        DataError: a complaint, in words that a model can be told.
    """
    if not prompt.strip() or len(prompt) > _MOST or "\n" in prompt:
        _complain(f"expected a sentence of one line and at most {_MOST} characters")
    check_names(prompt, list(nouns), once=once)
    bare = _plain(_NAMED.sub("|", prompt))
    for noun in nouns.values():
        if re.search(rf"\b{re.escape(_plain(noun))}(s|es)?\b", bare):
            _complain(f"the sentence says {noun!r} outside of braces; name it by its id alone")
    if _plain(told.place) not in bare:
        _complain(f"place {told.place!r} does not stand in the sentence")
    _check_parts(task, nouns, told)
    for part in ("attributes", "actions"):
        for name, words in getattr(told, part).items():
            _check_after(prompt, part, name, words)
    if told.relation is not None:
        _check_relation(prompt, list(nouns), told.relation)


def _check_parts(task: str, nouns: Mapping[str, str], told: Telling) -> None:
    """Are the parts there that the task asks for, and no others?"""
    there = {part for part in _PARTS if getattr(told, part)}
    needed = set(NEEDS[task])
    if task == "complex":
        if len(there) < _COMPLEX:
            _complain(f"task complex: expected two of {list(_PARTS)} or more; got {sorted(there)}")
    elif there != needed:
        _complain(f"task {task}: expected {sorted(needed)} beside the place; got {sorted(there)}")
    for part in ("attributes", "actions"):
        names = set(getattr(told, part))
        if (part in needed and names != set(nouns)) or not names <= set(nouns):
            _complain(f"{part}: expected one of each of {list(nouns)}; got {sorted(names)}")


def _check_after(prompt: str, part: str, name: str, words: str) -> None:
    pattern = rf"\{{{re.escape(name)}\}}[^{{}}]*{_loose(words)}"
    if not re.search(pattern, prompt, re.IGNORECASE):
        _complain(
            f"{part}: {words!r} does not stand in the sentence after {{{name}}} and before the "
            "next one named"
        )


def _check_relation(prompt: str, ids: Sequence[str], relation: Sequence[str]) -> None:
    first, words, second = relation
    if first == second or not {first, second} <= set(ids):
        _complain(f"relation: expected two different ones of {list(ids)}; got {first}, {second}")
    if " ".join(words.lower().split()) not in RELATIONS:
        _complain(f"relation: expected one of {list(RELATIONS)}; got {words!r}")
    pattern = rf"\{{{first}\}}[^{{}}]*{_loose(words)}[^{{}}]*\{{{second}\}}"
    if not re.search(pattern, prompt, re.IGNORECASE):
        _complain(f"relation: {words!r} does not stand between {{{first}}} and {{{second}}}")


def _loose(words: str) -> str:
    """A pattern of words, however they are spaced."""
    return r"\s+".join(re.escape(word) for word in words.split())


def _plain(words: str) -> str:
    return " ".join(words.lower().split())


def _complain(what: str) -> Never:
    raise DataError(what)
