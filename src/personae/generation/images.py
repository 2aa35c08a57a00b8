"""All pictures of one scene: drawn in batches, the best kept, a row each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.compute.runs import make_folder, write_atomic
from personae.diffusion.backbone import Backbone
from personae.errors import DataError, PersonaeError, WorkError
from personae.generation.best import Rater, best_index
from personae.generation.drawing import (
    Drawing,
    Plan,
    draw_plan,
    initial_latents,
    layout_of,
    plan_scene,
    start_places,
)
from personae.generation.folder import image_name, rater_name
from personae.generation.planners import LayoutPlanner
from personae.generation.regions import regional_prompts
from personae.subjects.layout import Layout
from personae.subjects.scene import Scene

__all__ = ["Easel", "scene_rows"]


@dataclass(frozen=True, eq=False)
class Easel:
    """What pictures are drawn with: model, settled settings, folder, how many at once, who says
    which of several is best, and who plans the layout ``llm``.
    """  # noqa: D205 - one sentence

    backbone: Backbone
    drawing: Drawing
    out: Path
    batch: int
    rater: Rater | None
    planner: LayoutPlanner | None = None


@dataclass(frozen=True, eq=False)
class _Drawn:
    """All candidates of one picture, and the seconds they took."""

    seed: int
    candidates: list[np.ndarray]
    seconds: float


def scene_rows(easel: Easel, scene: Scene, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row for each of these seeds, its picture written before.

    What stops one picture stops the scene: every seed that is left gets a row with the error.

    Raises:
        WorkError: a picture cannot be written.
    """
    left, plan = list(seeds), None
    try:
        plan = _planned(easel, scene)
        for drawn in _drawings(easel, plan, seeds):
            row = _row(easel, scene, drawn.seed, plan) | _placed(easel, plan, drawn.seed)
            yield row | _keep(easel, plan, drawn)
            left.remove(drawn.seed)
    except WorkError:
        raise
    except (PersonaeError, RuntimeError, MemoryError, ValueError) as error:
        reason = _reason(error)
        yield from (_row(easel, scene, seed, plan) | {"error": reason} for seed in left)


def _planned(easel: Easel, scene: Scene) -> Plan:
    """The plan; a planner that does not answer stops this scene, not the work."""
    try:
        return plan_scene(scene, easel.backbone.limits, easel.drawing, planner=easel.planner)
    except WorkError as error:
        raise DataError(str(error)) from error


def _drawings(easel: Easel, plan: Plan, seeds: Sequence[int]) -> Iterator[_Drawn]:
    """The pictures of a scene, each as soon as its last candidate is drawn."""
    num_candidates = easel.drawing.best_of
    wanted = [(seed, candidate) for seed in seeds for candidate in range(num_candidates)]
    candidates: list[np.ndarray] = []
    seconds = 0.0
    for some in _batches(wanted, easel.batch):
        start = time.perf_counter()
        latents = [initial_latents(plan, easel.backbone, easel.drawing, *pair) for pair in some]
        seen = some if easel.drawing.regions else ()
        layouts = [layout_of(plan, easel.drawing, seed) for seed, _ in seen]
        pictures = _draw(easel, plan, latents, layouts)
        share = (time.perf_counter() - start) / len(some)
        for (seed, _), picture in zip(some, pictures, strict=True):
            candidates.append(picture)
            seconds += share
            if len(candidates) == num_candidates:
                yield _Drawn(seed, candidates, seconds)
                candidates, seconds = [], 0.0


