"""Albums: renderings of many toons with the truth about them, kept for the eyes to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from personae.compute.runs import write_atomic
from personae.subjects.box import Box
from personae.toons.compose import compose, stage
from personae.toons.identity import Split, Toon, identities, look_alike, toon
from personae.toons.places import PLACES, draw_place
from personae.toons.portrait import Portrait, lit, portrait
from personae.toons.pose import ACTIONS, WORN, Pose, pose
from personae.toons.scene import ToonScene, scene
from personae.vision.toons.traits import TRAIT_CHOICES

__all__ = ["Album", "AlbumPlan", "album", "trait_codes"]


def trait_codes(one: Toon) -> list[int]:
    """A code for each of `TRAIT_CHOICES`; -1 for a trait that cannot be seen."""
    seen = one.attributes()
    return [
        choices.index(seen[name]) if name in seen else -1 for name, choices in TRAIT_CHOICES.items()
    ]


@dataclass(frozen=True, kw_only=True)
class AlbumPlan:
    """What to render; the album is a pure function of it.

    ``families`` identities of a split from the ``start``-th on, each with ``likes`` look-alikes
    of one changed trait; every one of them in ``scenes`` scenes, as the reference of each, and in
    ``portraits`` portraits more. ``busy``: scenes without references, in which most toons wear or
    do something.
    """

    split: Split
    families: int
    start: int = 0
    likes: int = 2
    portraits: int = 1
    scenes: int = 1
    seed: int = 0
    busy: bool = False

    @property
    def name(self) -> str:
        """A file name that says it all."""
        parts = [getattr(self, item.name) for item in fields(self) if item.name != "busy"]
        return f"album-{'busy-' * self.busy}" + "-".join(str(part) for part in parts)


@dataclass(frozen=True, eq=False)
class Album:
    """P pictures with V faces of I identities.

    ``pixels`` all pictures (uint8) one after the other, ``shapes`` (P, 2) their height and width,
    ``place`` (P,) index of `PLACES` or -1 for a portrait. Of each face: ``picture`` (V,), ``row``
    (V, 14) left, top, right, bottom and five landmarks x, y in pixels, ``who`` (V,), ``wears``
    and ``action`` (V,) 0 for nothing, else 1 + the index. ``family`` (I,) and ``traits`` (I, T).
    """

    pixels: np.ndarray
    shapes: np.ndarray
    place: np.ndarray
    picture: np.ndarray
    row: np.ndarray
    who: np.ndarray
    wears: np.ndarray
    action: np.ndarray
    family: np.ndarray
    traits: np.ndarray

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 of one picture."""
        height, width = (int(value) for value in self.shapes[index])
        start = int(self.starts[index])
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)

    @cached_property
    def starts(self) -> np.ndarray:
        """(P + 1,) where each picture begins in ``pixels``."""
        ends = np.cumsum(self.shapes.astype(np.int64).prod(1) * 3)
        return np.concatenate([[0], ends])

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def faces_of(self, index: int) -> np.ndarray:
        """Which faces are in a picture: indices into ``row`` and the others."""
        return np.flatnonzero(self.picture == index)


class _Pages:
    """An album while it grows."""

    def __init__(self) -> None:
        self.pixels: list[np.ndarray] = []
        self.shapes: list[tuple[int, int]] = []
        self.place: list[int] = []
        self.faces: list[tuple[Any, ...]] = []

    def add(self, image: np.ndarray, place: int) -> None:
        """A picture; the faces that are added next are in it."""
        self.pixels.append(image.reshape(-1))
        self.shapes.append((image.shape[0], image.shape[1]))
        self.place.append(place)

    def face(self, box: Box, landmarks: np.ndarray, *codes: int) -> None:
        """A face of the last picture: who, wears, action."""
        row = np.concatenate([box.xyxy, landmarks.reshape(-1)]).astype(np.float32)
        self.faces.append((len(self.shapes) - 1, row, *codes))

    def figure(self, box: Box, landmarks: np.ndarray, who: int, pose: Pose) -> None:
        """A face of the last picture, of a toon that may wear or do something."""
        wears = 0 if pose.wears is None else 1 + WORN.index(pose.wears)
        action = 0 if pose.action is None else 1 + ACTIONS.index(pose.action)
        self.face(box, landmarks, who, wears, action)


