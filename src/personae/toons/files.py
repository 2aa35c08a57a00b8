"""Toon scenes as files: what any stage of the road reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from personae.subjects.box import Box
from personae.toons.caption import WHERE
from personae.toons.identity import Toon
from personae.toons.places import draw_place
from personae.toons.scene import Member, ToonScene, scene

__all__ = ["CastToon", "write_cast", "write_cast_scenes", "write_places", "write_scenes"]

_PLACES = 20_263


@dataclass(frozen=True)
class CastToon:
    """A toon of a cast and the token that a model is to know it by."""

    toon: Toon
    token: str


def write_scenes(scenes: Iterable[ToonScene], folder: Path, *, truth: bool = False) -> Path:
    """Write ``scenes.jsonl`` with its references, masks and targets; gives its path back.

    References lie in ``refs/SCENE/NAME.png`` with ``NAME.mask.png``; ``targets/SCENE/NAME.png``
    is how each toon looks in the drawn truth, for measures of copying. With ``truth`` the drawn
    scenes themselves go to ``truth/SCENE/0.png``, as pictures to evaluate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for drawn in scenes:
        for member in drawn.members:
            _write_member(drawn, member, folder)
        if truth:
            _save(drawn.image, folder / "truth" / drawn.id / "0.png")
        lines.append(json.dumps(_line(drawn)))
    path = folder / "scenes.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_cast(
    toons: Mapping[str, CastToon],
    folder: Path,
    *,
    photos: int = 5,
    start: int = 0,
    size: tuple[int, int] = (128, 128),
) -> Path:
    """Write ``cast.jsonl``: each toon, by its id, alone in ``photos`` places and poses.

    A photo is a scene of one (`scene`), with its mask and its caption; ``start`` is the seed of
    the first, ``size`` the width and height of a photo. Gives the path back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (name, member) in enumerate(toons.items()):
        references = []
        for place in range(photos):
            alone = scene(start + number * photos + place, toons=[member.toon], size=size)
            path = f"{name}/{place:02d}"
            _save(alone.image, folder / f"{path}.png")
            mask = alone.members[0].mask
            _save(mask.astype(np.uint8) * 255, folder / f"{path}.mask.png")
            caption = alone.prompt.replace("{a}", "{" + name + "}")
            references.append({"image": f"{path}.png", "caption": caption, "source": "toons"})
        line = {"id": name, "noun": member.toon.noun, "kind": "person", "token": member.token}
        lines.append(json.dumps({**line, "references": references}))
    cast = folder / "cast.jsonl"
    cast.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return cast


def write_cast_scenes(scenes: Iterable[ToonScene], cast: Path, name: str = "scenes.jsonl") -> Path:
    """Write scenes of a cast's toons beside its ``cast.jsonl``: by token, with its photos.

    What `personae.generation` draws with a model that was taught the cast; members of a scene are
    called as subjects of the cast are. Gives the path back.
    """
    lines = [json.loads(text) for text in cast.read_text(encoding="utf-8").splitlines()]
    known = {
        line["id"]: {key: line[key] for key in ("noun", "kind", "token")}
        | {"references": [photo["image"] for photo in line["references"]]}
        for line in lines
    }
    told = []
    for one in scenes:
        line = _line(one) | {
            "subjects": {member.name: known[member.name] for member in one.members}
        }
        told.append(json.dumps(line))
    path = cast.with_name(name)
    path.write_text("\n".join(told) + "\n", encoding="utf-8")
    return path


def write_places(
    folder: Path, *, each: int = 4, size: tuple[int, int] = (128, 128), start: int = 0
) -> Path:
    """Write pictures of every place with nobody in it, and ``metadata.jsonl`` with its words.

    What to mix cut-outs before; ``start`` is the seed of the first. Gives the folder back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for place, words in WHERE.items():
        for number in range(start, start + each):
            rng = np.random.default_rng([_PLACES, number, len(lines)])
            picture = draw_place(place, rng, *size)
            name = f"{place}-{number:02d}.png"
            _save((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8), folder / name)
            lines.append(json.dumps({"file_name": name, "text": words}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


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
