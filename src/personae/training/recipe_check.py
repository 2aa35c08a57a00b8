"""A recipe is read to its end: every unknown key and every wrong value, not only the first."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from personae.config import apply_settings, build_config, read_toml
from personae.errors import DataError, PersonaeError, RequestError
from personae.training.recipe import Recipe

__all__ = ["Finding", "Mistake", "Reading", "Remark", "Unchecked", "mistake_of", "read_whole"]

_PARTS = re.compile(
    r"(?:^|[:;] )expected (?P<expected>.+?)(?:; got (?P<came>.+?))?(?:; (?P<do>.+))?$", re.S
)


@dataclass(frozen=True)
class Mistake:
    """What would stop a run, or make it another one than was meant."""

    where: str
    expected: str
    came: str
    do: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}; got {self.came}; {self.do}"


@dataclass(frozen=True)
class Unchecked:
    """What could not be looked at, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(frozen=True)
class Remark:
    """What is no mistake, and worth knowing before a long run."""

    text: str

    def __str__(self) -> str:
        return self.text


Finding = Mistake | Unchecked | Remark


@dataclass(frozen=True)
class Reading:
    """A recipe as far as it can be read.

    Attributes:
        recipe: with the defaults in the place of what is wrong; None: hardly anything is right.
        mistakes: all of them.
        lacking: ``base`` or ``data``, where nothing right was said of it.
    """

    recipe: Recipe | None
    mistakes: tuple[Mistake, ...] = ()
    lacking: frozenset[str] = field(default_factory=frozenset)


def read_whole(path: Path, settings: Sequence[str] = ()) -> Reading:
    """The recipe of a file with ``--set`` settings over it, and everything that is wrong in it.

    What `read_recipe` takes without an error is the same here, without a mistake.
    """
    try:
        data = read_toml(path)
    except DataError as error:
        place = str(path)
        return Reading(None, (mistake_of(place, place, error, "mend it", "a recipe in TOML"),))
    mistakes: list[Mistake] = []
    for setting in settings:
        try:
            data = apply_settings(data, [setting])
        except RequestError as error:
            do = "mend the setting"
            mistakes.append(mistake_of(f"--set {setting}", repr(setting), error, do))
    fitting = _fitting(Recipe, data, f"{path}: ", mistakes)
    lacking = frozenset({"base", "data"} - set(fitting))
    return Reading(_built(fitting, f"{path}: ", mistakes), tuple(mistakes), lacking)


def mistake_of(
    where: str,
    came: str,
    error: PersonaeError | str,
    do: str | None = None,
    expected: str = "another value",
) -> Mistake:
    """An error's message in its parts; what it does not say is said by the rest.

    >>> mistake_of("a.toml: seed", "-1", RequestError("seed: expected 0 or more; got -1; mend it"))
    Mistake(where='a.toml: seed', expected='0 or more', came='-1', do='mend it')
    """
    text = str(error).strip()
    found = _PARTS.search(text)
    mend = do or f"change it in the recipe, or say --set {where.rpartition(': ')[2]}=..."
    if found is None:
        reason, _, todo = text.removeprefix(f"{came}: ").partition("; ")
        return Mistake(where, expected, f"{came} ({reason})", todo or mend)
    told = re.sub(r"^Literal\[(.*)\]$", r"one of \1", found["expected"])
    return Mistake(where, told, found["came"] or came, found["do"] or mend)


def _fitting(
    kind: type[Any], data: Mapping[str, Any], prefix: str, mistakes: list[Mistake]
) -> dict[str, Any]:
    """The part of a table that a dataclass can be made of; what is wrong goes to ``mistakes``."""
    hints, fitting = typing.get_type_hints(kind), dict[str, Any]()
    for key, value in data.items():
        place = f"{prefix}{key}"
        if key not in hints:
            mistakes.append(_unknown(place, key, list(hints)))
            continue
        section = _section(hints[key])
        if section is not None and isinstance(value, Mapping):
            inner = _fitting(section, value, f"{place}.", mistakes)
            agreed = _agreeing(section, inner, f"{place}.", mistakes)
            if agreed is not None:
                fitting[key] = agreed
            continue
        wrong = _wrong(hints[key], value)
        if wrong is None:
            fitting[key] = value
        else:
            mistakes.append(mistake_of(place, repr(value), wrong))
    return fitting


