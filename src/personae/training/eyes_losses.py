"""What the eyes learn by: targets and losses of both detectors and both embedders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "FaceTargets",
    "center_loss",
    "center_targets",
    "region_loss",
    "region_targets",
    "trait_loss",
]

_OTHERS = -1  # a label that is not to be learned from
# Weight of the landmarks' error. With 2, heads turned to a side had their landmarks in the middle.
_LANDMARKS = 8.0


@dataclass(frozen=True, eq=False)
class FaceTargets:
    """What the maps of a detector should say, on a grid of (B, H, W) cells.

    ``heat`` in [0, 1], 1 where a face is sought; ``chosen`` bool, the cells whose 14 numbers of
    ``shape`` (B, 14, H, W) count; ``owner`` the index of the cell's face in its picture.
    """

    heat: Tensor
    chosen: Tensor
    shape: Tensor
    owner: Tensor


def _grid(size: tuple[int, int], stride: int) -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return (x + 0.5) * stride, (y + 0.5) * stride


def center_targets(
    faces: list[Tensor], size: tuple[int, int], stride: int, unit_px: float
) -> FaceTargets:
    """Targets of a `CenterNet`: a hill of heat over each face's middle, its shape in 3x3 cells.

    ``faces`` holds for each picture (N, 14): left, top, right, bottom and five landmarks x, y, in
    pixels. The hill is a Gaussian whose deviation is a twelfth of the box (CenterNet, Sec. 3).
    """
    x, y = _grid(size, stride)
    blank = [torch.zeros(len(faces), *size) for _ in range(2)]
    heat, owner = blank[0], blank[1].long() + _OTHERS
    shape = torch.zeros(len(faces), 14, *size)
    for index, boxes in enumerate(faces):
        for number, row in enumerate(boxes):
            middle, extent = (row[:2] + row[2:4]) / 2, row[2:4] - row[:2]
            dx, dy = x - middle[0], y - middle[1]
            sigma = (extent / 12).clamp(min=stride / 3)
            hill = torch.exp(-((dx / sigma[0]) ** 2 + (dy / sigma[1]) ** 2) / 2)
            column, line = (int(value // stride) for value in middle.tolist())
            if 0 <= column < size[1] and 0 <= line < size[0]:
                hill[line, column] = 1.0
            heat[index] = torch.maximum(heat[index], hill)
            near = (dx.abs() <= 1.5 * stride) & (dy.abs() <= 1.5 * stride)
            owner[index][near] = number
            places = torch.stack([x, y])[:, near]
            parts = [
                (extent / unit_px).log()[:, None].expand(2, places.shape[1]),
                (middle[:, None] - places) / unit_px,
                (row[4:].view(5, 2, 1) - places).flatten(0, 1) / unit_px,
            ]
            shape[index][:, near] = torch.cat(parts)
    return FaceTargets(heat, owner >= 0, shape, owner)


def center_loss(maps: Tensor, targets: FaceTargets) -> Tensor:
    r"""Penalty-reduced focal loss of the heat, plus the L1 error of size, offset and landmarks.

    .. math:: -\frac1N \sum \begin{cases} (1-p)^2 \log p & h = 1 \\
              (1-h)^4 p^2 \log(1-p) & \text{else} \end{cases}

    CenterNet (arXiv 1904.07850), Eq. 1; N faces.
    """
    p = maps[:, 0].sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = targets.heat == 1
    right = ((1 - p) ** 2 * p.log())[hit].sum()
    wrong = ((1 - targets.heat) ** 4 * p**2 * (1 - p).log())[~hit].sum()
    focal = -(right + wrong) / hit.sum().clamp(min=1)
    return focal + _shape_error(maps[:, 1:15], targets)


def _shape_error(said: Tensor, targets: FaceTargets) -> Tensor:
    if not targets.chosen.any():
        return said.sum() * 0
    error = (said - targets.shape).abs().movedim(1, -1)[targets.chosen]
    return 2 * error[:, :4].mean() + _LANDMARKS * error[:, 4:].mean()


def region_targets(
    faces: list[Tensor], size: tuple[int, int], stride: int, unit_px: float
) -> FaceTargets:
    """Targets of a `BoxNet`: every cell in the inner 0.6 of a face's box, the nearest face's.

    The shape is the logarithm of the distances to the four sides, and the landmarks.
    """
    x, y = _grid(size, stride)
    owner = torch.full((len(faces), *size), _OTHERS)
    nearest = torch.full((len(faces), *size), float("inf"))
    shape = torch.zeros(len(faces), 14, *size)
    for index, boxes in enumerate(faces):
        for number, row in enumerate(boxes):
            middle, half = (row[:2] + row[2:4]) / 2, (row[2:4] - row[:2]) / 2
            far = torch.maximum((x - middle[0]).abs() / half[0], (y - middle[1]).abs() / half[1])
            here = (far < 0.6) & (far < nearest[index])
            nearest[index][here] = far[here]
            owner[index][here] = number
            px, py = x[here], y[here]
            sides = torch.stack([px - row[0], py - row[1], row[2] - px, row[3] - py])
            points = (row[4:].view(5, 2, 1) - torch.stack([px, py])).flatten(0, 1)
            shape[index][:, here] = torch.cat([(sides / unit_px).log(), points / unit_px])
    chosen = owner >= 0
    return FaceTargets(chosen.float(), chosen, shape, owner)


def region_loss(maps: Tensor, targets: FaceTargets) -> Tensor:
    r"""Binary focal loss of "face", less the logarithm of the boxes' overlap, plus landmarks' L1.

    .. math:: -\alpha_t (1 - p_t)^2 \log p_t, \qquad -\log \mathrm{IoU}

    RetinaNet (arXiv 1708.02002), Eq. 5, and FCOS (arXiv 1904.01355), Eq. 2 after UnitBox.
    """
    logits, hit = maps[:, 0], targets.heat
    p = logits.sigmoid()
    right = p * hit + (1 - p) * (1 - hit)
    entropy = F.binary_cross_entropy_with_logits(logits, hit, reduction="none")
    weight = 0.4 * hit + 0.6 * (1 - hit)
    focal = (weight * (1 - right) ** 2 * entropy).sum() / hit.sum().clamp(min=1)
    if not targets.chosen.any():
        return focal
    said = maps[:, 1:15].movedim(1, -1)[targets.chosen]
    true = targets.shape.movedim(1, -1)[targets.chosen]
    landmarks = (said[:, 4:] - true[:, 4:]).abs().mean()
    return focal - _log_iou(said[:, :4], true[:, :4]).mean() + _LANDMARKS * landmarks


def _log_iou(said: Tensor, true: Tensor) -> Tensor:
    """Logarithm of the overlap of boxes given as logarithms of the distances to their sides."""
    a, b = said.clamp(-6, 4).exp(), true.exp()
    near = torch.minimum(a, b)
    both = (near[:, 0] + near[:, 2]) * (near[:, 1] + near[:, 3])
    area = [(x[:, 0] + x[:, 2]) * (x[:, 1] + x[:, 3]) for x in (a, b)]
    return (both / (area[0] + area[1] - both)).clamp(min=1e-4).log()


def trait_loss(logits: Tensor, traits: Tensor, sizes: Sequence[int]) -> Tensor:
    """Mean cross-entropy of traits: ``logits`` (B, sum of sizes), ``traits`` (B, T).

    -1, a trait that cannot be seen, is the last of its choices.
    """
    losses = [
        F.cross_entropy(part, traits[:, index] % sizes[index])
        for index, part in enumerate(torch.split(logits, list(sizes), 1))
    ]
    return torch.stack(losses).mean()
