"""The scenes of a page, the subjects in them, and their reference files, each file once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personae.report.findings import presence_of
from personae.report.records import Picture, Run, SubjectFacts

__all__ = ["SHOWN_REFERENCES", "Casts", "collect_casts"]

SHOWN_REFERENCES = 3
"""References of one subject that the page shows; further ones are counted."""


@dataclass
class Casts:
    """Scenes as the page's JSON, the scene of each picture, and the reference files.

    ``references`` are distinct files in the order of first use; ``first_used`` is the block in
    which each is first shown, which is the block that carries its thumbnail; ``by_block`` is the
    same the other way around.
    """

    scenes: list[dict[str, Any]] = field(default_factory=list)
    scene_at: list[int] = field(default_factory=list)
    references: list[Path] = field(default_factory=list)
    first_used: list[int] = field(default_factory=list)
    by_block: dict[int, list[int]] = field(default_factory=dict)


def collect_casts(run: Run, order: Sequence[Picture], page: int) -> Casts:
    """Scenes and references of the pictures in their order, ``page`` pictures a block."""
    casts, places, known = Casts(), dict[str, int](), dict[str, int]()
    for rank, picture in enumerate(order):
        if picture.scene not in places:
            places[picture.scene] = len(casts.scenes)
            casts.scenes.append(_scene(run, picture, casts, known, rank // page))
        casts.scene_at.append(places[picture.scene])
    return casts


def _scene(
    run: Run, picture: Picture, casts: Casts, known: dict[str, int], block: int
) -> dict[str, Any]:
    subjects = []
    for facts in _subjects(run, picture):
        shown = facts.references[:SHOWN_REFERENCES]
        subjects.append(
            {
                "id": facts.id,
                "noun": facts.noun,
                "kind": facts.kind,
                "refs": [_place(path, casts, known, block) for path in shown],
                "names": [path.name for path in shown],
                "more": len(facts.references) - len(shown),
            }
        )
    prompt = run.prompts.get(picture.scene, "")
    return {"id": picture.scene, "prompt": prompt, "subjects": subjects}


def _place(path: Path, casts: Casts, known: dict[str, int], block: int) -> int:
    key = os.path.normpath(path)
    if key not in known:
        known[key] = len(casts.references)
        casts.references.append(path)
        casts.first_used.append(block)
        casts.by_block.setdefault(block, []).append(known[key])
    return known[key]


def _subjects(run: Run, picture: Picture) -> list[SubjectFacts]:
    cast = dict(run.casts.get(picture.scene, {}))
    seen = [*presence_of(picture), *(score.subject for score in picture.scores)]
    for subject in seen:
        if subject is not None:
            cast.setdefault(subject, SubjectFacts(subject))
    return list(cast.values())
