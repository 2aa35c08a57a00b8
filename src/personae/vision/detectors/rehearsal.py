"""Rehearsal pictures: references cut out and pasted about, so that a detector can practise.

The references are the only labeled pictures of a subject, so their cut-outs are pasted, several
at a time, at many sizes, on gradients, noise and their own backgrounds. Patches cut from
backgrounds are pasted too, so that a pasted edge alone says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from personae.subjects.box import Box
from personae.subjects.collage import CutOut, Placed, cut_out, paste
from personae.subjects.subject import Reference

__all__ = ["Rehearsal", "rehearse"]

_PASTES = 4
_SIZES = (0.18, 0.75)
_HIDDEN_AT_MOST = 0.3


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """A picture (S, S, 3) uint8 and where the subject is in it (S, S) bool."""

    image: np.ndarray
    mask: np.ndarray


def _gradient(rng: np.random.Generator, side: int) -> np.ndarray:
    """A ramp between two colors in a random direction."""
    first, second = rng.uniform(0, 255, (2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:side, 0:side] / side
    ramp = x * np.cos(angle) + y * np.sin(angle)
    ramp = (ramp - ramp.min()) / (ramp.max() - ramp.min())
    return np.asarray(first + (second - first) * ramp[..., None], dtype=np.uint8)


def _noise(rng: np.random.Generator, side: int) -> np.ndarray:
    """Colored 1/f^p noise with p from 0.6 (fine) to 1.8 (cloudy)."""
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    scale = 1.0 / np.maximum(np.hypot(fy, fx), 1.0 / side) ** rng.uniform(0.6, 1.8)
    spectra = np.fft.rfft2(rng.standard_normal((3, side, side))) * scale
    planes = np.fft.irfft2(spectra, (side, side))
    planes = (planes - planes.mean((1, 2), keepdims=True)) / planes.std((1, 2), keepdims=True)
    colors = rng.uniform(60, 190, 3)[:, None, None] + 40 * planes
    return np.asarray(np.clip(colors, 0, 255), dtype=np.uint8).transpose(1, 2, 0)


def _empty_part(rng: np.random.Generator, reference: Reference) -> np.ndarray | None:
    """A part of the photo without the subject, or None where 60 draws find none."""
    mask = reference.mask
    assert mask is not None
    height, width = mask.shape
    for _ in range(60):
        side = rng.uniform(0.15, 0.6) * min(height, width)
        h, w = (max(int(side * rng.uniform(0.6, 1.6)), 1) for _ in range(2))
        h, w = min(h, height), min(w, width)
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        if mask[top : top + h, left : left + w].mean() <= 0.02:
            return reference.image[top : top + h, left : left + w]
    return None


def _own_background(rng: np.random.Generator, reference: Reference, side: int) -> np.ndarray:
    """The photo's background: a part without the subject, mirrored until it fills the square."""
    part = _empty_part(rng, reference)
    if part is None:
        return _noise(rng, side)
    factor = side / rng.uniform(1, 3) / max(part.shape[:2])
    size = [max(8, int(length * factor)) for length in part.shape[1::-1]]
    tile = np.asarray(Image.fromarray(part).resize((size[0], size[1])))
    tile = np.concatenate([tile, tile[:, ::-1]], axis=1)
    tile = np.concatenate([tile, tile[::-1]], axis=0)
    repeats = (-(-side // tile.shape[0]), -(-side // tile.shape[1]), 1)
    return np.tile(tile, repeats)[:side, :side].copy()


def _background(rng: np.random.Generator, references: Sequence[Reference], side: int) -> np.ndarray:
    draw = rng.integers(5)
    if draw == 0:
        return _gradient(rng, side)
    if draw == 1:
        return _noise(rng, side)
    return _own_background(rng, references[int(rng.integers(len(references)))], side)


def _patch(rng: np.random.Generator, references: Sequence[Reference], side: int) -> CutOut:
    """A ragged polygon of background, 0.15 to 0.5 of the picture wide: nobody's subject."""
    extent = max(int(rng.uniform(0.15, 0.5) * side), 16)
    corners = rng.integers(5, 12)
    angles, radii = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(0.25, 0.5, corners)
    x, y = extent * (0.5 + radii * np.cos(angles)), extent * (0.5 + radii * np.sin(angles))
    mask = Image.new("L", (extent, extent))
    ImageDraw.Draw(mask).polygon(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255)
    return CutOut(_background(rng, references, extent), np.asarray(mask).copy())


def _varied(rng: np.random.Generator, cut: CutOut) -> CutOut:
    """Mirrored half of the time, and with another light."""
    cut = cut.mirrored() if rng.uniform() < 0.5 else cut
    light = rng.uniform(0.75, 1.2) * rng.uniform(0.93, 1.07, 3)
    return CutOut(np.clip(cut.image * light, 0, 255).astype(np.uint8), cut.mask)


def _place(rng: np.random.Generator, cut: CutOut, side: int) -> Box:
    """A box for the cut-out, up to 15 in 100 of it outside the picture."""
    height, width = cut.mask.shape
    scale = math.exp(rng.uniform(*np.log(_SIZES))) * side / max(height, width)
    stretch = math.exp(rng.uniform(-0.1, 0.1))
    w, h = max(8, int(width * scale * stretch)), max(8, int(height * scale / stretch))
    left, top = (int(rng.uniform(-0.15 * length, side - 0.85 * length)) for length in (w, h))
    return Box(left, top, left + w, top + h)


def _shadow(cut: CutOut, box: Box, side: int) -> np.ndarray:
    """Where the pasted cut-out lies: (side, side) bool."""
    white = CutOut(np.full((*cut.mask.shape, 3), 255, np.uint8), cut.mask)
    black = np.zeros((side, side, 3), np.uint8)
    return paste(black, [Placed(white, box)])[..., 0] > 127


def _hides(mask: np.ndarray, instances: Sequence[np.ndarray]) -> bool:
    """Whether the mask covers too much of what was pasted before."""
    return any((mask & old).sum() > _HIDDEN_AT_MOST * old.sum() for old in instances)


def rehearse(rng: np.random.Generator, references: Sequence[Reference], side: int) -> Rehearsal:
    """One rehearsal picture of side ``side`` from references that all have masks."""
    cuts = [cut_out(item.image, item.mask) for item in references if item.mask is not None]
    image = _background(rng, references, side).copy()
    for _ in range(rng.integers(1, 3)):
        patch = _patch(rng, references, side)
        image = paste(image, [Placed(patch, _place(rng, patch, side))])
    instances: list[np.ndarray] = []
    for _ in range(_PASTES):
        cut = _varied(rng, cuts[int(rng.integers(len(cuts)))])
        for _ in range(8):
            box = _place(rng, cut, side)
            mask = _shadow(cut, box, side)
            if not _hides(mask, instances):
                image = paste(image, [Placed(cut, box)])
                instances.append(mask)
                break
    return Rehearsal(image, np.any(instances, axis=0))
