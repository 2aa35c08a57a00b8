"""Who is asked what, in which order, on which side: a pure function of a pool and a seed.

Balanced by construction: every item goes to the same number of raters, no rater has more than one
unit more than another, and of each pair of models each is left as often as right (but for an odd
one), on every sheet and over all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from personae.errors import RequestError
from personae.evaluation.survey_files import Expected, Kind

__all__ = ["Asked", "Place", "Plan", "Pool", "Shown", "deal", "design", "spread"]


class Place(NamedTuple):
    """A scene and a seed: where each model has one picture."""

    scene: str
    seed: int


@dataclass(frozen=True)
class Shown:
    """A picture as it is shown: a model's at a place, or with no model one made for a check.

    With a place alone (seed 0): the references of its scene side by side; with neither: plain gray.
    """

    model: int | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Asked:
    """A question on a sheet: about ``place``'s scene, showing one picture or two, left first.

    ``expected`` is the known answer of a check, ``repeats`` the question that is asked again.
    """

    kind: Kind
    place: Place
    shown: tuple[Shown, ...]
    expected: Expected | None = None
    repeats: Asked | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Pool:
    """What can be asked about: places that all models share.

    ``others`` names for each scene those without a subject in common.
    """

    places: Sequence[Place]
    num_models: int
    others: Mapping[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is asked of whom.

    ``questions`` are a rater's own, ``checks`` (with known answers) and ``repeats`` come on top,
    for each kind; with two kinds they are shared between both. ``judges`` is how many raters see
    an item at least: more where there is room on the sheets.
    """

    kinds: tuple[Kind, ...]
    raters: int = 10
    questions: int = 40
    judges: int = 3
    checks: int = 4
    repeats: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.raters, self.questions, self.judges) < 1 or min(self.checks, self.repeats) < 0:
            raise RequestError(
                f"{self.raters} raters, {self.questions} questions, {self.judges} judges, "
                f"{self.checks} checks, {self.repeats} repeats: expected at least 1, 1, 1, 0, 0"
            )
        if self.judges > self.raters:
            raise RequestError(
                f"--judges {self.judges}: there are {self.raters} raters; ask more, or fewer judges"
            )


