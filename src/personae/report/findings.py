"""A picture's verdict in words: who is absent, who is there twice, what could not be looked at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from personae.report.records import Picture, Presence

__all__ = [
    "ABSENT",
    "DUPLICATED",
    "STRANGER",
    "UNMEASURED",
    "WHOLE",
    "findings",
    "flags_of",
    "presence_of",
]

ABSENT, DUPLICATED, STRANGER, UNMEASURED, WHOLE = 1, 2, 4, 8, 16
"""Bits of a picture's flags. WHOLE: every subject was looked at and is there, once, and no one
else is; a score that is unmeasured for another reason does not take that away."""

Finding = tuple[str, str]
"""Tone (whole, absent, duplicated, stranger, unmeasured, note) and the words."""

_TONE_FLAGS = {
    "absent": ABSENT,
    "duplicated": DUPLICATED,
    "stranger": STRANGER,
    "unmeasured": UNMEASURED,
    "whole": WHOLE,
}


def presence_of(picture: Picture) -> dict[str, Presence]:
    """Presence of every subject: the presence rows, else what the matrices' matches say."""
    found: dict[str, Presence] = {}
    for group in map(json.loads, picture.groups):
        found.update(_presence_by_match(group))
    return found | picture.presence


def findings(picture: Picture, labels: Sequence[str]) -> list[Finding]:
    """All that is to be said of a picture, gravest first, or that nothing is wrong.

    >>> findings(Picture("pool", 0, presence={"bob": Presence("absent", 0)}), [])
    [('absent', 'bob: absent')]
    """
    presence = presence_of(picture)
    said: list[Finding] = [
        ("absent", f"{subject}: absent")
        for subject, state in presence.items()
        if state.status == "absent"
    ]
    said += [
        ("duplicated", f"{subject}: {_times(state.copies)}")
        for subject, state in presence.items()
        if state.status == "twice"
    ]
    groups = [json.loads(group) for group in picture.groups]
    said += _strangers(groups)
    if not said and presence and all(state.status == "found" for state in presence.values()):
        said = [("whole", "every subject there, once")]
    said += _unmeasured(picture, labels)
    said += [("note", note) for group in groups for note in group["notes"]]
    return said


def flags_of(said: Sequence[Finding]) -> int:
    """The bits of all tones in a picture's findings.

    >>> flags_of([("absent", "bob: absent"), ("stranger", "1 stranger")]) == ABSENT | STRANGER
    True
    """
    flags = 0
    for tone, _ in said:
        flags |= _TONE_FLAGS.get(tone, 0)
    return flags


def _presence_by_match(group: dict[str, Any]) -> dict[str, Presence]:
    similarity, subjects = group["similarity"], group["subjects"]
    copies = [0 if box is None else 1 for box in group["match"]]
    for box in group["duplicates"]:
        nearest = max(range(len(similarity)), key=lambda row: similarity[row][box] or -1.0)
        copies[nearest] += 1
    states = ("absent", "found")
    return {
        subject: Presence(states[count] if count < 2 else "twice", count)
        for subject, count in zip(subjects, copies, strict=False)
    }


def _times(count: int) -> str:
    return {2: "twice", 3: "three times"}.get(count, f"{count} times")


def _strangers(groups: Sequence[dict[str, Any]]) -> list[Finding]:
    count = sum(len(group["strangers"]) for group in groups)
    return [("stranger", f"{count} stranger{'s' if count > 1 else ''}")] if count else []


def _unmeasured(picture: Picture, labels: Sequence[str]) -> list[Finding]:
    by_reason: dict[str, list[str]] = {}
    for score in picture.scores:
        if score.value is None:
            label = labels[score.column]
            what = label if score.subject is None else f"{label} of {score.subject}"
            by_reason.setdefault(score.reason or "no reason given", []).append(what)
    return [
        ("unmeasured", f"unmeasured: {reason} ({_several(whats)})")
        for reason, whats in by_reason.items()
    ]


def _several(whats: Sequence[str]) -> str:
    """At most three names, then a count.

    >>> _several(["a", "b", "c", "d"])
    'a, b and 2 more scores'
    """
    if len(whats) <= 3:
        return ", ".join(whats)
    return f"{', '.join(whats[:2])} and {len(whats) - 2} more scores"