def _portrait(pages: _Pages, made: Portrait, who: int) -> None:
    pages.add(made.image, -1)
    pages.face(made.face, made.landmarks, who, 0, 0)


def _scene(pages: _Pages, made: ToonScene, who: Sequence[int]) -> None:
    for member, number in zip(made.members, who, strict=True):
        _portrait(pages, member.reference, number)
    pages.add(made.image, PLACES.index(made.place))
    for member, number in zip(made.members, who, strict=True):
        pages.figure(member.face, member.landmarks, number, member.pose)


def _busy_scene(pages: _Pages, cast: Sequence[Toon], who: Sequence[int], seed: int) -> None:
    rng = np.random.default_rng([seed, 9])
    chosen = [pose(rng, _some(ACTIONS, rng), _some(WORN, rng)) for _ in cast]
    size = (128 if len(cast) <= 3 else 192, 128)
    place = int(rng.integers(len(PLACES)))
    staged = stage(rng, cast, chosen, size)
    picture, _ = compose(draw_place(PLACES[place], rng, *size), staged)
    pages.add(lit(picture, rng), place)
    for item, number in zip(staged, who, strict=True):
        pages.figure(item.figure.face, item.figure.landmarks, number, item.pose)


def _some(choices: Sequence[str], rng: np.random.Generator) -> str | None:
    return choices[int(rng.integers(len(choices)))] if rng.random() < 0.6 else None


def _groups(count: int, rounds: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Every identity once a round, in groups of one to five."""
    for _ in range(rounds):
        order = rng.permutation(count).tolist()
        while order:
            take = int(rng.choice([1, 2, 3, 4, 5], p=[0.15, 0.35, 0.3, 0.1, 0.1]))
            yield order[:take]
            order = order[take:]


def _rendered(plan: AlbumPlan, progress: Callable[[int, int], None] | None) -> Album:
    seeds = identities(plan.split, plan.families, plan.start)
    cast = [
        one
        for seed in seeds
        for one in (toon(seed), *(look_alike(toon(seed), k) for k in range(plan.likes)))
    ]
    rng = np.random.default_rng([plan.seed, plan.start, plan.families])
    pages, total = _Pages(), len(cast)
    for who, one in enumerate(cast):
        for _ in range(plan.portraits):
            _portrait(pages, portrait(one, int(rng.integers(2**31))), who)
        if progress and who % 100 == 0:
            progress(who, 2 * total)
    for number, group in enumerate(_groups(total, plan.scenes, rng)):
        toons, number_of_scene = [cast[who] for who in group], int(rng.integers(2**31))
        if plan.busy:
            _busy_scene(pages, toons, group, number_of_scene)
        else:
            _scene(pages, scene(number_of_scene, toons=toons), group)
        if progress and number % 100 == 0:
            progress(total + number, 2 * total)
    return _bound(pages, cast, plan.likes)


def _bound(pages: _Pages, cast: Sequence[Toon], likes: int) -> Album:
    picture, row, who, wears, action = zip(*pages.faces, strict=True)
    return Album(
        pixels=np.concatenate(pages.pixels),
        shapes=np.array(pages.shapes, np.int32),
        place=np.array(pages.place, np.int32),
        picture=np.array(picture, np.int32),
        row=np.stack(row),
        who=np.array(who, np.int32),
        wears=np.array(wears, np.int32),
        action=np.array(action, np.int32),
        family=np.arange(len(cast), dtype=np.int32) // (likes + 1),
        traits=np.array([trait_codes(one) for one in cast], np.int32),
    )


def album(
    plan: AlbumPlan, folder: Path, progress: Callable[[int, int], None] | None = None
) -> Album:
    """Read the album of a plan from ``folder``, or render it and keep it there."""
    path = folder / f"{plan.name}.safetensors"
    if not path.is_file():
        made = _rendered(plan, progress)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, save(made.arrays()))
    return Album(**load_file(path))