def _unknown(place: str, key: str, known: Sequence[str]) -> Mistake:
    near = get_close_matches(key, known, n=1)
    if near:
        return Mistake(place, "a known key", repr(key), f"did you mean {near[0]!r}?")
    return Mistake(place, f"one of {', '.join(known)}", repr(key), "remove it, or move it there")


def _wrong(hint: Any, value: Any) -> DataError | None:
    """Why the reader of recipes would not take this value."""
    one = dataclasses.make_dataclass("One", [("value", hint)], frozen=True, kw_only=True)
    try:
        build_config(one, {"value": value})
    except DataError as error:
        return error
    return None


def _agreeing(
    kind: type[Any], data: dict[str, Any], prefix: str, mistakes: list[Mistake]
) -> dict[str, Any] | None:
    """The values that agree with each other: what an error hangs on is told and taken out."""
    while (error := _error(kind, data)) is not None:
        path = _culprit(kind, data, error)
        if path is None:
            place = prefix.removesuffix(".").removesuffix(": ")
            mistakes.append(mistake_of(place, f"keys {sorted(data)}", error))
            return None
        held: Any = data
        for key in path:
            held = held[key]
        came = f"a section with {sorted(held)}" if isinstance(held, Mapping) else repr(held)
        mistakes.append(mistake_of(prefix + ".".join(path), came, error))
        data = _without(data, path)
    return data


def _culprit(kind: type[Any], data: Mapping[str, Any], error: str) -> tuple[str, ...] | None:
    """What has to go so that the error goes; or else the first key that brings it."""
    needed = {name for name in _needed(kind) if name in data}
    free = {key: value for key, value in data.items() if key not in needed}
    left = {path: _error(kind, _without(data, path)) for path in _paths(free)}
    for path, other in left.items():
        if other is None:
            return path
    for path, other in left.items():
        if _plain(other or "") != _plain(error):
            return path
    kept = {name: data[name] for name in needed}
    for key, value in data.items():
        before = _error(kind, kept)
        kept[key] = value
        if before is None and _error(kind, kept) is not None:
            return (key,)
    return None


def _paths(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Keys inside of sections first, for they say more."""
    inner = [
        (key, name) for key, held in data.items() if isinstance(held, Mapping) for name in held
    ]
    return [*inner, *((key,) for key in data)]


def _without(data: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    key, *rest = path
    if rest:
        return {**data, key: _without(data[key], tuple(rest))}
    return {name: value for name, value in data.items() if name != key}


def _plain(error: str) -> str:
    """A message without the values that came."""
    return re.sub(r"[;:] got .*", "", error, flags=re.S)


def _error(kind: type[Any], data: Mapping[str, Any]) -> str | None:
    try:
        build_config(kind, data, "")
    except DataError as error:
        return str(error).removeprefix(": ")
    return None


def _needed(kind: type[Any]) -> list[str]:
    return [
        item.name
        for item in dataclasses.fields(kind)
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]


def _built(fitting: dict[str, Any], prefix: str, mistakes: list[Mistake]) -> Recipe | None:
    """The recipe, with a stand-in for a base or data that nothing right was said of."""
    for name in sorted({"base", "data"} - set(fitting)):
        if not any(item.where.startswith(f"{prefix}{name}") for item in mistakes):
            mistakes.append(Mistake(f"{prefix}{name}", "a value", "nothing", "add it"))
    stand_ins = {"base": "", "data": {"toons": {}}}
    data = _agreeing(Recipe, {**stand_ins, **fitting}, prefix, mistakes)
    return None if data is None else build_config(Recipe, data, prefix)


def _section(hint: Any) -> type[Any] | None:
    """The dataclass that a hint names, alone or beside None."""
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    choices = typing.get_args(hint) if union else [hint]
    found = (item for item in choices if isinstance(item, type) and dataclasses.is_dataclass(item))
    return next(found, None)
