"""Seg-Mix in plain loops: what a collage looks like, cell by cell."""

from __future__ import annotations

import numpy as np
from PIL import Image

from personae.data.collages import CollagePlan, Piece


def paste_slowly(
    plan: CollagePlan, pieces: list[Piece], canvas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Picture and the number of the piece seen in each pixel (-1: none)."""
    picture = canvas.copy()
    owner = np.full(canvas.shape[:2], -1)
    for place in plan.front:
        left, top, right, bottom = plan.boxes[place]
        size = (right - left, bottom - top)
        image = Image.fromarray(pieces[place].cut.image)
        mask = Image.fromarray(pieces[place].cut.mask)
        if plan.mirrored[place]:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
        mask = np.asarray(mask.resize(size, Image.Resampling.BILINEAR))
        for y in range(size[1]):
            for x in range(size[0]):
                if mask[y, x] >= 128:
                    picture[top + y, left + x] = image[y, x]
                    owner[top + y, left + x] = place
    return picture, owner
