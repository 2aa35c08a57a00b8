"""COCO's two ways to write a mask: polygons, and runs of pixels (uncompressed RLE)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from personae.errors import DataError

__all__ = ["Outline", "mask_from_runs", "runs_from_mask"]


def runs_from_mask(mask: np.ndarray) -> list[int]:
    """Lengths of runs down the columns, background first: COCO's uncompressed RLE.

    >>> runs_from_mask(np.array([[0, 1], [1, 1]], dtype=bool))
    [1, 3]
    """
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def mask_from_runs(runs: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool of such runs.

    >>> mask_from_runs([1, 3], (2, 2)).tolist()
    [[False, True], [True, True]]

    Raises:
        DataError: the runs do not fill the shape.
    """
    if any(run < 0 for run in runs) or sum(runs) != shape[0] * shape[1]:
        raise DataError(
            f"runs of {sum(runs)} pixels for a mask of {shape[0]} x {shape[1]}; "
            "expected counts that fill it"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, np.asarray(runs, dtype=np.int64)).reshape(shape, order="F")


@dataclass(frozen=True)
class Outline:
    """One or several of COCO's segmentations of a subject in a photo, as JSON; drawn on demand."""

    segmentations: tuple[str, ...]
    where: str

    @classmethod
    def of(cls, segmentations: Sequence[Any], where: str) -> Outline:
        """Check and keep segmentations.

        Raises:
            DataError: neither polygons nor uncompressed runs.
        """
        for item in segmentations:
            _check(item, where)
        return cls(tuple(json.dumps(item) for item in segmentations), where)

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """All of them together on a photo of this shape: (H, W) bool.

        Raises:
            DataError: made for a photo of another size.
        """
        drawn = [_drawn(json.loads(item), shape, self.where) for item in self.segmentations]
        return np.asarray(np.any(drawn, axis=0))


def _check(item: Any, where: str) -> None:
    if isinstance(item, Mapping):
        if isinstance(item.get("counts"), str):
            raise DataError(
                f"{where}: compressed RLE is not read; write counts as a list of numbers "
                "(uncompressed), or polygons"
            )
        good = _numbers(item.get("counts"), 1) and _numbers(item.get("size"), 2)
    else:
        good = isinstance(item, list) and bool(item)
        good = good and all(_numbers(ring, 6) and len(ring) % 2 == 0 for ring in item)
    if not good:
        raise DataError(
            f"{where}: segmentation: expected polygons [[x, y, x, y, x, y, ...], ...] or "
            '{"counts": [...], "size": [height, width]}'
        )


def _numbers(values: Any, least: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) >= least
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    )


def _drawn(item: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    if isinstance(item, Mapping):
        height, width = (int(side) for side in item["size"][:2])
        if (height, width) != shape:
            raise DataError(
                f"{where}: mask is {width}x{height}, its photo {shape[1]}x{shape[0]}; "
                "annotate this very photo, or remove the annotation"
            )
        return mask_from_runs([int(run) for run in item["counts"]], shape)
    canvas = Image.new("1", shape[::-1])
    for ring in item:
        # Corners of pixels in COCO, their middles in Pillow: half a pixel apart.
        points = [(x - 0.5, y - 0.5) for x, y in zip(ring[::2], ring[1::2], strict=True)]
        ImageDraw.Draw(canvas).polygon(points, fill=1)
    return np.asarray(canvas, dtype=bool)
