"""What the reward server is sent and what it answers: JSON or safetensors in, JSON out.

JSON, with pictures and photos as base64 of PNG or JPEG files::

    {"pictures": ["..."], "references": [{"ada": ["..."], "ben": ["..."]}],
     "nouns": [{"ada": "woman"}], "kinds": [{"ada": "person"}], "prompts": ["Ada left of Ben"],
     "relations": [{"first": "ada", "words": "left of", "second": "ben"}]}

All but ``pictures`` and ``references`` may be left out; each may be a list with one entry a
picture, or one entry for all pictures. Safetensors: ``pictures``, uint8 (B, H, W, 3) or float
(B, 3, H, W), ``reference.PICTURE.SUBJECT.NUMBER``, uint8 (H, W, 3), where PICTURE is a place from 0
or ``*`` for all; the other entries as JSON texts in the header's metadata.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from torch import Tensor

from personae.errors import DataError
from personae.subjects.scene import Relation
from personae.subjects.subject import KINDS, Kind, Reference
from personae.training.rewards.asked import Asked
from personae.training.rewards.photos import decode_picture, to_pixels
from personae.training.rewards.plain import Answers

__all__ = [
    "Budget",
    "Limits",
    "Order",
    "answers_json",
    "check_count",
    "order_of",
    "parse_json",
    "read_json_order",
]

Of = TypeVar("Of")
References = Mapping[str, tuple[Reference, ...]]

_ABOUT = ("nouns", "kinds", "prompts", "relations")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request, and all of them together, may cost.

    Attributes:
        max_bytes: of a request's body.
        max_pictures: of a request.
        max_references: of a request.
        max_pixels: of a request's pictures and references together, when decoded.
        timeout_seconds: from a request's first byte to its answer.
        max_waiting: requests in the queue.
        max_connections: open at once; more are turned away.
    """

    max_bytes: int = 64_000_000
    max_pictures: int = 64
    max_references: int = 256
    max_pixels: int = 64_000_000
    timeout_seconds: float = 120.0
    max_waiting: int = 16
    max_connections: int = 64


@dataclass(frozen=True, eq=False)
class Order:
    """A request's pictures (3, H, W), and what each was asked to hold."""

    pictures: tuple[Tensor, ...]
    asked: tuple[Asked, ...]


class Budget:
    """Pixels and references that a request has left."""

    def __init__(self, limits: Limits) -> None:
        self.pixels, self._references = limits.max_pixels, limits.max_references
        self._allowed = limits.max_references

    def spend(self, pixels: int) -> None:
        """Take a picture's pixels off."""
        self.pixels -= pixels

    def count_reference(self) -> None:
        """Take a reference off.

        Raises:
            DataError: none is left.
        """
        if self._references == 0:
            raise DataError(f"references: expected at most {self._allowed} in a request; got more")
        self._references -= 1


def read_json_order(body: bytes, limits: Limits) -> Order:
    """A JSON request.

    Raises:
        DataError: anything that is not as it has to be.
    """
    data = _object(parse_json(body, "the request"), "the request")
    _known(data, ("pictures", "references", *_ABOUT), "the request")
    coded, budget = data.get("pictures"), Budget(limits)
    if not isinstance(coded, list):
        _wrong("pictures", "a list of base64 texts", coded)
    check_count(len(coded), limits)
    pictures = tuple(
        to_pixels(_decoded(text, f"pictures[{place}]", budget), f"pictures[{place}]")
        for place, text in enumerate(coded)
    )
    read = _reader(budget)
    return order_of(pictures, _each(data.get("references"), len(coded), "references", read), data)


def order_of(
    pictures: tuple[Tensor, ...], references: Sequence[References], about: Mapping[str, Any]
) -> Order:
    """Pictures with their references and what else is said of them.

    Raises:
        DataError: a list of another length, a value of another type, an unknown subject.
    """
    count = len(pictures)
    columns = (
        _each(about.get("nouns"), count, "nouns", _nouns),
        _each(about.get("kinds"), count, "kinds", _kinds),
        _each(about.get("prompts"), count, "prompts", _prompt),
        _each(about.get("relations"), count, "relations", _relation),
    )
    rows = zip(references, *columns, strict=True)
    asked = tuple(
        Asked(held, nouns=nouns, kinds=kinds, prompt=prompt, relation=relation)
        for held, nouns, kinds, prompt, relation in rows
    )
    return Order(pictures, asked)


