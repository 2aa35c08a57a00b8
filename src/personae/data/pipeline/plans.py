"""What a synthetic set is to show: tasks, subjects and words, before anything is drawn.

The seven tasks are PSR's (Wang et al., arXiv 2512.01236): attribute, background, action, position,
complex, and three and four subjects. Their templates and models are not published; the words are
ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from personae.data.pipeline.items import Item
from personae.errors import RequestError
from personae.toons import scene
from personae.toons.caption import WHERE, pose_words
from personae.toons.scene import ToonScene

__all__ = [
    "COUNTS",
    "TASKS",
    "Planner",
    "TemplatePlanner",
    "WorldPlanner",
    "plans",
    "world_scene",
]

TASKS = ("attribute", "background", "action", "position", "complex", "three", "four")
COUNTS = {"three": 3, "four": 4}
"""Subjects of a task's pictures; two in all others."""
_SALT = 0x5C3E
_TRIES = 500


class Planner(Protocol):
    """Makes one plan of a task."""

    def plan(self, task: str, number: int, seed: int, *, bare: bool = False) -> Mapping[str, Any]:
        """``prompt`` with ids in braces, ``nouns`` by id, ``alone`` words by id, and more.

        ``relation`` (id, words, id) is told where the prompt says one. What a later step is to
        find out (`Planned`: all but the nouns) is left out. ``bare``: attributes and actions do
        not stand in the prompt; where they are planned they stand in ``edits``, [id, words] each.
        """
        ...

    def settings(self) -> Mapping[str, Any]:
        """What plans depend on, as JSON."""
        ...


@dataclass(frozen=True, kw_only=True)
class TemplatePlanner:
    """Plans from lists of words: what a text-to-image model is to draw.

    Attributes:
        nouns: categories; a plan takes different ones.
        places, attributes, actions: as a sentence ends on them ("in a park", "wearing a scarf",
            "waving").
        relations: between the first and the second.
        views: how each is seen where it is drawn again alone, before its place there.
    """

    nouns: tuple[str, ...]
    places: tuple[str, ...] = ("in a park", "on a beach", "in the snow", "in a city", "in a room")
    attributes: tuple[str, ...] = ("wearing a scarf", "wearing a hat", "wearing a cape")
    actions: tuple[str, ...] = ("waving", "jumping", "holding a balloon")
    relations: tuple[str, ...] = ("left of", "right of", "above", "next to")
    views: tuple[str, ...] = ("seen from the side", "turned half away", "seen from below")

    def __post_init__(self) -> None:
        if len(set(self.nouns)) < max(COUNTS.values()):
            raise RequestError(
                f"plan.nouns: expected at least {max(COUNTS.values())} different ones, for "
                f"scenes of so many subjects; got {list(self.nouns)}"
            )
        for name in ("places", "attributes", "actions", "relations", "views"):
            if not getattr(self, name):
                raise RequestError(f"plan.{name}: expected some words; got none")

    def settings(self) -> Mapping[str, Any]:
        """See `Planner`."""
        return {"planner": "templates", **vars(self)}

    def plan(self, task: str, number: int, seed: int, *, bare: bool = False) -> Mapping[str, Any]:
        """See `Planner`."""
        rng = np.random.default_rng([_SALT, seed, number])

        def one(words: Sequence[str]) -> str:
            return words[int(rng.integers(len(words)))]

        nouns = [str(noun) for noun in rng.choice(sorted(set(self.nouns)), 4, replace=False)]
        ids = "abcd"[: COUNTS.get(task, 2)]
        place, parts, said = one(self.places), [], []
        relation = ["a", one(self.relations), "b"] if task in {"position", "complex"} else None
        if relation:
            parts.append(f"{{a}} {relation[1]} {{b}}")
        if task in {"attribute", "complex"}:
            said += [[name, one(self.attributes)] for name in ids]
        if task in {"action", "complex"}:
            said += [[name, one(self.actions)] for name in ids]
        parts += [] if bare else [f"{{{name}}} {words}" for name, words in said]
        names = [f"{{{name}}}" for name in ids]
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        elsewhere = [other for other in self.places if other != place] or [place]
        return {
            "prompt": ", ".join([f"{listed} {place}", *parts]),
            "nouns": dict(zip(ids, nouns, strict=False)),
            "alone": {name: f"{one(self.views)} {one(elsewhere)}" for name in ids},
            **({"relation": relation} if relation else {}),
            **({"edits": said} if bare else {}),
        }


