"""Scenes: one to five toons in a place, with a caption and the truth about every claim in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personae.errors import RequestError
from personae.subjects.box import Box
from personae.subjects.mask import mask_box
from personae.subjects.scene import Claim, Relation
from personae.toons.caption import caption
from personae.toons.compose import Staged, compose, stage
from personae.toons.identity import Split, Toon, identities, look_alike, toon
from personae.toons.places import PLACES, draw_place
from personae.toons.portrait import Portrait, lit, portrait
from personae.toons.pose import ACTIONS, WORN, Pose, pose

__all__ = ["MAX_TOONS", "Member", "ToonScene", "scene"]

MAX_TOONS = 5
NAMES = ("a", "b", "c", "d", "e")
_SALT = 20_262
_WORLD = 2_000_000


@dataclass(frozen=True, eq=False)
class Member:
    """A toon in a scene: who, where, doing what.

    ``box`` around the visible part of the whole figure and ``face`` around the bare head, in
    pixels; ``landmarks`` (5, 2) as in `Portrait`; ``mask`` (H, W) bool, the visible part;
    ``reference`` a portrait in another pose.
    """

    name: str
    toon: Toon
    pose: Pose
    box: Box
    face: Box
    landmarks: np.ndarray
    mask: np.ndarray
    reference: Portrait

    @property
    def wears(self) -> str | None:
        """One of `WORN`, or nothing."""
        return self.pose.wears

    @property
    def action(self) -> str | None:
        """One of `ACTIONS`, or nothing."""
        return self.pose.action


@dataclass(frozen=True, eq=False)
class ToonScene:
    """A drawn scene and its ground truth; ``image`` (H, W, 3) uint8."""

    id: str
    seed: int
    image: np.ndarray
    prompt: str
    members: tuple[Member, ...]
    place: str
    relation: Relation | None
    claims: tuple[Claim, ...]

    @property
    def width(self) -> int:
        """Of the picture, in pixels."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Of the picture, in pixels."""
        return int(self.image.shape[0])


def scene(
    seed: int,
    *,
    count: int | None = None,
    split: Split = "train",
    look_alikes: bool = False,
    toons: Sequence[Toon] | None = None,
    size: tuple[int, int] | None = None,
    bare: bool = False,
) -> ToonScene:
    """The scene of a seed: a pure function of its arguments.

    Args:
        seed: from 0 up; other seeds are other toons, places, poses, everything.
        count: how many toons, 1 to 5; by default two or three, sometimes another number.
        split: where the identities come from.
        look_alikes: all toons of the scene differ in one or two traits only.
        toons: these toons instead of some of the split.
        size: width and height; by default 128 x 128, and 192 x 128 for four toons or more.
        bare: the same scene in all else, but nobody wears or does anything.

    Raises:
        RequestError: a count outside 1 to 5, or a negative seed.

    >>> one = scene(1, count=2)
    >>> one.image.shape, [member.name for member in one.members]
    ((128, 128, 3), ['a', 'b'])
    """
    if seed < 0:
        raise RequestError(f"a scene's seed is a whole number from 0 up; got {seed}")
    rng = np.random.default_rng([_SALT, seed, ("train", "validation", "test").index(split)])
    drawn = int(rng.choice([1, 2, 3, 4, 5], p=[0.12, 0.38, 0.3, 0.12, 0.08]))
    number = len(toons) if toons is not None else count if count is not None else drawn
    if not 1 <= number <= MAX_TOONS:
        raise RequestError(f"a scene holds 1 to {MAX_TOONS} toons; got {number}")
    cast = list(toons) if toons is not None else _cast(rng, number, split, look_alikes)
    kind = f"{split}-{number}{'-alike' if look_alikes else ''}"
    return _draw(f"{kind}-{seed:06d}", seed, cast, rng, size or _size(number), bare=bare)


def _size(number: int) -> tuple[int, int]:
    return (128 if number <= 3 else 192, 128)


def _cast(rng: np.random.Generator, number: int, split: Split, alike: bool) -> list[Toon]:
    places = rng.choice(_WORLD, size=number, replace=False)
    cast = [toon(identities(split, 1, int(place))[0]) for place in places]
    if alike:
        model, others = cast[0], int(rng.integers(1 << 30))
        changes = [1 + int(rng.random() < 0.5) for _ in cast]
        cast = [model] + [look_alike(model, others + i, changes[i]) for i in range(1, number)]
    return cast


def _draw(
    name: str,
    seed: int,
    cast: list[Toon],
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    bare: bool,
) -> ToonScene:
    place = PLACES[int(rng.integers(len(PLACES)))]
    poses = _poses(rng, len(cast))
    if bare:
        poses = [replace(one, action=None, wears=None) for one in poses]
    staged = stage(rng, cast, poses, size)
    picture, masks = compose(draw_place(place, rng, *size), staged)
    members = tuple(
        _member(rng, NAMES[i], item, mask)
        for i, (item, mask) in enumerate(zip(staged, masks, strict=True))
    )
    relation = _relation(rng, staged)
    return ToonScene(
        id=name,
        seed=seed,
        image=lit(picture, rng),
        prompt=caption([(m.name, m.pose) for m in members], place, relation),
        members=members,
        place=place,
        relation=relation,
        claims=_claims(members, place, relation),
    )


def _poses(rng: np.random.Generator, number: int) -> list[Pose]:
    """One pose a toon; at most three things worn or done, so that captions stay short."""
    poses, told = [pose(rng) for _ in range(number)], 0
    for index in rng.permutation(number):
        for field, choices in (("action", ACTIONS), ("wears", WORN)):
            choice = choices[int(rng.integers(len(choices)))]
            if rng.random() < 0.35 and told < (3 if number <= 3 else 2):
                poses[index] = replace(poses[index], **{field: choice})
                told += 1
    return poses


def _member(rng: np.random.Generator, name: str, item: Staged, mask: np.ndarray) -> Member:
    return Member(
        name=name,
        toon=item.toon,
        pose=item.pose,
        box=mask_box(mask),
        face=item.figure.face,
        landmarks=item.figure.landmarks,
        mask=mask,
        reference=portrait(item.toon, int(rng.integers(1 << 30)), than=item.pose),
    )


def _relation(rng: np.random.Generator, staged: list[Staged]) -> Relation | None:
    """One true relation of two toons that stand side by side or one above the other."""
    if len(staged) < 2 or rng.random() < 0.2:
        return None
    if staged[0].raised != staged[1].raised and len(staged) == 2:
        high, low = (0, 1) if staged[0].raised else (1, 0)
        return Relation(NAMES[high], "above", NAMES[low])
    order = sorted(range(len(staged)), key=lambda i: staged[i].head[0])
    spot = int(rng.integers(len(order) - 1))
    left, right = order[spot], order[spot + 1]
    if rng.random() < 0.7:
        return Relation(NAMES[left], "left of", NAMES[right])
    first, second = (left, right) if rng.random() < 0.5 else (right, left)
    return Relation(NAMES[first], "next to", NAMES[second])


def _claims(members: Sequence[Member], place: str, relation: Relation | None) -> tuple[Claim, ...]:
    claims = [Claim("count", None, str(len(members))), Claim("place", None, place)]
    if relation is not None:
        claims.append(Claim("relation", relation.first, f"{relation.words} {relation.second}"))
    claims += [Claim("wears", m.name, m.wears) for m in members if m.wears is not None]
    claims += [Claim("action", m.name, m.action) for m in members if m.action is not None]
    return tuple(claims)