def design(pool: Pool, plan: Plan) -> tuple[list[list[Asked]], dict[Kind, int]]:
    """The sheet of every rater, and how many raters judge an item of each kind.

    One kind follows the other on a sheet; every second rater begins with the other one.

    Raises:
        RequestError: no place to ask about, or no room for one on the sheets.
    """
    rng = np.random.default_rng(plan.seed)
    order = spread(pool.places, rng)
    shares = np.array_split(np.arange(plan.questions), len(plan.kinds))
    blocks: dict[Kind, list[list[Asked]]] = {}
    judges: dict[Kind, int] = {}
    for kind, share in zip(plan.kinds, shares, strict=True):
        units = _units(kind, order, pool.num_models, plan, len(share))
        size = len(units[0])
        judges[kind] = min(plan.raters, plan.raters * (len(share) // size) // len(units))
        dealt = deal(len(units), plan.raters, judges[kind], rng)
        own = [[asked for place in places for asked in units[place]] for places in dealt]
        if kind == "pair":
            own = _sides(own, rng)
        used = sorted({asked.place for sheet in own for asked in sheet})
        blocks[kind] = [
            _block(kind, questions, rater, _Extras(pool, used, plan), rng)
            for rater, questions in enumerate(own)
        ]
    return [_sheet(blocks, rater) for rater in range(plan.raters)], judges


def spread(places: Iterable[Place], rng: np.random.Generator) -> list[Place]:
    """All places in an order whose every beginning holds as many scenes as it can."""
    by_scene: dict[str, list[Place]] = {}
    for place in sorted(places):
        by_scene.setdefault(place.scene, []).append(place)
    scenes = [list(rng.permutation(len(found))) for found in by_scene.values()]
    shuffled = [
        [found[index] for index in order]
        for found, order in zip(by_scene.values(), scenes, strict=True)
    ]
    rng.shuffle(shuffled)
    rounds = itertools.zip_longest(*shuffled)
    return [place for one in rounds for place in one if place is not None]


def deal(num_units: int, raters: int, judges: int, rng: np.random.Generator) -> list[list[int]]:
    """Give each unit to ``judges`` different raters, always to those who have least.

    So no rater ever has two more than another; ties are broken at random, which mixes who shares
    units with whom.

    >>> dealt = deal(6, raters=4, judges=2, rng=np.random.default_rng(0))
    >>> [len(units) for units in dealt]
    [3, 3, 3, 3]
    """
    dealt: list[list[int]] = [[] for _ in range(raters)]
    for unit in rng.permutation(num_units):
        loads = np.array([len(units) for units in dealt])
        for rater in np.lexsort((rng.random(raters), loads))[:judges]:
            dealt[rater].append(int(unit))
    return dealt


def _units(
    kind: Kind, order: Sequence[Place], num_models: int, plan: Plan, room: int
) -> list[list[Asked]]:
    """What is dealt out as one: a place's pictures by all models to one rater, or one pair.

    All models of a place go to the same raters, so a strict rater is strict with every model.
    """
    pairs = list(itertools.combinations(range(num_models), 2))
    each = [[Asked("each", p, (Shown(m, p),)) for m in range(num_models)] for p in order]
    if kind == "each":
        units, per_place, size = each, 1, num_models
    else:
        units = [[Asked("pair", p, (Shown(i, p), Shown(j, p)))] for p in order for i, j in pairs]
        per_place, size = len(pairs), 1
    places = plan.raters * (room // size) // plan.judges // max(per_place, 1)
    if not units or not places:
        raise RequestError(
            f"{plan.raters} raters with {room} questions of this kind have no room for a scene: "
            f"{plan.judges} judges see {per_place * size} items of it; raise --questions or "
            f"--raters (pictures of {num_models} models at {len(order)} places)"
        )
    return units[: places * per_place]


def _sides(sheets: list[list[Asked]], rng: np.random.Generator) -> list[list[Asked]]:
    """Half of each pair of models turned round on every sheet; who has the odd one takes turns."""
    turn: dict[tuple[int | None, ...], bool] = {}
    turned = []
    for sheet in sheets:
        by_pair: dict[tuple[int | None, ...], list[Asked]] = {}
        for asked in sheet:
            by_pair.setdefault(tuple(shown.model for shown in asked.shown), []).append(asked)
        done: list[Asked] = []
        for pair, found in by_pair.items():
            start = turn.setdefault(pair, bool(rng.integers(2)))
            flips = [(place % 2 == 0) == start for place in range(len(found))]
            turn[pair] = start ^ (len(found) % 2 == 1)
            order = rng.permutation(len(found))
            done += [_flip(found[i]) if f else found[i] for i, f in zip(order, flips, strict=True)]
        turned.append(done)
    return turned


def _flip(asked: Asked) -> Asked:
    return replace(asked, shown=asked.shown[::-1])


@dataclass(frozen=True)
class _Extras:
    pool: Pool
    used: Sequence[Place]
    plan: Plan


def _block(
    kind: Kind, own: list[Asked], rater: int, extras: _Extras, rng: np.random.Generator
) -> list[Asked]:
    """A rater's questions of a kind in random order, with checks between and repeats at the end.

    What is repeated comes from the first third and returns in the last one, turned round.
    """
    order = [own[place] for place in rng.permutation(len(own))]
    third = len(order) // 3
    repeated = [int(place) for place in rng.permutation(third)[: extras.plan.repeats]]
    again = [replace(_flip(order[place]), repeats=order[place]) for place in repeated]
    for extra in again:
        order.insert(int(rng.integers(len(order) - third + 1, len(order) + 1)), extra)
    for extra in _checks(kind, rater, extras, rng):
        order.insert(int(rng.integers(1, len(order) + 1)), extra)
    return order


def _checks(kind: Kind, rater: int, extras: _Extras, rng: np.random.Generator) -> Iterator[Asked]:
    """Questions with known answers, about places that are asked about anyway.

    The references themselves hold every subject, as it is; a picture of a scene without a subject
    in common (or, where there is none, a plain gray one) holds none.
    """
    for number in range(extras.plan.checks):
        place = extras.used[int(rng.integers(len(extras.used)))]
        right, wrong = Shown(None, Place(place.scene, 0)), _without(place, extras, rng)
        even = (number + rater) % 2 == 0
        if kind == "each":
            yield Asked(kind, place, (right if even else wrong,), "yes" if even else "no")
        else:
            shown = (right, wrong) if even else (wrong, right)
            yield Asked(kind, place, shown, "left" if even else "right")


def _without(place: Place, extras: _Extras, rng: np.random.Generator) -> Shown:
    others = set(extras.pool.others.get(place.scene, ()))
    found = [other for other in extras.used if other.scene in others]
    if not found:
        return Shown()
    model = int(rng.integers(extras.pool.num_models))
    return Shown(model, found[int(rng.integers(len(found)))])


def _sheet(blocks: Mapping[Kind, list[list[Asked]]], rater: int) -> list[Asked]:
    kinds = list(blocks) if rater % 2 == 0 else list(blocks)[::-1]
    return [asked for kind in kinds for asked in blocks[kind][rater]]