@dataclass(frozen=True, kw_only=True)
class WorldPlanner:
    """Plans that the toon world can draw: seeds of scenes whose claims belong to the task.

    Attributes:
        split: whose identities.
        start: the first seed; plan n looks from ``start + 1000 n`` on.
        look_alikes: share of scenes whose toons differ in a trait or two.
    """

    split: str = "train"
    start: int = 0
    look_alikes: float = 0.2

    def settings(self) -> Mapping[str, Any]:
        """See `Planner`."""
        return {"planner": "world", **vars(self)}

    def plan(self, task: str, number: int, seed: int, *, bare: bool = False) -> Mapping[str, Any]:
        """See `Planner`; ``world`` tells `Drawn` which scene to draw, and whether bare."""
        rng = np.random.default_rng([_SALT, seed, number])
        alike = bool(rng.random() < self.look_alikes)
        first, count = self.start + 1000 * number, COUNTS.get(task, 2)
        for world_seed in range(first, first + _TRIES):
            drawn = scene(world_seed, count=count, split=self.split, look_alikes=alike)  # type: ignore[arg-type]
            if _suits(task, drawn):
                break
        else:
            raise RequestError(f"plan {number}: no scene of {_TRIES} is one of task {task!r}")
        elsewhere = [words for place, words in WHERE.items() if place != drawn.place]
        said = drawn.relation
        world = {"seed": world_seed, "count": count, "alike": alike, "split": self.split}
        return {
            "prompt": drawn.prompt,
            "nouns": {member.name: member.toon.noun for member in drawn.members},
            "alone": {member.name: str(rng.choice(elsewhere)) for member in drawn.members},
            "world": world,
            **({"relation": [said.first, said.words, said.second]} if said else {}),
            **(_bare(world, drawn) if bare else {}),
        }


def _bare(world: Mapping[str, Any], drawn: ToonScene) -> dict[str, Any]:
    """What of a plan is otherwise where the scene is drawn bare first."""
    edits = [[one.name, words] for one in drawn.members for words in pose_words(one.pose)]
    bare = {**world, "bare": True}
    return {"prompt": world_scene(bare).prompt, "world": bare, "edits": edits}


def world_scene(world: Mapping[str, Any], *, bare: bool | None = None) -> ToonScene:
    """The scene that a plan's ``world`` names; ``bare`` or not, whatever stands there."""
    return scene(
        world["seed"],
        count=world["count"],
        split=world["split"],
        look_alikes=world["alike"],
        bare=world.get("bare", False) if bare is None else bare,
    )


def _suits(task: str, drawn: ToonScene) -> bool:
    kinds = {claim.kind for claim in drawn.claims} - {"count", "place"}
    if task == "background":
        return not kinds
    if task == "complex":
        return len(kinds) >= 2
    wanted = {"attribute": "wears", "action": "action", "position": "relation"}
    return wanted[task] in kinds if task in wanted else True


def plans(
    planner: Planner,
    count: int,
    tasks: Mapping[str, float],
    seed: int = 0,
    *,
    license: str | None = None,
    consent: str | None = None,
    bare: Collection[str] = (),
) -> Iterator[Item]:
    """An item a plan: tasks in the shares asked for, spread evenly over the whole.

    Those of the tasks in ``bare`` are planned without attributes and actions; see `Planner`.

    Raises:
        RequestError: no plan, an unknown task, or shares that are not.
    """
    unknown = sorted(set(tasks) - set(TASKS))
    if count < 1 or unknown or not tasks or min(tasks.values()) < 0 or not sum(tasks.values()):
        raise RequestError(
            f"plan: expected count 1 or more and shares of {', '.join(TASKS)}, not all 0; got "
            f"{count}, {dict(tasks)}"
        )
    shares = np.asarray(list(tasks.values()), float) / sum(tasks.values())
    owed = np.zeros(len(shares))
    for number in range(count):
        owed += shares
        place = int(owed.argmax())
        owed[place] -= 1
        task = list(tasks)[place]
        yield Item(
            id=f"plan-{number:07d}",
            data={"task": task, **planner.plan(task, number, seed, bare=task in bare)},
            license=license,
            consent=consent,
        )
