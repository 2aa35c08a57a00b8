"""Pictures that show the same though their pixels differ: descriptors, and who is near whom."""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.step import Files
from personae.errors import DataError, RequestError
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.embedders.crops import image_tensor

__all__ = ["Described", "Distinct", "near_descriptors"]

_LEVELS = 127
_SALT = 0xD15C
_ROWS = 4096  # that are hashed at once


@dataclass(frozen=True, kw_only=True)
class Described:
    """EfficientNet-Lite0's descriptor of each whole picture, as 1280 numbers of 8 bits."""

    name: str = "described"

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {"eyes": EfficientNetEmbedder.name}

    def build(self) -> EfficientNetEmbedder:
        """See `Step`."""
        return EfficientNetEmbedder()

    @torch.no_grad()
    def work(self, state: EfficientNetEmbedder, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        made = []
        for item in items:
            row = state.embed_scaled(image_tensor(files.picture(item))[None])[0]
            scale = _LEVELS / float(row.abs().max())
            levels = (row * scale).round().to(torch.int8).numpy()
            embedding = base64.b64encode(levels.tobytes()).decode()
            made.append(item.child(item.id, self.name, data={**item.data, "embedding": embedding}))
        return Made(tuple(made))


@dataclass(frozen=True, kw_only=True)
class Distinct:
    """Keeps the first of items whose pictures' descriptors (``data["embedding"]``) nearly agree.

    Attributes:
        most: those whose cosine is at least this show the same. 0.93 merged none of 165 pairs of
            different pictures, and finds mirrored and cropped copies that hashes miss; hashes find
            what was saved coarsely, which this misses on toons (docs/numbers.md, "Filters").
        found: with at least this probability two that are just so near are compared.
    """

    most: float = 0.93
    found: float = 0.99
    name: str = "distinct"

    def settings(self) -> Mapping[str, Any]:
        """See `WholeStep`."""
        return {"most": self.most, "found": self.found}

    def decide(self, items: Iterable[Item]) -> Mapping[str, Lost]:
        """See `WholeStep`."""
        names, rows = [], []
        for item in items:
            names.append(item.id)
            rows.append(_embedding(item))
        near = near_descriptors(np.stack(rows), self.most, self.found) if rows else {}
        reason = "shows what an earlier one shows"
        return {names[row]: Lost(names[row], reason, detail=names[to]) for row, to in near.items()}


def near_descriptors(rows: np.ndarray, most: float, found: float = 0.99) -> dict[int, int]:
    r"""Rows (N, D) whose cosine to an earlier one that stays is at least ``most``: row to row.

    Random hyperplanes: rows at an angle :math:`\theta` lie on the same side of one with probability
    :math:`1 - \theta / \pi`, and are compared where they do so for all of ``k`` planes of one of

    .. math:: L = \lceil \log(1 - \text{found}) / \log(1 - (1 - \theta / \pi)^k) \rceil

    bands. k grows with the logarithm of N, so that what has nothing in common seldom meets; what is
    as near as that is found with probability ``found`` or more, and nothing farther ever.

    Source: Charikar, Similarity estimation techniques from rounding algorithms (STOC 2002).

    >>> near_descriptors(np.array([[1, 0, 0], [0, 1, 0], [2, 0.1, 0]]), 0.95)
    {2: 0}

    Raises:
        RequestError: ``most`` or ``found`` not in (0, 1).
    """
    if not (0 < most < 1 and 0 < found < 1):
        raise RequestError(
            f"near descriptors: expected most and found in (0, 1); got {most}, {found}"
        )
    planes, bands = _planes(len(rows), most, found)
    tables: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in range(bands)]
    near: dict[int, int] = {}
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS].astype(np.float32)
        for row, codes in enumerate(_codes(part, planes, bands), start=start):
            held = [table[code] for table, code in zip(tables, codes, strict=True)]
            first = _nearest(rows, row, sorted({other for some in held for other in some}), most)
            if first is not None:
                near[row] = first
                continue
            for some in held:
                some.append(row)
    return near


def _planes(count: int, most: float, found: float) -> tuple[int, int]:
    """How many planes a band has, and how many bands there are."""
    same = 1 - math.acos(most) / math.pi
    planes = max(6, math.ceil(1.25 * math.log2(max(count, 2))))
    bands = math.ceil(math.log(1 - found) / math.log(1 - same**planes))
    return planes, bands


def _codes(rows: np.ndarray, planes: int, bands: int) -> Iterator[list[bytes]]:
    """For each row the side of every plane, packed, band by band."""
    rng = np.random.default_rng([_SALT, planes, bands])
    normals = rng.standard_normal((rows.shape[1], bands * planes), np.float32)
    sides = np.packbits((rows @ normals > 0).reshape(len(rows), bands, planes), axis=2)
    for one in sides:
        yield [code.tobytes() for code in one]


def _nearest(rows: np.ndarray, row: int, others: Sequence[int], most: float) -> int | None:
    """The first of the others that is near enough."""
    if not others:
        return None
    own, theirs = rows[row].astype(np.float32), rows[list(others)].astype(np.float32)
    lengths = np.linalg.norm(theirs, axis=1) * np.linalg.norm(own)
    near = (theirs @ own >= most * lengths) & (lengths > 0)
    return others[int(near.argmax())] if near.any() else None


def _embedding(item: Item) -> np.ndarray:
    try:
        return np.frombuffer(base64.b64decode(item.data["embedding"], validate=True), np.int8)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{item.id}: has no descriptor of its picture ({error!r}); describe it first"
        ) from error
