"""What mean-shifted noise starts from: the references' cut-outs on white, placed by a layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from personae.generation.layouts import choose_layout
from personae.generation.noise import picture_seed
from personae.subjects.box import Box
from personae.subjects.collage import CutOut, Placed, cut_out, paste
from personae.subjects.layout import layout_box_px
from personae.subjects.scene import Scene
from personae.subjects.subject import Reference

__all__ = ["LayoutChoice", "fitted", "start_picture"]

_WHITE = 255


class LayoutChoice(Protocol):
    """What of a drawing says where the cut-outs go."""

    @property
    def layout(self) -> str:
        """One of ``LAYOUTS``."""
        ...

    @property
    def relative_sizes(self) -> Mapping[str, float]:
        """A subject's id or noun, and its size against the others."""
        ...


def start_picture(
    scene: Scene,
    photos: Mapping[str, Reference],
    size: tuple[int, int],
    choice: LayoutChoice,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """MuDI's x_init and its mask M: (H, W, 3) uint8 on white, and (H, W) bool.

    Each cut-out keeps its aspect, in its layout's box; a reference without a mask is pasted whole.
    A later subject stands before an earlier one. ``seed`` decides a random layout.
    """
    width, height = size
    cuts = {name: _cut(photos[name]) for name in scene.subjects}
    aspects = {
        name: cut.mask.shape[1] / width / (cut.mask.shape[0] / height) for name, cut in cuts.items()
    }
    generator = np.random.default_rng(picture_seed(scene.id, seed, use="layout"))
    layout = choose_layout(choice.layout, scene, aspects, generator, choice.relative_sizes)
    placed = [
        Placed(cut, fitted(cut, layout_box_px(layout[name], width, height)))
        for name, cut in cuts.items()
    ]
    picture = paste(np.full((height, width, 3), _WHITE, np.uint8), placed)
    shapes = [Placed(_silhouette(item.cut), item.box) for item in placed]
    mask = paste(np.zeros((height, width, 3), np.uint8), shapes)[..., 0] > _WHITE // 2
    return picture, mask


def fitted(cut: CutOut, box: Box) -> Box:
    """The largest box of the cut-out's aspect in this box, on its floor, in the middle.

    >>> tall = CutOut(np.zeros((4, 2, 3), np.uint8), np.zeros((4, 2), np.uint8))
    >>> fitted(tall, Box(0.0, 0.0, 8.0, 8.0)).xyxy
    (2.0, 0.0, 6.0, 8.0)
    """
    height, width = cut.mask.shape
    scale = min(box.width / width, box.height / height)
    middle, half = (box.left + box.right) / 2, scale * width / 2
    return Box(middle - half, box.bottom - scale * height, middle + half, box.bottom)


def _cut(reference: Reference) -> CutOut:
    mask = reference.mask
    whole = np.ones(reference.image.shape[:2], bool)
    return cut_out(reference.image, whole if mask is None else mask)


def _silhouette(cut: CutOut) -> CutOut:
    return CutOut(np.full_like(cut.image, _WHITE), cut.mask)
