"""From a picture to a network's input, and from its maps to faces: both detectors' common part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.errors import DataError
from personae.subjects.box import Box
from personae.vision.embedders.crops import image_tensor
from personae.vision.protocols import Detection

__all__ = [
    "Prepared",
    "centers_to_faces",
    "enough",
    "prepared",
    "regions_to_faces",
    "without_overlap",
]

_MOST_FACES = 60


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a network is shown: pixels (1, 3, h, w) in [0, 1], padded, ``factor`` of the original.

    ``factor`` is how many pixels of the picture one of these spans.
    """

    pixels: Tensor
    factor: float


def prepared(image: np.ndarray, side_px: int, multiple: int) -> Prepared:
    """(H, W, 3) uint8 brought to a short side of ``side_px`` and padded to whole multiples.

    A picture whose short side is ``side_px`` already keeps every pixel as it is.

    Raises:
        DataError: not an (H, W, 3) uint8 picture.

    >>> prepared(np.zeros((64, 100, 3), np.uint8), 128, 32).pixels.shape
    torch.Size([1, 3, 128, 224])
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"faces are sought in (H, W, 3) uint8 pictures; got {image.shape} {image.dtype}"
        )
    pixels = image_tensor(image)[None]
    factor = min(image.shape[:2]) / side_px
    if factor != 1:
        size = [max(1, round(value / factor)) for value in image.shape[:2]]
        pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    height, width = pixels.shape[2:]
    pad = (0, -width % multiple, 0, -height % multiple)
    return Prepared(F.pad(pixels, pad, mode="replicate") if any(pad) else pixels, factor)


def _places(height: int, width: int, stride: int) -> Tensor:
    """(2, H, W): x and y in pixels of the middle of every cell."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x, y]).float() + 0.5) * stride


def _landmarks(maps: Tensor, places: Tensor, unit_px: float) -> Tensor:
    """(10, K) offsets and (2, K) places -> (K, 5, 2) pixels."""
    return (maps.view(5, 2, -1) * unit_px + places).permute(2, 0, 1)


def _found(scores: Tensor, boxes: Tensor, landmarks: Tensor, factor: float) -> list[Detection]:
    """Plain detections in pixels of the picture, surest first; degenerate boxes are dropped."""
    kept = []
    for index in scores.argsort(descending=True).tolist():
        left, top, right, bottom = (factor * value for value in boxes[index].tolist())
        numbers = (left, top, right, bottom)
        if right > left and bottom > top and all(math.isfinite(item) for item in numbers):
            points = landmarks[index].double().numpy() * factor
            kept.append(Detection(Box(*numbers), float(scores[index]), None, points))
    return kept


def centers_to_faces(
    maps: Tensor, stride: int, unit_px: float, least: float, factor: float = 1.0
) -> list[Detection]:
    """Peaks of the first of (15, H, W) maps, with the box and the landmarks said there.

    A peak is the highest of its 3x3 neighbors and at least ``least`` (a probability).
    """
    heat = maps[0].sigmoid()
    peak = (heat == F.max_pool2d(heat[None], 3, 1, 1)[0]) & (heat >= least)
    chosen = torch.nonzero(peak.flatten()).flatten()
    chosen = chosen[heat.flatten()[chosen].argsort(descending=True)][:_MOST_FACES]
    flat, places = (
        maps.flatten(1)[:, chosen],
        _places(heat.shape[0], heat.shape[1], stride).flatten(1)[:, chosen],
    )
    half = flat[1:3].clamp(-4, 4).exp() * unit_px / 2
    boxes = torch.cat([places - half, places + half]).T
    points = _landmarks(flat[5:15], places, unit_px)
    # The center of a box is said only to a cell; the offsets 3 and 4 mend that.
    boxes = boxes + (flat[3:5] * unit_px).T.repeat(1, 2)
    return _found(heat.flatten()[chosen], boxes, points, factor)


def regions_to_faces(
    maps: Tensor, stride: int, unit_px: float, least: float, factor: float = 1.0
) -> list[Detection]:
    """Every place of (15+, H, W) maps that says face, with its four sides and landmarks."""
    scores = maps[0].sigmoid().flatten()
    chosen = torch.nonzero(scores >= least).flatten()
    chosen = chosen[scores[chosen].argsort(descending=True)][:_MOST_FACES]
    places = _places(maps.shape[1], maps.shape[2], stride).flatten(1)[:, chosen]
    flat = maps[:15].flatten(1)[:, chosen]
    sides = flat[1:5].clamp(-5, 4).exp() * unit_px
    boxes = torch.cat([places - sides[:2], places + sides[2:]]).T
    return _found(scores[chosen], boxes, _landmarks(flat[5:15], places, unit_px), factor)


def without_overlap(found: Sequence[Detection], most_iou: float = 0.45) -> list[Detection]:
    """Each face once, in the order given: an earlier box takes the place of a later one."""
    kept: list[Detection] = []
    for item in found:
        if all(item.box.iou(other.box) <= most_iou for other in kept):
            kept.append(item)
    return kept


def enough(
    found: Sequence[Detection], least: float, least_expected: float, expected: int
) -> list[Detection]:
    """What scores at least ``least``; where that is fewer than expected, the next surest too.

    Nothing below ``least_expected`` counts, however many are missing. ``found`` is surest first.
    """
    sure = sum(item.score >= least for item in found)
    likely = sum(item.score >= least_expected for item in found)
    return list(found[: max(sure, min(likely, expected))])
