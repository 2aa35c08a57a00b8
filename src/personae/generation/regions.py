"""What regional control is told of a scene: each subject's own prompt, and its box in latents."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from personae.diffusion.backbone import Limits
from personae.diffusion.regions import Region, box_cells
from personae.generation.prompts import words_for
from personae.subjects.layout import Layout
from personae.subjects.scene import Scene

__all__ = ["regional_prompts", "regions_of"]

_NAME = re.compile(r"\{([^{}]*)\}")
_CLAUSE = re.compile(r"[,.;](?![^{}]*\})")
# "floating on a pool", "in the park": the end of a clause that is true of everybody in it.
_PLACE = re.compile(
    r"^\s*(?:\w+ing\s+)?(?:in|on|at|under|inside|near|by|across|through|along)\s+[^{}]+$"
)


def regional_prompts(scene: Scene, limits: Limits, *, in_context: bool = True) -> dict[str, str]:
    """For each subject its name, the place of the whole prompt, and what is said of it alone.

    The place is what a clause of several subjects ends with, where that is simple: a word with
    "-ing" or none, and from a preposition on. Each subject keeps the words and the number that the
    whole prompt names it by.

    >>> from pathlib import Path
    >>> from personae.subjects.subject import ReferenceFile, Subject
    >>> cast = {n: Subject(n, "toy", "object", (ReferenceFile(Path("x.png")),)) for n in "ab"}
    >>> scene = Scene("s", "{a} and {b} floating on a pool, {a} left of {b}, {b} waving", cast)
    >>> limits = Limits(5, (), 64, 48, (1,), 20, 1.0, "{noun} {index}")
    >>> regional_prompts(scene, limits)
    {'a': 'toy 1 floating on a pool', 'b': 'toy 2 floating on a pool, toy 2 waving'}
    """
    clauses = [clause.strip() for clause in _CLAUSE.split(scene.prompt)]
    named = [set(_NAME.findall(clause)) for clause in clauses]
    tails = [clause[clause.rfind("}") + 1 :] for clause in clauses]
    shared = (tail for names, tail in zip(named, tails, strict=True) if len(names) != 1)
    place = next((tail.rstrip() for tail in shared if _PLACE.match(tail)), "")
    prompts = {}
    for name in scene.subjects:
        own = [text for text, names in zip(clauses, named, strict=True) if names == {name}]
        # Of a lone subject the first clause has the place already.
        first = [] if own and own[0] == clauses[0] else ["{" + name + "}" + place]
        words = ", ".join([*first, *own])
        part = replace(scene, prompt=words)
        prompts[name] = words_for(part, limits, in_context=in_context)
    return prompts


def regions_of(
    prompts: Mapping[str, str], layouts: Sequence[Layout], height: int, width: int
) -> list[Region]:
    """A region for each subject, in each picture at its own box; of latents (height, width).

    Without layouts there are no regions.
    """
    if not layouts:
        return []
    return [
        Region(prompt, torch.stack([box_cells(layout[name], height, width) for layout in layouts]))
        for name, prompt in prompts.items()
    ]
