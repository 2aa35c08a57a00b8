"""Collages many at a time, on the device where they are wanted.

Scaling and placing a cut-out are one matrix product along each side, so a batch of collages is a
few products of matrices and nothing waits for a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.data.collages import CollagePlan, Piece
from personae.errors import RequestError

__all__ = ["render_collages", "resampling"]


def render_collages(
    plans: Sequence[CollagePlan],
    pieces: Sequence[Sequence[Piece]],
    canvases: Tensor,
    feather_px: int = 0,
) -> tuple[Tensor, Tensor]:
    """What `render_collage` makes of each plan, as a batch.

    The arithmetic is Pillow's bilinear reduction without its rounding between the two sides, so
    values differ by a level or two, and masks in single pixels of their edges.

    Args:
        plans: B of them, of one size.
        pieces: those of each plan.
        canvases: (B, 3, H, W) in [0, 1], on the device that is to work; stays as it is.
        feather_px: as there.

    Returns:
        Pictures (B, 3, H, W) in [0, 1], not rounded, and the visible part of each piece
        (B, N, H, W) bool, with nothing for those that a plan has fewer than N.

    Raises:
        RequestError: plans of several sizes.
    """
    width, height = plans[0].size
    if any(plan.size != (width, height) for plan in plans):
        raise RequestError("a batch of collages has one size; sort them by size first")
    device = canvases.device
    images, masks = _stacked(pieces, device)
    boxes = _boxes(plans, pieces, device)
    rows = (boxes[..., 1], boxes[..., 3], boxes[..., 5])
    columns = (boxes[..., 0], boxes[..., 2], boxes[..., 4])
    flips = _mirrored(plans, images.shape[1], device)
    solid = _placed(masks[:, :, None], rows, columns, (height, width), flips, 0)[:, :, 0]
    # Half of 255 levels, as Pillow's rounded ones are compared.
    solid = solid >= 127.5 / 255
    placed = _placed(images, rows, columns, (height, width), flips, 2 * feather_px)
    alpha = _feathered(solid.float(), feather_px)
    return _composed(plans, canvases, placed.clamp(0, 1), alpha, solid)


def resampling(
    outer: int, inner: int, span: tuple[Tensor, Tensor, Tensor], flip: Tensor, reach: int = 0
) -> Tensor:
    r"""Matrices (..., outer, inner) that scale a side of a cut-out and put it on a canvas's side.

    .. math:: R_{yj} \propto \max\big(0, 1 - |j + \tfrac12 - (y - a + \tfrac12)\, s| / \max(s, 1)\big)

    with s = length / (b - a): the triangle filter, widened where it shrinks. Rows outside the box
    are zero.

    Args:
        outer: length of the canvas's side.
        inner: the longest length of a cut-out's side.
        span: start a, end b and the cut-out's own length, (...) each.
        flip: (...) bool, last pixel first.
        reach: how far beyond the box its border is repeated.
    """  # noqa: E501 - one formula
    start, end, length = (item[..., None].float() for item in span)
    place = torch.arange(outer, device=flip.device) - start
    count = end - start
    inside = (place >= -reach) & (place < count + reach) & (count > 0)
    place = torch.minimum(place.clamp(min=0), (count - 1).clamp(min=0))
    scale = length / count.clamp(min=1)
    center = (place + 0.5) * scale
    center = torch.where(flip[..., None], length - center, center)[..., None]
    pixel = torch.arange(inner, device=flip.device) + 0.5
    weight = (1 - (pixel - center).abs() / scale.clamp(min=1)[..., None]).clamp(min=0)
    weight = weight * (pixel < length[..., None])
    total = weight.sum(-1, keepdim=True)
    return weight / total.clamp(min=1e-9) * inside[..., None]


def _stacked(pieces: Sequence[Sequence[Piece]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, N, 3, h, w) and (B, N, h, w) in [0, 1], zero where a piece is smaller or missing."""
    count = max(len(held) for held in pieces)
    height = max(piece.height for held in pieces for piece in held)
    width = max(piece.width for held in pieces for piece in held)
    images = np.zeros((len(pieces), count, height, width, 3), np.uint8)
    masks = np.zeros((len(pieces), count, height, width), np.uint8)
    for row, held in enumerate(pieces):
        for place, piece in enumerate(held):
            images[row, place, : piece.height, : piece.width] = piece.cut.image
            masks[row, place, : piece.height, : piece.width] = piece.cut.mask
    on_device = torch.from_numpy(images).to(device).movedim(-1, 2).float() / 255
    return on_device, torch.from_numpy(masks).to(device).float() / 255


def _boxes(
    plans: Sequence[CollagePlan], pieces: Sequence[Sequence[Piece]], device: torch.device
) -> Tensor:
    """(B, N, 6): left, top, right, bottom on the canvas, own width and height; zero where none."""
    count = max(len(held) for held in pieces)
    table = torch.zeros(len(plans), count, 6)
    for row, (plan, held) in enumerate(zip(plans, pieces, strict=True)):
        for place, piece in enumerate(held):
            values = (*plan.boxes[place], piece.width, piece.height)
            table[row, place] = torch.tensor(values, dtype=torch.float32)
    return table.to(device)


def _mirrored(plans: Sequence[CollagePlan], count: int, device: torch.device) -> Tensor:
    rows = [[*plan.mirrored, *[False] * (count - len(plan.mirrored))] for plan in plans]
    return torch.tensor(rows, device=device)


def _placed(
    cuts: Tensor,
    rows: tuple[Tensor, Tensor, Tensor],
    columns: tuple[Tensor, Tensor, Tensor],
    size: tuple[int, int],
    flips: Tensor,
    reach: int,
) -> Tensor:
    """(B, N, C, h, w) scaled and put on canvases: (B, N, C, H, W)."""
    down = resampling(size[0], cuts.shape[-2], rows, torch.zeros_like(flips), reach)
    across = resampling(size[1], cuts.shape[-1], columns, flips, reach)
    return down[:, :, None] @ (cuts @ across[:, :, None].transpose(-1, -2))


def _feathered(solid: Tensor, radius: int) -> Tensor:
    for _ in range(2 if radius else 0):
        solid = F.avg_pool2d(solid, 2 * radius + 1, stride=1, padding=radius)
    return solid


def _composed(
    plans: Sequence[CollagePlan], canvases: Tensor, placed: Tensor, alpha: Tensor, solid: Tensor
) -> tuple[Tensor, Tensor]:
    """Paste from back to front; what is in front hides what is behind."""
    count = placed.shape[1]
    order = [[*plan.front, *range(len(plan.front), count)] for plan in plans]
    front = torch.tensor(order, device=canvases.device)
    row = torch.arange(len(plans), device=canvases.device)
    pictures, visible = canvases, torch.zeros_like(solid)
    for layer in range(count):
        chosen = front[:, layer]
        cover = alpha[row, chosen][:, None]
        pictures = pictures * (1 - cover) + placed[row, chosen] * cover
        visible &= ~solid[row, chosen][:, None]
        visible[row, chosen] = solid[row, chosen]
    return pictures, visible
