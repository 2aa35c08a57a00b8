"""Identities: what a seed makes of a toon, its look-alikes, and the splits that never mix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from personae.errors import RequestError

__all__ = [
    "COLORS",
    "TRAITS",
    "Split",
    "Toon",
    "identities",
    "look_alike",
    "split_of",
    "toon",
]

Split = Literal["train", "validation", "test"]

COLORS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        # skin
        "porcelain": (255, 226, 205),
        "peach": (250, 200, 165),
        "honey": (228, 170, 115),
        "olive": (200, 155, 105),
        "bronze": (170, 112, 70),
        "chestnut": (125, 78, 50),
        "umber": (85, 54, 40),
        "mint": (160, 220, 175),
        # hair and fur
        "black": (40, 34, 42),
        "brown": (110, 66, 38),
        "ginger": (205, 95, 35),
        "blond": (238, 200, 95),
        "gray": (165, 165, 172),
        "snow": (242, 242, 238),
        "pink": (240, 120, 175),
        "blue": (70, 110, 215),
        "green": (70, 165, 90),
        "purple": (140, 80, 185),
        "cream": (245, 225, 180),
        # cloth, metal, eyes
        "red": (215, 50, 55),
        "orange": (245, 145, 45),
        "yellow": (250, 215, 60),
        "teal": (40, 165, 165),
        "navy": (45, 60, 125),
        "white": (248, 248, 250),
        "steel": (150, 165, 185),
        "copper": (200, 120, 80),
        "gold": (225, 180, 70),
        "sky": (125, 190, 240),
        "hazel": (150, 100, 50),
        "dark": (45, 40, 50),
    }
)
"""Every color a trait can have, by name; those of one trait are far apart."""

_CLOTH = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "white", "navy")
_COMMON: Mapping[str, tuple[str, ...]] = {
    "glasses": ("none", "none", "none", "round", "square", "shades"),
    "hat": ("none", "none", "none", "cap", "beanie", "top hat", "sun hat", "bow", "headband"),
    "hat_color": _CLOTH,
    "clothes": ("plain", "stripes", "dots", "overalls", "jacket", "star", "sash", "halves"),
    "clothes_color": _CLOTH,
    "trim_color": _CLOTH,
}
_HUMAN: Mapping[str, tuple[str, ...]] = {
    "noun": ("girl", "boy", "woman", "man"),
    "skin": ("porcelain", "peach", "honey", "olive", "bronze", "chestnut", "umber"),
    "face": ("round", "oval", "square", "long", "heart"),
    "hair": (
        "bald",
        "buzz",
        "short",
        "parted",
        "bob",
        "long",
        "ponytail",
        "pigtails",
        "curly",
        "mohawk",
        "bun",
        "spiky",
    ),
    "hair_color": (
        "black",
        "brown",
        "ginger",
        "blond",
        "gray",
        "snow",
        "pink",
        "blue",
        "green",
        "purple",
    ),
    "brows": ("thin", "thick", "slanted"),
    "eyes": ("dots", "round", "tall", "narrow"),
    "eye_color": ("dark", "blue", "green", "hazel"),
    "nose": ("dot", "button", "long", "wide"),
    "beard": ("none", "none", "full", "goatee", "mustache"),
    "mark": ("none", "none", "freckles", "blush", "mole"),
}
_ANIMAL: Mapping[str, tuple[str, ...]] = {
    "noun": ("cat", "dog", "rabbit", "bear", "fox", "panda"),
    "skin": ("gray", "brown", "ginger", "cream", "snow", "black", "pink", "sky"),
    "face": ("round", "oval", "square"),
    "hair": ("plain", "mask", "patch", "stripes", "tuft"),
    "hair_color": ("black", "snow", "brown", "orange", "purple"),
    "brows": ("none",),
    "eyes": ("dots", "round", "tall", "narrow"),
    "eye_color": ("dark", "blue", "green", "hazel"),
    "nose": ("dot", "button", "wide"),
    "beard": ("none",),
    "mark": ("none", "blush", "whiskers"),
}
_ROBOT: Mapping[str, tuple[str, ...]] = {
    "noun": ("robot",),
    "skin": ("steel", "copper", "gold", "white", "teal", "red", "sky", "purple", "green"),
    "face": ("box", "dome", "round", "wedge"),
    "hair": ("none", "antenna", "antennas", "dish", "fin", "coil"),
    "hair_color": ("red", "yellow", "blue", "green", "dark", "orange", "pink"),
    "brows": ("none", "thick"),
    "eyes": ("dots", "round", "visor", "screen"),
    "eye_color": ("dark", "red", "green", "yellow"),
    "nose": ("none", "dot", "long"),
    "beard": ("none",),
    "mark": ("none", "bolts", "blush", "plate"),
}
TRAITS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "human": MappingProxyType({**_HUMAN, **_COMMON}),
        "animal": MappingProxyType({**_ANIMAL, **_COMMON}),
        "robot": MappingProxyType({**_ROBOT, **_COMMON}),
    }
)
"""For each sort of toon, each trait's choices; a choice listed twice is twice as likely."""

_ADULT_ONLY = ("full", "goatee", "mustache")
_SALT = 20_260


