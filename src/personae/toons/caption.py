"""Captions: what a scene says in plain English."""

from __future__ import annotations

from collections.abc import Sequence

from personae.subjects.scene import Relation
from personae.toons.pose import Pose

__all__ = ["WHERE", "caption", "pose_words"]

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
        parts += [f"{{{name}}} {words}" for words in pose_words(pose)]
    return ", ".join(parts)


def pose_words(pose: Pose) -> list[str]:
    """What a toon wears, then what it does.

    >>> pose_words(Pose(action="waving", wears="scarf"))
    ['wearing a scarf', 'waving']
    """
    worn = [] if pose.wears is None else [f"wearing {_WEARING[pose.wears]}"]
    return worn if pose.action is None else [*worn, pose.action]
