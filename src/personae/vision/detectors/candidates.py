"""Candidate boxes from a posterior map: connected components at many heights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

__all__ = [
    "Candidates",
    "box_means",
    "component_boxes",
    "containment",
    "iou_matrix",
    "ring_means",
    "summed_area",
    "upsampled",
]

_LEVELS = (0.12, 0.18, 0.25, 0.33, 0.42, 0.52, 0.65, 0.8)
_RING = 0.2


@dataclass(frozen=True, eq=False)
class Candidates:
    """K boxes of one subject (K, 4) xyxy, with the posterior's mean inside and just outside."""

    boxes: np.ndarray
    inside: np.ndarray
    ring: np.ndarray

    @property
    def leak(self) -> np.ndarray:
        """How much of the subject goes on outside the box, in [0, 1]: high for a part of it."""
        return np.asarray(np.clip(self.ring / np.maximum(self.inside, 0.05), 0.0, 1.0))

    def __getitem__(self, index: np.ndarray | Sequence[int]) -> Candidates:
        return Candidates(self.boxes[index], self.inside[index], self.ring[index])


def _overlap(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inter = np.asarray(np.prod((bottom_right - top_left).clip(0), axis=-1))
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    return inter, areas[0][:, None], areas[1][None]


def iou_matrix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(M, 4), (N, 4) xyxy -> (M, N) intersection over union."""
    inter, a, b = _overlap(first, second)
    return np.asarray(inter / (a + b - inter))


def containment(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(M, 4), (N, 4) xyxy -> (M, N) intersection over the smaller of the two boxes.

    >>> containment(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 4, 4]])).item()
    1.0
    """
    inter, a, b = _overlap(first, second)
    return np.asarray(inter / np.minimum(a, b))


def upsampled(maps: Tensor, factor: int = 2) -> np.ndarray:
    """(K, h, w) -> (K, factor h, factor w) by bilinear interpolation, as NumPy."""
    larger = F.interpolate(maps[None], scale_factor=factor, mode="bilinear", align_corners=False)
    return np.asarray(larger[0].cpu().numpy())


def component_boxes(height: np.ndarray, own: np.ndarray, px: float) -> np.ndarray:
    """Boxes around what rises above each of eight levels: (N, 4) xyxy in pixels.

    Low levels give the whole of a faint subject, high ones part two that touch.

    Args:
        height: posterior of one subject (H, W).
        own: (H, W) bool, where this subject's posterior is the highest.
        px: pixels a place.
    """
    boxes = []
    for level in _LEVELS:
        labels, _ = ndimage.label(own & (height > level))
        for rows, columns in ndimage.find_objects(labels):
            box = [columns.start * px, rows.start * px, columns.stop * px, rows.stop * px]
            sides = sorted((box[2] - box[0], box[3] - box[1]))
            if sides[0] >= 2 * 16 and sides[1] >= 3.5 * 16:
                boxes.append(box)
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def summed_area(maps: Tensor) -> Tensor:
    """(C, h, w) -> (C, h + 1, w + 1): sums over all boxes from the top left corner."""
    return F.pad(maps, (1, 0, 1, 0)).double().cumsum(1).cumsum(2)


def _places(boxes: np.ndarray, px: float, height: int, width: int) -> Tensor:
    left = np.clip(np.round(boxes[:, 0] / px), 0, width - 1)
    top = np.clip(np.round(boxes[:, 1] / px), 0, height - 1)
    right = np.clip(np.round(boxes[:, 2] / px), left + 1, width)
    bottom = np.clip(np.round(boxes[:, 3] / px), top + 1, height)
    return torch.from_numpy(np.stack([left, top, right, bottom])).long()


def box_means(table: Tensor, boxes: np.ndarray, px: float) -> Tensor:
    """Mean of each channel in each box: table of `summed_area`, (K, 4) xyxy -> (K, C)."""
    left, top, right, bottom = _places(boxes, px, table.shape[1] - 1, table.shape[2] - 1)
    total = table[:, bottom, right] - table[:, top, right]
    total = total - table[:, bottom, left] + table[:, top, left]
    means: Tensor = total / ((right - left) * (bottom - top))
    return means.T.float()


def ring_means(table: Tensor, boxes: np.ndarray, inside: np.ndarray, px: float) -> np.ndarray:
    """Mean over the band, a fifth of the box wide, around each box: (K,); table of one channel."""
    limits = np.array([table.shape[2] - 1, table.shape[1] - 1] * 2) * px
    margin = _RING * (boxes[:, 2:] - boxes[:, :2])
    wide = np.clip(np.hstack([boxes[:, :2] - margin, boxes[:, 2:] + margin]), 0, limits)
    outer = np.prod(wide[:, 2:] - wide[:, :2], axis=1)
    inner = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    total = box_means(table, wide, px)[:, 0].cpu().numpy() * outer
    return np.asarray((total - inside * inner) / np.maximum(outer - inner, 1.0))