def answers_json(answers: Answers, reward: str) -> dict[str, Any]:
    """What the server says: numbers, or null and a reason."""
    return {
        "values": list(answers.values),
        "reasons": list(answers.reasons),
        "parts": {name: list(numbers) for name, numbers in answers.parts.items()},
        "reward": reward,
    }


def parse_json(text: bytes | str, where: str) -> Any:
    """Strict JSON: no NaN, no depth that breaks the parser.

    Raises:
        DataError: it is not.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise DataError(f"{where}: JSON that is nested too deep") from None
    except ValueError as error:
        raise DataError(f"{where}: expected JSON ({_brief(error)})") from None


def check_count(pictures: int, limits: Limits) -> None:
    """Is a request with this many pictures to be read on?

    Raises:
        DataError: none, or too many.
    """
    if not 1 <= pictures <= limits.max_pictures:
        raise DataError(f"pictures: expected 1 to {limits.max_pictures}; got {pictures}")


def _reader(budget: Budget) -> Callable[[Any, str], References]:
    def read(value: Any, where: str) -> References:
        held = _object(value, where)
        return {name: _photos(photos, f"{where}.{name}", budget) for name, photos in held.items()}

    return read


def _photos(value: Any, where: str, budget: Budget) -> tuple[Reference, ...]:
    if not isinstance(value, list):
        _wrong(where, "a list of base64 texts", value)
    found = []
    for place, text in enumerate(value):
        budget.count_reference()
        name = f"{where}[{place}]"
        found.append(Reference(_decoded(text, name, budget), path=name))
    return tuple(found)


def _decoded(text: Any, where: str, budget: Budget) -> Any:
    if not isinstance(text, str):
        _wrong(where, "base64 text", text)
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"{where}: expected base64 of a PNG or JPEG file") from None
    image = decode_picture(content, where, budget.pixels)
    budget.spend(image.shape[0] * image.shape[1])
    return image


def _each(value: Any, count: int, where: str, read: Callable[[Any, str], Of]) -> list[Of]:
    """One entry a picture from a list of as many, or from one entry for all."""
    if not isinstance(value, list):
        return [read(value, where)] * count
    if len(value) != count:
        raise DataError(f"{where}: {len(value)} entries for {count} pictures; give one a picture")
    return [read(one, f"{where}[{place}]") for place, one in enumerate(value)]


def _nouns(value: Any, where: str) -> dict[str, str]:
    held = {} if value is None else _object(value, where)
    return {name: _text(word, f"{where}.{name}") for name, word in held.items()}


def _kinds(value: Any, where: str) -> dict[str, Kind]:
    held = {} if value is None else _object(value, where)
    return {name: _kind(word, f"{where}.{name}") for name, word in held.items()}


def _kind(value: Any, where: str) -> Kind:
    found = [kind for kind in KINDS if kind == value]
    if not found:
        _wrong(where, f"one of {KINDS}", value)
    return found[0]


def _prompt(value: Any, where: str) -> str:
    return "" if value is None else _text(value, where)


def _relation(value: Any, where: str) -> Relation | None:
    if value is None:
        return None
    held = _object(value, where)
    _known(held, ("first", "words", "second"), where)
    texts = (_text(held.get(name), f"{where}.{name}") for name in ("first", "words", "second"))
    return Relation(*texts)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _wrong(where, "a JSON object", value)
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        _wrong(where, "text", value)
    return value


def _known(data: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    odd = [_brief(name) for name in data if name not in names]
    if odd:
        raise DataError(f"{where}: unknown entries {odd[:3]}; known are {list(names)}")


def _wrong(where: str, expected: str, value: object) -> NoReturn:
    raise DataError(f"{where}: expected {expected}; got {type(value).__name__} {_brief(value)}")


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
