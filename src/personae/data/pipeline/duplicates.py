"""The step that keeps one of pictures that look alike, wherever in the set they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from personae.data.pipeline.items import Item, Lost
from personae.data.pipeline.looks import HASH_BITS, hash_distance
from personae.errors import DataError, RequestError

__all__ = ["Unlike", "near_duplicates"]

# Fewer are compared in a minute or two; pairs of bands take 2.9 KB of memory for each hash.
_MANY, _FEW_BITS = 200_000, 10


def near_duplicates(hashes: Mapping[str, str], apart: int) -> dict[str, str]:
    """Names whose hash is nearer than ``apart`` bits to that of an earlier one that stays.

    Hashes that differ in fewer than ``apart`` bits agree in one of as many bands at least, so only
    those that share a band are compared. Of very many they agree in two of one band more, or in
    all but one: those that share two are far fewer. Time still grows with the square of how many
    there are; `docs/scale.md` has figures.

    >>> near_duplicates({"a": "00000000000000ff", "b": "00000000000000fe", "c": "f" * 16}, 3)
    {'b': 'a'}

    Raises:
        RequestError: ``apart`` below 1 or above 16: bands of fewer than four bits find everything.
    """
    if not 1 <= apart <= 16:
        raise RequestError(f"near duplicates: expected 1 to 16 bits apart; got {apart}")
    # One more part, two of which agree: more keys, but each shared by far fewer.
    agree = 2 if len(hashes) > _MANY and apart <= _FEW_BITS else 1
    count = apart - 1 + agree
    edges = [round(HASH_BITS * place / count) for place in range(count + 1)]
    masks = [
        sum((1 << edges[place + 1]) - (1 << edges[place]) for place in places)
        for places in combinations(range(count), agree)
    ]
    bands: list[dict[int, list[str]]] = [defaultdict(list) for _ in masks]
    found: dict[str, str] = {}
    for name, code in hashes.items():
        number = int(code, 16)
        parts = [number & mask for mask in masks]
        near = (
            other
            for band, part in zip(bands, parts, strict=True)
            for other in band.get(part, ())
            if hash_distance(code, hashes[other]) < apart
        )
        first = next(near, None)
        if first is not None:
            found[name] = first
            continue
        for band, part in zip(bands, parts, strict=True):
            band[part].append(name)
    return found


@dataclass(frozen=True, kw_only=True)
class Unlike:
    """Keeps the first of items whose pictures' hashes (``data["hash"]``) are nearly the same.

    Attributes:
        apart: those that differ in fewer bits of 64 are the same. At 8 every scaled or coarsely
            saved copy of 105 pictures was found and no other picture (docs/numbers.md, "Filters");
            mirrored or cropped ones are for `Distinct`.
    """

    apart: int = 8
    name: str = "unlike"

    def settings(self) -> Mapping[str, Any]:
        """See `WholeStep`."""
        return {"apart": self.apart}

    def decide(self, items: Iterable[Item]) -> Mapping[str, Lost]:
        """See `WholeStep`."""
        hashes = {item.id: _hash(item) for item in items}
        return {
            name: Lost(name, "looks like an earlier one", detail=first)
            for name, first in near_duplicates(hashes, self.apart).items()
        }


def _hash(item: Item) -> str:
    code = item.data.get("hash")
    if not isinstance(code, str):
        raise DataError(f"{item.id}: has no hash of its picture; expected one from an earlier step")
    return code
