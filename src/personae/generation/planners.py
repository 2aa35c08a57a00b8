"""Who says where subjects stand: a planner reads the scene and gives each subject its box.

MuDI (arXiv 2404.04243, Sec. 4.2) starts from a random layout or from one that a language model
gives, since a random one can contradict what the prompt says; how they ask is not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from personae.generation.layouts import resized
from personae.generation.placing import Placing, placed
from personae.generation.relation_words import relations_of, sizes_said
from personae.subjects.layout import Layout
from personae.subjects.scene import Scene

__all__ = ["LayoutPlanner", "LayoutRequest", "plan_by_words", "sized"]

_FREE_SIZES = (0.85, 1.0)
_INSIDE = 0.6


@dataclass(frozen=True)
class LayoutRequest:
    """What is known of a picture before it is planned.

    Attributes:
        scene: prompt, subjects, relation.
        aspects: width over height of each subject's cut-out, both as fractions of the picture.
        sizes: heights asked for, of each subject against the largest; empty: none was asked for.
        size: (width, height) of the picture in pixels.
    """

    scene: Scene
    aspects: Mapping[str, float]
    sizes: Mapping[str, float]
    size: tuple[int, int]


class LayoutPlanner(Protocol):
    """Plans one layout a scene, for all its seeds.

    Attributes:
        name: what plans: ``"llm"``.
        model: with what.
    """

    name: str
    model: str

    def plan(self, request: LayoutRequest) -> Layout:
        """A box in [0, 1] for every subject, from back to front.

        Raises:
            DataError: it could not be planned.
            WorkError: who plans does not answer.
        """
        ...


def plan_by_words(request: LayoutRequest, seed: int) -> Placing:
    """The layout ``planned``: as the words of the prompt say, without asking anybody.

    Boxes have the aspects of the cut-outs and the heights asked for; without, those that the
    prompt's words give ("a tiny {a}"), else about the same. Relations are read by `relations_of`;
    those that cannot hold together are dropped, the later ones first.
    """
    said, names = relations_of(request.scene), list(request.scene.subjects)
    aspects = {name: request.aspects[name] for name in names}
    if request.sizes:
        heights = {name: request.sizes[name] for name in names}
    else:
        heights = _free_heights(request, seed)
        for one in said:
            if one.kind == "inside":
                room = min(1.0, aspects[one.second] / aspects[one.first])
                most = _INSIDE * heights[one.second] * room
                heights[one.first] = min(heights[one.first], most)
    return placed(aspects, heights, said, request.size, seed)


def _free_heights(request: LayoutRequest, seed: int) -> dict[str, float]:
    """About the same for all, times what the prompt's words say."""
    told = sizes_said(request.scene)
    rng = np.random.default_rng(seed)
    # Words say how large one is to another; chance would make that another number.
    chance = {name: 1.0 if told else rng.uniform(*_FREE_SIZES) for name in request.scene.subjects}
    return {name: told.get(name, 1.0) * chance[name] for name in chance}


def sized(layout: Layout, aspects: Mapping[str, float], sizes: Mapping[str, float]) -> Layout:
    """Boxes of the cut-outs' aspects inside those given, heights in the ratios asked for.

    Each becomes the largest box of its aspect that fits, on its floor; then those that are too
    large against the others shrink. None grows, so that all stay inside the picture.

    >>> boxes = {"a": (0.0, 0.0, 0.5, 1.0), "b": (0.5, 0.0, 1.0, 1.0)}
    >>> sized(boxes, {"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 0.5})["b"]
    (0.625, 0.5, 0.875, 1.0)
    """
    fitting: Layout = {}
    for name, (left, top, right, bottom) in layout.items():
        height = min(bottom - top, (right - left) / aspects[name])
        middle, half = (left + right) / 2, height * aspects[name] / 2
        fitting[name] = (middle - half, bottom - height, middle + half, bottom)
    if not sizes:
        return fitting
    heights = {name: bottom - top for name, (_, top, _, bottom) in fitting.items()}
    unit = min(heights[name] / sizes[name] for name in heights)
    return resized(fitting, {name: unit * sizes[name] / heights[name] for name in heights})
