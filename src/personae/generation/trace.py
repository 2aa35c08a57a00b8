"""Looking over the model's shoulder: what it takes the picture to be, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from personae.diffusion.backbone import Backbone, Context
from personae.diffusion.guidance import guided, told_guidance
from personae.diffusion.regions import drawn_by_regions
from personae.generation.drawing import Drawing, Plan, initial_latents, layout_of, plan_scene
from personae.generation.regions import regional_prompts, regions_of
from personae.subjects.scene import Scene
from personae.vision.embedders.crops import image_tensor

__all__ = ["Glimpse", "trace"]


@dataclass(frozen=True, eq=False)
class Glimpse:
    """What the model expects at a time: ``time`` from 1 (noise) to 0, picture (H, W, 3) uint8."""

    time: float
    picture: np.ndarray


@torch.no_grad()
def trace(
    backbone: Backbone, scene: Scene, seed: int = 0, drawing: Drawing | None = None
) -> list[Glimpse]:
    r"""The clean picture that the model predicts before each step, and the one it ends with.

    Steps without noise over the pipeline's own times: of a flow Euler's, :math:`dx = v\,dt` with
    :math:`\hat x_0 = x - t v`, of a diffusion DDIM's; the last glimpse, at
    time 0, is the picture that `draw` gives up to rounding. MuDI (arXiv 2404.04243, Sec. 4.2) looks
    at the first ten to see how early subjects get their places.

    Raises:
        DataError: the scene cannot be drawn by this model; see `plan_scene`.
    """
    drawing = (drawing or Drawing()).settled(backbone)
    assert drawing.guidance is not None
    plan = plan_scene(scene, backbone.limits, drawing)
    with told_guidance(backbone, drawing.guidance) as guidance:
        return _glimpses(backbone, plan, drawing, guidance, seed)


def _glimpses(
    backbone: Backbone, plan: Plan, drawing: Drawing, guidance: float, seed: int
) -> list[Glimpse]:
    assert drawing.steps is not None and drawing.reference_guidance is not None
    contexts = [_context(backbone, plan, plan.prompt)]
    if guidance > 1:
        contexts.append(_context(backbone, plan, plan.negative))
    start = initial_latents(plan, backbone, drawing, seed)[None]
    x = start.to(backbone.device, backbone.dtype)
    times = backbone.times(drawing.steps, *plan.size).to(x)
    glimpses = []
    layouts = [layout_of(plan, drawing, seed)] if drawing.regions else []
    regions = regions_of(
        regional_prompts(plan.scene, backbone.limits, in_context=drawing.in_context),
        layouts,
        *x.shape[2:],
    )
    with drawn_by_regions(backbone, plan.prompt, regions, drawing.region_weight):
        for now, then in pairwise(times):
            said = [
                _by_references(backbone, x, now.expand(1), context, drawing.reference_guidance)
                for context in contexts
            ]
            prediction = said[0]
            if len(said) == 2:
                prediction = guided(said[0], said[1], guidance)
            estimate = backbone.estimate(x, prediction, now.expand(1))
            glimpses.append(Glimpse(float(now), _picture(backbone, estimate)))
            x = backbone.follow(x, prediction, now.expand(1), then.expand(1))
    return [*glimpses, Glimpse(float(times[-1]), _picture(backbone, x))]


def _by_references(
    backbone: Backbone, x: Tensor, time: Tensor, context: Context, scale: float
) -> Tensor:
    told = backbone.predict(x, time, context)
    if scale == 1 or not context.references:
        return told
    return guided(told, backbone.predict(x, time, Context(context.text)), scale)


def _context(backbone: Backbone, plan: Plan, prompt: str) -> Context:
    references = tuple(
        backbone.encode_image(image_tensor(picture)[None].to(backbone.device, backbone.dtype))
        for picture in plan.references
    )
    return Context(backbone.encode_prompt([prompt]), references)


def _picture(backbone: Backbone, latents: Tensor) -> np.ndarray:
    pixels = backbone.decode(latents)[0].float().clamp(0, 1).permute(1, 2, 0)
    return np.asarray((pixels * 255).round().to(torch.uint8).cpu())