@dataclass(frozen=True)
class Toon:
    """One identity: everything about a toon that stays, whatever it does and wherever it is.

    ``seed`` names it and decides its split; a look-alike keeps the seed of its model and so its
    split. Colors are names of `COLORS`. ``skin`` is the fur of an animal and the metal of a
    robot, ``hair`` an animal's pattern and what a robot carries on its head.
    """

    seed: int
    sort: str
    noun: str
    skin: str
    face: str
    hair: str
    hair_color: str
    brows: str
    eyes: str
    eye_color: str
    nose: str
    beard: str
    mark: str
    glasses: str
    hat: str
    hat_color: str
    clothes: str
    clothes_color: str
    trim_color: str

    def attributes(self) -> dict[str, str]:
        """Trait -> choice, of what can be seen: the color of a hat that is not there is left out.

        >>> toon(7).attributes() == toon(7).attributes()
        True
        """
        seen = {name: value for name, value in asdict(self).items() if name != "seed"}
        if self.hat == "none":
            del seen["hat_color"]
        if self.hair in {"bald", "plain", "none"} and self.beard == "none" and not _browed(self):
            del seen["hair_color"]
        if self.glasses == "shades" or self.eyes == "dots":
            del seen["eye_color"]
        if self.clothes == "plain":
            del seen["trim_color"]
        return seen


def _browed(one: Toon) -> bool:
    return one.brows != "none"


def toon(seed: int) -> Toon:
    """The toon of a seed: 66 in 100 people, 21 animals, 13 robots.

    Raises:
        RequestError: a negative seed.

    >>> toon(3).seed, toon(3) == toon(3), toon(3) == toon(4)
    (3, True, False)
    """
    if seed < 0:
        raise RequestError(f"a toon's seed is a whole number from 0 up; got {seed}")
    rng = np.random.default_rng([_SALT, seed])
    sort = str(rng.choice(["human", "animal", "robot"], p=[0.66, 0.21, 0.13]))
    chosen = {
        name: choices[int(rng.integers(len(choices)))] for name, choices in TRAITS[sort].items()
    }
    return _seemly(Toon(seed=seed, sort=sort, **chosen), rng)


def _seemly(one: Toon, rng: np.random.Generator) -> Toon:
    """Children and women without beards, trim that stands out, no panda in sky blue."""
    if one.sort == "human" and one.noun != "man" and one.beard in _ADULT_ONLY:
        one = replace(one, beard="none")
    if one.noun == "panda":
        one = replace(one, skin="snow", hair="mask", hair_color="black")
    if one.sort == "animal" and one.hair_color == one.skin:
        one = replace(one, hair_color="snow" if one.skin == "black" else "black")
    if one.sort == "robot" and one.hair_color == one.skin:
        one = replace(one, hair_color="dark")
    if one.trim_color == one.clothes_color:
        others = [name for name in _CLOTH if name != one.clothes_color]
        one = replace(one, trim_color=others[int(rng.integers(len(others)))])
    return one


def look_alike(model: Toon, seed: int, changes: int = 1) -> Toon:
    """A toon that differs from ``model`` in exactly ``changes`` traits that can be seen.

    Raises:
        RequestError: changes below 1 or above 6.

    >>> model = toon(11)
    >>> other = look_alike(model, seed=0, changes=2)
    >>> a, b = model.attributes(), other.attributes()
    >>> sum(a[name] != b[name] for name in a.keys() & b.keys()) <= 2
    True
    """
    if not 1 <= changes <= 6:
        raise RequestError(f"a look-alike differs in 1 to 6 traits; got {changes}")
    rng = np.random.default_rng([_SALT + 1, model.seed, seed])
    names = [name for name in model.attributes() if name not in {"sort", "noun"}]
    other, changed = model, 0
    for name in rng.permutation(names):
        varied = _varied(other, str(name), rng)
        if varied is not None and changed < changes:
            other, changed = varied, changed + 1
    return other


def _varied(one: Toon, name: str, rng: np.random.Generator) -> Toon | None:
    """With another choice for one trait; None where nothing else goes with the rest."""
    choices = sorted(set(TRAITS[one.sort][name]) - {getattr(one, name)})
    for choice in rng.permutation(choices) if choices else ():
        varied = Toon(**{**asdict(one), name: str(choice)})
        kept = _seemly(varied, rng) == varied
        if kept and varied.attributes() != one.attributes():
            return varied
    return None


def split_of(seed: int) -> Split:
    """Where an identity belongs: of every ten seeds eight train, one validates, one tests.

    >>> [split_of(seed) for seed in (0, 7, 8, 9)]
    ['train', 'train', 'validation', 'test']
    """
    digit = seed % 10
    return "train" if digit < 8 else "validation" if digit == 8 else "test"


def identities(split: Split, count: int, start: int = 0) -> list[int]:
    """The ``count`` seeds of a split that follow its first ``start`` ones.

    Raises:
        RequestError: an unknown split.

    >>> identities("test", 3), identities("train", 3, start=7)
    ([9, 19, 29], [7, 10, 11])
    """
    digits = {"train": range(8), "validation": range(8, 9), "test": range(9, 10)}.get(split)
    if digits is None:
        raise RequestError(f"split {split!r}: expected train, validation or test")
    return [
        10 * (place // len(digits)) + digits[place % len(digits)]
        for place in range(start, start + count)
    ]
