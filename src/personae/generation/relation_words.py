"""What a prompt says of where its subjects are to each other, and of their sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from personae.metrics.position import RELATIONS
from personae.subjects.scene import Scene

__all__ = ["OVERLAPPING", "Said", "relations_of", "sizes_said"]

OVERLAPPING = frozenset({"on", "behind", "inside", "hugging"})
"""Kinds whose two subjects may lie over each other."""

_TOUCH = "hugging embracing kissing cuddling holding carrying lifting wrestling touching"
_MEET = "facing greeting feeding alongside opposite watching beside"
# Ours of the published ones; the names change places where the second is True.
_PUBLISHED = {
    "left of": ("left of", False),
    "right of": ("left of", True),
    "above": ("above", False),
    "below": ("above", True),
    "next to": ("next to", False),
}
# Words that end what stands between two names. "On top of" asks for contact here.
_WORDS: dict[str, tuple[str, bool]] = {
    **{words: _PUBLISHED[name] for words, name in RELATIONS.items()},
    **dict.fromkeys(_TOUCH.split(), ("hugging", False)),
    **dict.fromkeys(_MEET.split(), ("next to", False)),
    "on the left side of": ("left of", False),
    "on the right side of": ("left of", True),
    "over": ("above", False),
    "underneath": ("above", True),
    "beneath": ("above", True),
    "on top of": ("on", False),
    "on": ("on", False),
    "onto": ("on", False),
    "riding": ("on", False),
    "ridden by": ("on", True),
    "on the back of": ("on", False),
    "on the shoulders of": ("on", False),
    "behind": ("behind", False),
    "in front of": ("behind", True),
    "in": ("inside", False),
    "inside": ("inside", False),
    "inside of": ("inside", False),
    "within": ("inside", False),
    "close to": ("next to", False),
    "talking to": ("next to", False),
    "looking at": ("next to", False),
    "playing with": ("next to", False),
    "dancing with": ("next to", False),
    "holding hands with": ("next to", False),
    "chasing": ("after", False),
    "following": ("after", False),
    "running after": ("after", False),
    "chased by": ("after", True),
    "followed by": ("after", True),
    "running from": ("after", True),
    "hugged by": ("hugging", True),
    "carried by": ("hugging", True),
    "held by": ("hugging", True),
    "between": ("between", False),
    "in between": ("between", False),
    "bigger than": ("bigger", False),
    "larger than": ("bigger", False),
    "taller than": ("bigger", False),
    "twice the size of": ("bigger", False),
    "twice as big as": ("bigger", False),
    "twice as tall as": ("bigger", False),
    "smaller than": ("bigger", True),
    "shorter than": ("bigger", True),
    "half the size of": ("bigger", True),
    "half as big as": ("bigger", True),
    "half as tall as": ("bigger", True),
}
_HALF = re.compile(r"\b(?:twice|half)\b")
_NAME = re.compile(r"\{([^{}]*)\}")
_CLAUSE = re.compile(r"(?:[,.;:!?\n]|\bwhile\b)(?![^{}]*\})")
_OUTSIDE = re.compile(r"\{[^{}]*\}|[^{}]+")
_NEVER = re.compile(r"\b(?:not|never|no|without)\b|n't\b")
_JOINING = r"(?:and|or|but|with|who|which|that|as|than)"
_ALL_WORDS = "|".join(re.escape(words) for words in sorted(_WORDS, key=len, reverse=True))
# The last such words before a name, with an article and at most two adjectives behind them.
_RELATION = re.compile(
    rf"^(?:.*\s)?({_ALL_WORDS})(?:\s+(?:a|an|the|his|her|its|their))?"
    rf"(?:\s+(?!{_JOINING}\b)[\w'-]+){{0,2}}$"
)
_TOGETHER = re.compile(
    rf"^(?:are\s+|is\s+)?(?:\w+ing\s+)??"
    rf"(?:({_TOUCH.replace(' ', '|')})(?:\s+each other)?"
    r"|(side by side|(?:facing|next to|beside|near|close to) each other))\b"
)
_AT_SIDE = re.compile(
    r"^(?:(?:is|stands|sits|standing|sitting)\s+)?(?:on|at|to) the (?:far )?(left|right)"
    r"(?: side)?\b(?!\s+of)"
)
_SIZE_WORDS = {
    "tiny": 0.35,
    "small": 0.6,
    "little": 0.6,
    "big": 1.5,
    "large": 1.5,
    "huge": 2.0,
    "giant": 2.0,
}
_SIZED = re.compile(rf"\b({'|'.join(_SIZE_WORDS)})\s+\{{([^{{}}]*)\}}")
_BIGGER, _TWICE = 0.6, 0.5


@dataclass(frozen=True)
class Said:
    """``first`` is ``kind`` to ``second``; of "between" also to ``third``.

    Kinds: left of; above; on (it touches what it stands on); behind (``first`` is hidden in part);
    inside; next to; hugging (side by side, touching); after (side by side, apart, whoever is
    left); between; bigger. ``share`` is of bigger: the second's height over the first's.
    """

    kind: str
    first: str
    second: str
    third: str | None = None
    share: float = _BIGGER


def relations_of(scene: Scene) -> list[Said]:
    """What ``scene.relation`` and the prompt's own words say, in that order, each once.

    Read are the words in front of a name, after another name of the same clause: "{a} is chasing
    {b}", "{a} and {b} on top of a huge {c}", "{a} between {b} and {c}"; and "{a} and {b} hugging",
    "{a} on the left". What is denied ("not next to") and what is worded otherwise is not read.

    >>> from pathlib import Path
    >>> from personae.subjects.subject import ReferenceFile, Subject
    >>> cast = {n: Subject(n, "toy", "object", (ReferenceFile(Path("x.png")),)) for n in "ab"}
    >>> said = relations_of(Scene("s", "{a} is chasing {b} in a park, {a} left of {b}", cast))
    >>> [(one.first, one.kind, one.second) for one in said]
    [('a', 'after', 'b'), ('a', 'left of', 'b')]
    """
    found = [*_of_relation(scene)]
    for clause in _CLAUSE.split(_lowered(scene.prompt)):
        found += _of_clause(clause, list(scene.subjects))
    apart = (
        one for one in found if one.first != one.second and one.third not in {one.first, one.second}
    )
    return list(dict.fromkeys(apart))


def sizes_said(scene: Scene) -> dict[str, float]:
    """Sizes that the prompt's words give some subjects: "a tiny {a}", "{a} bigger than {b}".

    >>> from pathlib import Path
    >>> from personae.subjects.subject import ReferenceFile, Subject
    >>> cast = {n: Subject(n, "toy", "object", (ReferenceFile(Path("x.png")),)) for n in "ab"}
    >>> sizes_said(Scene("s", "{a} is twice as tall as {b}", cast))
    {'a': 1.0, 'b': 0.5}
    """
    sizes = {
        match[2]: _SIZE_WORDS[match[1]]
        for match in _SIZED.finditer(_lowered(scene.prompt))
        if match[2] in scene.subjects
    }
    for one in relations_of(scene):
        if one.kind == "bigger":
            sizes[one.second] = sizes.setdefault(one.first, 1.0) * one.share
    return sizes


def _of_relation(scene: Scene) -> Iterator[Said]:
    relation = scene.relation
    words = "" if relation is None else " ".join(relation.words.lower().split())
    if relation is not None and words in _WORDS:
        yield from _said(words, relation.first, relation.second, None)


def _lowered(prompt: str) -> str:
    """In small letters, but for the names."""
    return _OUTSIDE.sub(lambda part: part[0] if part[0][0] == "{" else part[0].lower(), prompt)


def _of_clause(clause: str, names: list[str]) -> Iterator[Said]:
    matches = [match for match in _NAME.finditer(clause) if match[1] in names]
    ids = [match[1] for match in matches]
    gaps = [clause[one.end() : two.start()].strip() for one, two in pairwise(matches)]
    tails = [*gaps, clause[matches[-1].end() :].strip()] if matches else []
    num_joined = _num_joined(gaps)
    for index, gap in enumerate(gaps):
        match = _RELATION.match(gap)
        if match is None or _NEVER.search(gap):
            continue
        # "{a} and {b} next to {c}" speaks of both, but only where the clause begins so.
        firsts = ids[: index + 1] if index + 1 == num_joined else [ids[index]]
        third = ids[index + 2] if gaps[index + 1 : index + 2] == ["and"] else None
        for first in firsts:
            yield from _said(match[1], first, ids[index + 1], third)
    if num_joined > 1 and (match := _TOGETHER.match(tails[num_joined - 1])):
        for first, second in pairwise(ids[:num_joined]):
            yield Said("hugging" if match[1] else "next to", first, second)
    yield from _at_sides(ids, tails, names)


def _num_joined(gaps: list[str]) -> int:
    """How many names the clause begins with that "and" joins."""
    return next((place for place, gap in enumerate(gaps) if gap != "and"), len(gaps)) + 1


def _at_sides(ids: list[str], tails: list[str], everybody: list[str]) -> Iterator[Said]:
    """Of "{a} on the left": left of all others."""
    for name, tail in zip(ids, tails, strict=True):
        match = _AT_SIDE.match(tail)
        for other in everybody if match else ():
            pair = (name, other) if match and match[1] == "left" else (other, name)
            if name != other:
                yield Said("left of", *pair)


def _said(words: str, first: str, second: str, third: str | None) -> Iterator[Said]:
    kind, exchanged = _WORDS[words]
    pair = (second, first) if exchanged else (first, second)
    if kind == "between":
        if third is not None:
            yield Said(kind, first, second, third)
        return
    yield Said(kind, *pair, share=_TWICE if _HALF.match(words) else _BIGGER)
