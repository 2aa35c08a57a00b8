"""Toon scenes as files: what any stage of the road reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from personae.subjects.box import Box
from personae.toons.scene import Member, ToonScene

__all__ = ["write_scenes"]


def write_scenes(scenes: Iterable[ToonScene], folder: Path, *, truth: bool = False) -> Path:
    """Write ``scenes.jsonl`` with its references, masks and targets; gives its path back.

    References lie in ``refs/SCENE/NAME.png`` with ``NAME.mask.png``; ``targets/SCENE/NAME.png``
    is how each toon looks in the drawn truth, for measures of copying. With ``truth`` the drawn
    scenes themselves go to ``truth/SCENE/0.png``, as pictures to evaluate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for scene in scenes:
        for member in scene.members:
            _write_member(scene, member, folder)
        if truth:
            _save(scene.image, folder / "truth" / scene.id / "0.png")
        lines.append(json.dumps(_line(scene)))
    path = folder / "scenes.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _write_member(scene: ToonScene, member: Member, folder: Path) -> None:
    stem = f"{scene.id}/{member.name}"
    portrait = member.reference
    _save(portrait.image, folder / "refs" / f"{stem}.png")
    _save(portrait.mask.astype(np.uint8) * 255, folder / "refs" / f"{stem}.mask.png")
    _save(_around(scene.image, member.face), folder / "targets" / f"{stem}.png")


def _line(scene: ToonScene) -> dict[str, object]:
    line: dict[str, object] = {
        "id": scene.id,
        "prompt": scene.prompt,
        "subjects": {
            member.name: {
                "noun": member.toon.noun,
                "kind": "person",
                "references": [f"refs/{scene.id}/{member.name}.png"],
                "target": f"targets/{scene.id}/{member.name}.png",
            }
            for member in scene.members
        },
        "claims": [
            {"kind": c.kind, "subject": c.subject, "expected": c.expected} for c in scene.claims
        ],
    }
    if scene.relation is not None:
        line["relation"] = [scene.relation.first, scene.relation.words, scene.relation.second]
    return line


def _around(image: np.ndarray, face: Box) -> np.ndarray:
    """The square around a face, three heads wide where the picture reaches, twice enlarged."""
    height, width = image.shape[:2]
    x, y = face.center
    reach = 0.85 * max(face.width, face.height)
    left, right = max(round(x - reach), 0), min(round(x + reach), width)
    top, bottom = max(round(y - reach), 0), min(round(y + reach), height)
    part = Image.fromarray(image[top:bottom, left:right])
    size = (2 * part.width, 2 * part.height)
    return np.asarray(part.resize(size, Image.Resampling.BICUBIC))


def _save(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
