"""Captions: what a scene says in plain English."""

from __future__ import annotations

from collections.abc import Sequence

from personae.subjects.scene import Relation
from personae.toons.pose import Pose

__all__ = ["WHERE", "caption"]

WHERE = {
    "park": "in a park",
    "beach": "on a beach",
    "snow": "in the snow",
    "city": "in a city",
    "night": "at night",
    "desert": "in a desert",
    "room": "in a room",
    "stage": "on a stage",
}
_WEARING = {"scarf": "a scarf", "cape": "a cape", "wings": "wings", "medal": "a medal"}


def caption(members: Sequence[tuple[str, Pose]], place: str, relation: Relation | None) -> str:
    """Who is where, how they stand, what they wear and do; names in braces.

    >>> caption([("a", Pose()), ("b", Pose(wears="scarf"))], "park", Relation("a", "left of", "b"))
    '{a} and {b} in a park, {a} left of {b}, {b} wearing a scarf'
    """
    names = ["{" + name + "}" for name, _ in members]
    listed = " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    parts = [f"{listed} {WHERE[place]}"]
    if relation is not None:
        parts.append(f"{{{relation.first}}} {relation.words} {{{relation.second}}}")
    for name, pose in members:
        if pose.wears is not None:
            parts.append(f"{{{name}}} wearing {_WEARING[pose.wears]}")
        if pose.action is not None:
            parts.append(f"{{{name}}} {pose.action}")
    return ", ".join(parts)