def _batches(pairs: Sequence[tuple[int, int]], size: int) -> Iterator[Sequence[tuple[int, int]]]:
    """As few batches as can be, as even as can be: 5 by 4 are 3 and 2, not 4 and 1."""
    count = -(-len(pairs) // size)
    ends = [round(len(pairs) * index / count) for index in range(count + 1)]
    return (pairs[start:end] for start, end in pairwise(ends))


def _draw(
    easel: Easel, plan: Plan, latents: Sequence[Tensor], layouts: Sequence[Layout]
) -> list[np.ndarray]:
    """All at once, or where the memory is too small for that, one half after the other."""
    try:
        return draw_plan(plan, easel.backbone, easel.drawing, latents, layouts)
    except (RuntimeError, MemoryError) as error:
        if len(latents) == 1 or not _is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(latents) // 2
    return [
        *_draw(easel, plan, latents[:half], layouts[:half]),
        *_draw(easel, plan, latents[half:], layouts[half:]),
    ]


def _keep(easel: Easel, plan: Plan, drawn: _Drawn) -> dict[str, Any]:
    """Choose, write, and say what was chosen."""
    kept, best_of = 0, None
    if easel.drawing.best_of > 1 and easel.rater is not None:
        kept, ratings = best_index(drawn.candidates, plan.scene, easel.rater)
        best_of = {
            "n": len(ratings),
            "kept": kept,
            "scores": [None if rating is None else round(rating, 6) for rating in ratings],
            "rater": rater_name(easel.rater),
        }
    name = image_name(plan.scene.id, drawn.seed)
    path = easel.out / name
    make_folder(path.parent)
    write_atomic(path, _png(drawn.candidates[kept]))
    return {"image": name, "seconds": round(drawn.seconds, 3), "best_of": best_of}


def _png(picture: np.ndarray) -> bytes:
    content = BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()


def _row(easel: Easel, scene: Scene, seed: int, plan: Plan | None) -> dict[str, Any]:
    """A line of images.jsonl, before it is known whether there is a picture."""
    backbone, drawing = easel.backbone, easel.drawing
    width, height = (None, None) if plan is None else plan.size
    return {
        "scene": scene.id,
        "seed": seed,
        "image": None,
        "prompt": None if plan is None else plan.prompt,
        "prompt_cut": plan is not None and _is_cut(plan, backbone),
        "model": backbone.name,
        "revision": backbone.revision,
        "adapter": drawing.adapter,
        "family": backbone.family,
        "sampler": backbone.sampler,
        "steps": drawing.steps,
        "guidance": drawing.guidance,
        "reference_guidance": drawing.reference_guidance,
        "width": width,
        "height": height,
        "init": _init(drawing),
        "regions": None,
        "in_context": drawing.in_context,
        "device": backbone.device.type,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "seconds": None,
        "best_of": None,
        "error": None,
    }


def _is_cut(plan: Plan, backbone: Backbone) -> bool:
    return backbone.count_tokens(plan.prompt) > backbone.limits.prompt_tokens


def _init(drawing: Drawing) -> dict[str, Any]:
    if drawing.init == "plain":
        return {"kind": "plain"}
    return {"kind": drawing.init, "gamma": drawing.gamma, "layout": drawing.layout}


def _placed(easel: Easel, plan: Plan, seed: int) -> dict[str, Any]:
    """What a row says of where subjects were to be, by whom; nothing where it did not matter."""
    drawing, planner = easel.drawing, easel.planner
    if not drawing.uses_layout:
        return {}
    layout = layout_of(plan, drawing, seed)
    where: dict[str, Any] = {
        "layout": drawing.layout,
        "boxes": {name: [round(side, 6) for side in box] for name, box in layout.items()},
    }
    if plan.layout is not None and planner is not None:
        where |= {"planner": planner.name, "planner_model": planner.model}
    found: dict[str, Any] = {}
    if drawing.init != "plain":
        found["init"] = _init(drawing) | where
        if plan.albums:
            found["init"]["photos"] = start_places(plan, seed)
    if drawing.regions:
        prompts = regional_prompts(plan.scene, easel.backbone.limits, in_context=drawing.in_context)
        found["regions"] = {"weight": drawing.region_weight, "prompts": prompts, **where}
    return found


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "out of memory" in text or "can't allocate memory" in text
    )


def _reason(error: Exception) -> str:
    """What a row says of an error; one that is not ours begins with its kind."""
    if _is_out_of_memory(error):
        return (
            "out of memory, with one picture at a time; use a smaller --size, or another --device"
        )
    return str(error) if isinstance(error, PersonaeError) else f"{type(error).__name__}: {error}"
