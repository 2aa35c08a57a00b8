"""Who stands where, and what mean-shifted noise starts from: cut-outs on white, so placed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from personae.errors import RequestError
from personae.generation.layouts import choose_layout, relative_heights
from personae.generation.noise import picture_seed
from personae.generation.planners import LayoutPlanner, LayoutRequest, plan_by_words, sized
from personae.subjects.box import Box
from personae.subjects.collage import CutOut, Placed, cut_out, paste
from personae.subjects.layout import Layout, layout_box_px
from personae.subjects.scene import Scene
from personae.subjects.subject import Reference

__all__ = ["LayoutChoice", "asked_layout", "fitted", "picture_layout", "start_picture"]

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


def picture_layout(
    scene: Scene,
    photos: Mapping[str, Reference],
    size: tuple[int, int],
    choice: LayoutChoice,
    seed: int,
) -> Layout:
    """A box for each subject of one picture, the last one in front; not by ``llm``.

    ``size`` is (width, height) in pixels; ``seed`` decides what the choice leaves free.

    Raises:
        RequestError: another name, or a size that is not above 0.
    """
    if choice.layout == "planned":
        request = _request(scene, photos, size, choice)
        free = picture_seed(scene.id, seed, use="layout")
        return plan_by_words(request, free).layout
    generator = np.random.default_rng(picture_seed(scene.id, seed, use="layout"))
    aspects = _aspects(scene, photos, size)
    layout = choose_layout(choice.layout, scene, aspects, generator, choice.relative_sizes)
    return {name: layout[name] for name in scene.subjects}


def asked_layout(
    scene: Scene,
    photos: Mapping[str, Reference],
    size: tuple[int, int],
    choice: LayoutChoice,
    planner: LayoutPlanner | None,
) -> Layout:
    """A box for each subject as a planner says, with the aspects and sizes that are asked for.

    Raises:
        RequestError: there is no planner.
        DataError: it could not be planned.
        WorkError: who plans does not answer.
    """
    if planner is None:
        raise RequestError(f"layout {choice.layout!r}: nobody plans it; give a planner")
    request = _request(scene, photos, size, choice)
    return sized(planner.plan(request), request.aspects, request.sizes)


def _request(
    scene: Scene, photos: Mapping[str, Reference], size: tuple[int, int], choice: LayoutChoice
) -> LayoutRequest:
    heights = relative_heights(scene, choice.relative_sizes)
    return LayoutRequest(scene, _aspects(scene, photos, size), heights, size)


def _aspects(
    scene: Scene, photos: Mapping[str, Reference], size: tuple[int, int]
) -> dict[str, float]:
    """Width over height of each cut-out, both as fractions of the picture."""
    shapes = {name: _cut(photos[name]).mask.shape for name in scene.subjects}
    return {name: shape[1] / size[0] / (shape[0] / size[1]) for name, shape in shapes.items()}


def start_picture(
    layout: Layout, photos: Mapping[str, Reference], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """MuDI's x_init and its mask M: (H, W, 3) uint8 on white, and (H, W) bool.

    Each cut-out keeps its aspect, in its layout's box; a reference without a mask is pasted whole.
    A later one of the layout stands before an earlier one.
    """
    width, height = size
    cuts = {name: _cut(photos[name]) for name in layout}
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
