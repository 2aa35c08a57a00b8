"""The step that compares how many people are in a picture with how many its words say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.people import faces_of
from personae.data.pipeline.step import Files, kept_or_lost

__all__ = ["Counted", "people_said"]

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = {word: number for number, word in enumerate(_NUMBERS)} | {"a": 1, "an": 1, "another": 1}
_ONE = "person man woman boy girl child kid baby adult teenager guy lady"
_MANY = "people persons men women boys girls children kids babies adults teenagers guys ladies"
_NOUNS = "|".join(f"{_ONE} {_MANY}".split())
# A number, up to two words that describe, and a noun: "two smiling young women".
_SAID = re.compile(
    rf"\b({'|'.join(_NUMBER)}|\d{{1,2}})\s+(?:(?!{'|'.join(_NUMBER)})[\w-]+\s+){{0,2}}?({_NOUNS})\b"
)
_VAGUE = re.compile(r"\b(crowd|group|several|some|many|few|couple of|dozens?|audience)\b")


def people_said(caption: str) -> int | None:
    """How many people English words say there are; None where they say no number.

    Numbers up to ten or in digits, before the commonest nouns; what is vague beside them ("and
    some others") leaves the number open.

    >>> people_said("Two smiling women and a man in a park"), people_said("a crowd in the street")
    (3, None)
    """
    text = caption.lower()
    found = _SAID.findall(text)
    if not found or _VAGUE.search(text):
        return None
    return sum(int(word) if word.isdigit() else _NUMBER[word] for word, _ in found)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Drops pictures that show another number of people than their plan or caption says.

    A plan says it by its ``nouns``, else a ``caption`` in words (`people_said`). Where neither says
    a number nothing can be compared: the picture goes on, and the account tells how many did.

    Attributes:
        slack: by so many the number may differ.
    """

    slack: int = 0
    name: str = "counted"

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {"slack": self.slack}

    def build(self) -> None:
        """Nothing."""

    def work(self, state: None, items: Sequence[Item], files: Files) -> Made:
        """See `Step`; faces were found by a step before."""
        made = kept_or_lost(items, self.name, self._verdict)
        silent = sum(_said(item) is None for item in items)
        return Made(made.items, made.lost, {_SILENT: silent} if silent else {})

    def _verdict(self, item: Item) -> Lost | None:
        found, said = len(faces_of(item)), _said(item)
        if said is None or abs(found - said) <= self.slack:
            return None
        reason = "fewer people than its words say" if found < said else "more than its words say"
        return Lost(item.id, reason, detail=f"{found} for {said}")


_SILENT = "its words say no number of people"


def _said(item: Item) -> int | None:
    nouns = item.data.get("nouns")
    if nouns is not None:
        return len(nouns)
    return people_said(str(item.data.get("caption", "")))
