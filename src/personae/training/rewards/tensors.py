"""Requests to the reward server as one safetensors file; nothing in it is ever run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from personae.errors import DataError
from personae.subjects.subject import Reference
from personae.training.rewards.photos import check_size
from personae.training.rewards.wire import Budget, Limits, Order, check_count, order_of, parse_json

__all__ = ["read_tensor_order"]

_HEADER_BYTES = 8
_ABOUT = ("nouns", "kinds", "prompts", "relations")
_TYPES = ("U8", "F16", "BF16", "F32")
_ALL = "*"


def read_tensor_order(body: bytes, limits: Limits) -> Order:
    """A safetensors request; see `personae.training.rewards.wire`.

    Raises:
        DataError: anything that is not as it has to be.
    """
    header = _header(body)
    about = {name: parse_json(text, name) for name, text in _metadata(header).items()}
    _check_types(header)
    try:
        tensors = load(body)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise DataError(f"the request: damaged safetensors ({str(error)[:60]})") from None
    budget = Budget(limits)
    pictures = _pictures(tensors.pop("pictures", None), limits, budget)
    return order_of(pictures, _references(tensors, len(pictures), budget), about)


def _header(body: bytes) -> dict[str, Any]:
    """The JSON that a safetensors file begins with."""
    length = int.from_bytes(body[:_HEADER_BYTES], "little")
    if len(body) < _HEADER_BYTES or length > len(body) - _HEADER_BYTES:
        raise DataError("the request: expected safetensors; its header does not fit in it")
    header = parse_json(body[_HEADER_BYTES : _HEADER_BYTES + length], "the safetensors header")
    if not isinstance(header, dict):
        raise DataError("the safetensors header: expected a JSON object")
    return header


def _metadata(header: dict[str, Any]) -> dict[str, str]:
    held = header.pop("__metadata__", {})
    if not isinstance(held, dict) or not all(isinstance(text, str) for text in held.values()):
        raise DataError("the safetensors header: expected texts as metadata")
    odd = set(held) - {*_ABOUT, "format"}
    if odd:
        raise DataError(f"metadata: unknown entries {sorted(odd)[:3]}; known are {list(_ABOUT)}")
    return {name: text for name, text in held.items() if name in _ABOUT}


def _check_types(header: Mapping[str, Any]) -> None:
    for name, facts in header.items():
        kind = facts.get("dtype") if isinstance(facts, dict) else None
        if kind not in _TYPES:
            raise DataError(f"tensor {name[:60]!r}: expected one of {_TYPES}; got {str(kind)[:60]}")


def _pictures(held: Tensor | None, limits: Limits, budget: Budget) -> tuple[Tensor, ...]:
    if held is None:
        raise DataError("the request: expected a tensor 'pictures'; there is none")
    bytewise = held.dtype == torch.uint8
    typed = bytewise or held.is_floating_point()
    if not typed or held.ndim != 4 or held.shape[3 if bytewise else 1] != 3:
        raise DataError(
            "pictures: expected uint8 (B, H, W, 3) or float (B, 3, H, W); "
            f"got {tuple(held.shape)} {held.dtype}"
        )
    check_count(len(held), limits)
    stacked = held.permute(0, 3, 1, 2) if bytewise else held
    height, width = stacked.shape[2:]
    check_size(width, height, "pictures", budget.pixels // len(held))
    budget.spend(len(held) * height * width)
    return tuple(stacked)


def _references(
    tensors: Mapping[str, Tensor], count: int, budget: Budget
) -> list[dict[str, tuple[Reference, ...]]]:
    """By picture and subject, in the order of their numbers."""
    found: list[dict[str, list[tuple[int, Reference]]]] = [{} for _ in range(count)]
    for name, tensor in tensors.items():
        places, subject, number = _parsed(name, count)
        reference = _reference(tensor, name, budget)
        for place in places:
            found[place].setdefault(subject, []).append((number, reference))
    return [
        {
            subject: tuple(one for _, one in sorted(held, key=lambda pair: pair[0]))
            for subject, held in cast.items()
        }
        for cast in found
    ]


def _parsed(name: str, count: int) -> tuple[range, str, int]:
    """Which pictures, which subject (its id may have dots in it), which photo."""
    head, _, rest = name.partition(".")
    place, _, rest = rest.partition(".")
    subject, _, number = rest.rpartition(".")
    if head == "reference" and subject and _counts(number):
        if place == _ALL:
            return range(count), subject, int(number)
        if _counts(place) and int(place) < count:
            return range(int(place), int(place) + 1), subject, int(number)
    raise DataError(
        f"tensor {name[:60]!r}: expected pictures, or reference.PICTURE.SUBJECT.NUMBER, "
        f"where PICTURE is 0 to {count - 1} or *"
    )


def _counts(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _reference(tensor: Tensor, name: str, budget: Budget) -> Reference:
    budget.count_reference()
    if tensor.dtype != torch.uint8 or tensor.ndim != 3 or tensor.shape[2] != 3:
        raise DataError(
            f"tensor {name[:60]!r}: expected uint8 (H, W, 3); "
            f"got {tuple(tensor.shape)} {tensor.dtype}"
        )
    height, width = tensor.shape[:2]
    check_size(width, height, name, budget.pixels)
    budget.spend(height * width)
    return Reference(tensor.numpy(), path=name)
