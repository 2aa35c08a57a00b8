"""Crops for embedders: a box, centered on a white square, resized with antialiasing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.errors import DataError
from personae.subjects.box import Box
from personae.subjects.mask import mask_box
from personae.subjects.subject import Reference

__all__ = [
    "image_tensor",
    "reference_crop",
    "square_crop",
    "square_crop_batch",
    "square_crops",
    "square_padded",
]

WHITE = 255


def image_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0


def square_padded(part: Tensor, fill: float = 1.0) -> Tensor:
    """(C, h, w) centered on a square of side max(h, w) of color ``fill``; an odd rest goes after.

    >>> square_padded(torch.zeros(3, 2, 5)).shape
    torch.Size([3, 5, 5])
    """
    height, width = part.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return F.pad(part, (left, side - width - left, top, side - height - top), value=fill)


def _pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The box on whole pixels, inside the picture, at least one pixel a side."""
    inside = box.clipped(width, height)
    if inside is None:
        raise DataError(
            f"box {box.xyxy} lies outside the picture of {width} x {height}; "
            "expected left, top, right, bottom in pixels of this very picture"
        )
    left = min(round(inside.left), width - 1)
    top = min(round(inside.top), height - 1)
    return left, top, max(round(inside.right), left + 1), max(round(inside.bottom), top + 1)


def square_crops(
    images: Tensor, boxes: Sequence[Box], index: Sequence[int], side_px: int, fill: float = 1.0
) -> Tensor:
    """Cut boxes out of a batch; gradients flow to the pixels.

    Each box (rounded to whole pixels, clipped to the picture) is centered on a square of side
    max(w, h) filled with ``fill`` and resized bilinearly with antialiasing.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        boxes: K boxes in pixels.
        index: for each box, which of the B pictures it lies in.
        side_px: side of the crops that come out.
        fill: color of the padding, in [0, 1].

    Returns:
        (K, 3, side_px, side_px) float in [0, 1].

    Raises:
        DataError: a box lies wholly outside its picture.
    """
    height, width = images.shape[-2:]
    crops = [images.new_zeros((0, 3, side_px, side_px))]
    for box, picture in zip(boxes, index, strict=True):
        left, top, right, bottom = _pixels(box, width, height)
        square = square_padded(images[picture, :, top:bottom, left:right], fill)
        crops.append(
            F.interpolate(square[None], (side_px, side_px), mode="bilinear", antialias=True)
        )
    return torch.cat(crops)


def square_crop_batch(
    image: np.ndarray,
    boxes: Sequence[Box],
    side_px: int,
    fill: int = WHITE,
    mask: np.ndarray | None = None,
) -> Tensor:
    """Crops of one picture (H, W, 3) uint8, as `square_crop`: (K, 3, side_px, side_px) float."""
    if mask is not None:
        image = np.where(mask[:, :, None], image, np.uint8(fill))
    picture = image_tensor(image)[None]
    return square_crops(picture, boxes, [0] * len(boxes), side_px, fill / 255.0)


def square_crop(
    image: np.ndarray, box: Box, side_px: int, fill: int = WHITE, mask: np.ndarray | None = None
) -> Tensor:
    """One box, centered on a square of side max(w, h) and resized: (3, side_px, side_px) in [0, 1].

    ``fill`` (0 to 255) colors the padding and, where a mask (H, W) bool is given, the background.

    >>> square_crop(np.zeros((4, 8, 3), np.uint8), Box(0, 0, 8, 4), 8)[0, :, 0].tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    """
    return square_crop_batch(image, [box], side_px, fill, mask)[0]


def reference_crop(reference: Reference, side_px: int, white_background: bool = False) -> Tensor:
    """A reference as embedders see it: its mask's tight box, or the whole photo without a mask.

    ``white_background`` paints what the mask leaves out. Returns (3, side_px, side_px).
    """
    height, width = reference.image.shape[:2]
    if reference.mask is None:
        return square_crop(reference.image, Box(0, 0, width, height), side_px)
    mask = reference.mask if white_background else None
    return square_crop(reference.image, mask_box(reference.mask), side_px, mask=mask)
