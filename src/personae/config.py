"""Recipes: TOML in, frozen dataclasses out; a key that is not known is an error, not a silence.

Defaults stand in the dataclass, a recipe file goes over them, and ``--set section.key=value`` goes
over both. What a run was made with is written out again by `as_toml`.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast

from personae.errors import DataError, RequestError

__all__ = ["apply_settings", "as_data", "as_toml", "build_config", "flatten", "read_toml"]

Config = TypeVar("Config")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        DataError: no such file, unreadable, or no TOML; the message names the line.
    """
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: not TOML ({error}); mend that line") from error


def apply_settings(data: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The recipe with ``section.key=value`` settings over it; a value is TOML, or else a text.

    >>> apply_settings({"training": {"steps": 5}}, ["training.steps=200", "base=toons"])
    {'training': {'steps': 200}, 'base': 'toons'}

    Raises:
        RequestError: a setting without ``=``, or one that goes below a plain value.
    """
    result = {key: dict(v) if isinstance(v, Mapping) else v for key, v in data.items()}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise RequestError(f"--set {setting!r}: expected section.key=value")
        *sections, key = name.strip().split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise RequestError(f"--set {setting!r}: {section!r} is a value, not a section")
        place[key] = _value(text.strip())
    return result


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def build_config(kind: type[Config], data: Mapping[str, Any], where: str = "recipe") -> Config:
    """A dataclass of plain data, with its sections built from tables, every value checked.

    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Walk:
    ...     steps: int = 3
    >>> build_config(Walk, {"step": 5}, "walk.toml")
    Traceback (most recent call last):
    personae.errors.DataError: walk.toml: unknown key 'step'; did you mean 'steps'?

    Raises:
        DataError: an unknown key (the nearest known one is named), a missing or a wrong value.
    """
    fields = {field.name: field for field in dataclasses.fields(cast(Any, kind))}
    for key in data:
        if key not in fields:
            raise DataError(f"{where}: unknown key {key!r}; {_hint(key, list(fields))}")
    hints = typing.get_type_hints(kind)
    values = {key: _checked(hints[key], value, f"{where}: {key}") for key, value in data.items()}
    missing = [name for name, field in fields.items() if _needed(field) and name not in values]
    if missing:
        raise DataError(f"{where}: key {missing[0]!r} is missing; got {sorted(data)}")
    try:
        return kind(**values)
    except (RequestError, DataError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error


def as_data(config: Any) -> dict[str, Any]:
    """The plain data of a config, ready for TOML or JSON; what is None is left out."""
    pairs = ((field.name, getattr(config, field.name)) for field in dataclasses.fields(config))
    return {name: _plain(value) for name, value in pairs if value is not None}


def as_toml(data: Mapping[str, Any]) -> str:
    """Plain data as TOML: values first, then a table for each section.

    >>> print(as_toml({"seed": 0, "data": {"sizes": [64, 64], "name": "x"}}))
    seed = 0
    <BLANKLINE>
    [data]
    sizes = [64, 64]
    name = "x"
    <BLANKLINE>
    """
    return "\n".join(_toml_lines(data, ())).lstrip("\n") + "\n"


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names.

    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _hint(key: str, known: Sequence[str]) -> str:
    near = get_close_matches(key, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {list(known)}"


def _needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _checked(hint: Any, value: Any, where: str) -> Any:
    section = _section(hint)
    if section is not None and isinstance(value, Mapping):
        return build_config(section, value, where)
    if section is not None and value is not None:
        raise DataError(f"{where}: expected a section [{where.rpartition(': ')[2]}]; got {value!r}")
    from pydantic import TypeAdapter, ValidationError

    if isinstance(value, bool) and "bool" not in str(hint):
        raise DataError(f"{where}: expected {_name(hint)}; got {value!r}")
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise DataError(f"{where}: expected {_name(hint)}; got {value!r} ({reason})") from error


def _section(hint: Any) -> type[Any] | None:
    """The dataclass that a hint names, alone or as ``Section | None``."""
    choices = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (types.UnionType, typing.Union)
        else [hint]
    )
    return next(
        (item for item in choices if isinstance(item, type) and dataclasses.is_dataclass(item)),
        None,
    )


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return as_data(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _toml_lines(data: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = {key: value for key, value in data.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    if path:
        lines = ["", f"[{'.'.join(path)}]", *lines]
    for key, value in data.items():
        if isinstance(value, Mapping):
            lines += _toml_lines(value, (*path, key))
    return lines
