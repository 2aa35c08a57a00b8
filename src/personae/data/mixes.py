"""What Seg-Mix is measured against: pictures stitched together, background and all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from personae.data.collages import Mixed, Piece, render_collage
from personae.data.seg_mix import SegMixRecipe, caption, plan_collage
from personae.errors import RequestError
from personae.subjects.box import Box
from personae.subjects.mask import mask_box

__all__ = ["Column", "Photo", "cut_mix", "in_column", "side_by_side", "stitched"]

# Subject's place among those of the mix and (width, height) -> its picture and mask of that size.
Column = Callable[[int, tuple[int, int]], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Photo:
    """A subject's photo (H, W, 3) uint8 and where in it the subject is, (H, W) bool."""

    subject: str
    image: np.ndarray
    mask: np.ndarray


def cut_mix(
    photos: Sequence[Photo],
    rng: np.random.Generator,
    size: tuple[int, int],
    recipe: SegMixRecipe | None = None,
) -> Mixed:
    """Photos stitched in columns of one width, in random order: Cut-Mix.

    Each photo is scaled to the canvas's height or its column's width, whichever needs more, and
    cropped to the column about its subject's middle. The stitch is in the picture, so the caption
    comes with a negative one that MuDI's comparison draws with: the bare nouns (an id without
    a token is what `Mixed.negative` holds; see `CastExamples`).

    Source: Han et al., SVDiff (arXiv 2303.11305), Cut-Mix-Unmix; as in MuDI's comparison.
    """
    names = [photo.subject for photo in photos]
    return stitched(
        names, lambda place, column: in_column(photos[place], column), rng, size, recipe
    )


def stitched(
    names: Sequence[str],
    column_of: Column,
    rng: np.random.Generator,
    size: tuple[int, int],
    recipe: SegMixRecipe | None = None,
) -> Mixed:
    """`cut_mix` of photos that are there as columns."""
    order = _ordered(names, rng)
    width, height = size
    edges = np.linspace(0, width, len(names) + 1).round().astype(int)
    canvas = np.zeros((height, width, 3), np.uint8)
    whole = np.zeros((len(names), height, width), bool)
    for column, place in enumerate(order):
        left, right = int(edges[column]), int(edges[column + 1])
        image, mask = column_of(place, (right - left, height))
        canvas[:, left:right], whole[place, :, left:right] = image, mask
    boxes = {
        name: mask_box(mask) if mask.any() else Box(0, 0, width, height)
        for name, mask in zip(names, whole, strict=True)
    }
    words = caption(names, recipe or SegMixRecipe(), "")
    return Mixed(canvas, dict(zip(names, whole, strict=True)), boxes, words, words)


def side_by_side(
    pieces: Sequence[Piece],
    rng: np.random.Generator,
    size: tuple[int, int],
    recipe: SegMixRecipe | None = None,
) -> Mixed:
    """Cut-outs beside each other on white, as large as their columns hold, none over another.

    A collage without Seg-Mix's random sizes, places and overlaps.
    """
    chosen = recipe or SegMixRecipe()
    still = SegMixRecipe(
        scale=(1.0, 1.0),
        margin=chosen.margin,
        margin_max=1 / size[0],
        same_height=True,
        overlap=True,
    )
    plan = plan_collage(pieces, rng, size, still)
    canvas = np.full((size[1], size[0], 3), 255, np.uint8)
    words = caption([piece.subject for piece in pieces], chosen, "white")
    return render_collage(plan, pieces, canvas, words)


def _ordered(names: Sequence[str], rng: np.random.Generator) -> list[int]:
    if len(names) < 2:
        raise RequestError(f"Cut-Mix mixes two subjects or more; got {len(names)}")
    return [int(place) for place in rng.permutation(len(names))]


def in_column(photo: Photo, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The photo and its mask scaled to cover a column, cropped about the subject."""
    width, height = size
    held = photo.image.shape
    scale = max(width / held[1], height / held[0])
    sides = (max(round(held[1] * scale), width), max(round(held[0] * scale), height))
    x, y = mask_box(photo.mask).center
    left = min(max(round(x * scale - width / 2), 0), sides[0] - width)
    top = min(max(round(y * scale - height / 2), 0), sides[1] - height)
    part = (left, top, left + width, top + height)
    image = Image.fromarray(photo.image).resize(sides, Image.Resampling.BICUBIC).crop(part)
    mask = Image.fromarray(photo.mask).resize(sides, Image.Resampling.NEAREST).crop(part)
    return np.asarray(image), np.asarray(mask)
