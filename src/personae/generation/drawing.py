"""One scene made ready for a model, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from personae.diffusion.backbone import Backbone, Limits
from personae.diffusion.regions import drawn_by_regions
from personae.errors import DataError
from personae.generation.drawing_choice import INITS, Drawing, Init
from personae.generation.noise import (
    latent_mask,
    mean_shifted,
    picture_generator,
    picture_seed,
    plain_noise,
)
from personae.generation.planners import LayoutPlanner
from personae.generation.prompts import negative_words, words_for
from personae.generation.references import chosen_reference, reference_picture
from personae.generation.regions import regional_prompts, regions_of
from personae.generation.start import asked_layout, picture_layout, start_picture
from personae.subjects.layout import Layout
from personae.subjects.references import load_reference
from personae.subjects.scene import Scene
from personae.subjects.subject import Reference

__all__ = [
    "DEFAULT_SIZE",
    "INITS",
    "Drawing",
    "Init",
    "Plan",
    "draw",
    "draw_plan",
    "initial_latents",
    "layout_of",
    "picture_size",
    "plan_scene",
    "start_photos",
    "start_places",
]

DEFAULT_SIZE = (1024, 1024)


@dataclass(frozen=True, eq=False)
class Plan:
    """A scene as a model gets it.

    Attributes:
        scene: what was asked for.
        prompt: the words, each subject as this model's prompts name it.
        references: one square picture (side, side, 3) uint8 a subject, in the scene's order; none
            where the model is not to see them.
        photos: the references as they were read, by subject.
        size: (width, height) of the picture in pixels.
        negative: the words to turn away from; empty: none.
        layout: a box for each subject, where one was asked for; else each seed has its own.
        albums: every reference of each subject, where each seed starts from a random one.
    """

    scene: Scene
    prompt: str
    references: tuple[np.ndarray, ...]
    photos: Mapping[str, Reference]
    size: tuple[int, int]
    negative: str = ""
    layout: Layout | None = None
    albums: Mapping[str, Sequence[Reference]] = field(default_factory=dict)


def picture_size(num_subjects: int, limits: Limits) -> tuple[int, int]:
    """(width, height) for a scene of this many subjects, from the sizes a checkpoint knows.

    Its sizes, smallest area first, share the numbers of subjects that it knows evenly: of two
    sizes and at most five subjects, the smaller one is for up to three. Without sizes it is
    ``DEFAULT_SIZE``.

    >>> limits = Limits(5, ((192, 128), (128, 128)), 64, 48, (1, 2, 3), 20, 1.0, "{noun} {index}")
    >>> [picture_size(count, limits)[0] for count in (1, 2, 3, 4, 5)]
    [128, 128, 128, 192, 192]
    """
    sizes = sorted(limits.sizes, key=lambda size: size[0] * size[1])
    if not sizes:
        return DEFAULT_SIZE
    index = (num_subjects - 1) * len(sizes) // max(limits.max_subjects, 1)
    return sizes[min(index, len(sizes) - 1)]


def plan_scene(
    scene: Scene,
    limits: Limits,
    drawing: Drawing,
    references: Mapping[str, Reference] | None = None,
    planner: LayoutPlanner | None = None,
) -> Plan:
    """Make a scene ready: words, reference squares, size.

    ``references`` are pictures in memory, by subject, instead of the scene's files; ``planner`` is
    who is asked for the layout ``llm``.

    Raises:
        DataError: more subjects than the model knows, a prompt that names another, a reference
            that cannot be read, a layout that could not be planned.
        RequestError: the layout ``llm`` without a planner.
        WorkError: the planner does not answer.
    """
    num_subjects = len(scene.subjects)
    if num_subjects > limits.max_subjects:
        raise DataError(
            f"{scene.where}: scene {scene.id!r} has {num_subjects} subjects; this model was "
            f"trained for at most {limits.max_subjects}; leave some out, or use another --model"
        )
    photos = dict(references or {})
    for name, subject in scene.subjects.items():
        if name not in photos:
            photos[name] = chosen_reference(subject, drawing.reference)
    size = drawing.size or picture_size(num_subjects, limits)
    layout = None
    if drawing.layout == "llm" and drawing.uses_layout:
        layout = asked_layout(scene, photos, size, drawing, planner)
    return Plan(
        scene=scene,
        prompt=words_for(scene, limits, in_context=drawing.in_context),
        references=tuple(
            reference_picture(photos[name], limits.reference_px, subject.kind)
            for name, subject in scene.subjects.items()
            if drawing.in_context and limits.reference_px
        ),
        photos=photos,
        size=size,
        negative=negative_words(scene, drawing.negative),
        layout=layout,
        albums=_albums(scene, drawing, set(references or ())),
    )


def _albums(scene: Scene, drawing: Drawing, given: Set[str]) -> dict[str, tuple[Reference, ...]]:
    """Every reference of each subject, where they are needed; ``given`` are in memory, alone."""
    if drawing.start_photo == "reference" or not drawing.uses_layout:
        return {}
    return {
        name: tuple(load_reference(file) for file in subject.references)
        for name, subject in scene.subjects.items()
        if name not in given
    }


def start_places(plan: Plan, seed: int) -> dict[str, int]:
    """Which of its references each subject is cut out of for one picture, where that is random."""
    rng = np.random.default_rng(picture_seed(plan.scene.id, seed, use="start photo"))
    return {name: int(rng.integers(len(album))) for name, album in plan.albums.items()}


def start_photos(plan: Plan, seed: int) -> Mapping[str, Reference]:
    """What each subject is cut out of for one picture's start, by subject."""
    places = start_places(plan, seed)
    return {**plan.photos, **{name: plan.albums[name][place] for name, place in places.items()}}


def layout_of(plan: Plan, drawing: Drawing, seed: int) -> Layout:
    """Where one picture is to have each subject: as was planned for the scene, or for the seed."""
    if plan.layout is not None:
        return plan.layout
    return picture_layout(plan.scene, start_photos(plan, seed), plan.size, drawing, seed)


def initial_latents(
    plan: Plan, backbone: Backbone, drawing: Drawing, seed: int, candidate: int = 0
) -> Tensor:
    """What sampling starts from for one picture: (C, h, w) float32 on the CPU.

    Plain noise of (scene, seed, candidate), or that noise shifted (`mean_shifted`).
    """
    shape = backbone.latent_shape(*plan.size)
    noise = plain_noise(shape, picture_generator(plan.scene.id, seed, candidate))
    if drawing.init == "plain" or not drawing.gamma:
        return noise
    photos = start_photos(plan, seed)
    picture, mask = start_picture(layout_of(plan, drawing, seed), photos, plan.size)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        clean = backbone.encode_image(pixels.to(backbone.device, backbone.dtype))[0]
    return mean_shifted(noise, clean.float().cpu(), latent_mask(mask, *shape[1:]), drawing.gamma)


def draw_plan(
    plan: Plan,
    backbone: Backbone,
    drawing: Drawing,
    latents: Sequence[Tensor],
    layouts: Sequence[Layout] = (),
    on_step: Callable[[int, Tensor], None] | None = None,
) -> list[np.ndarray]:
    """One picture (H, W, 3) uint8 for each of these initial latents, at once.

    ``drawing`` is a settled one; ``layouts`` has one a picture where boxes are regions. On the CPU
    a lone picture is drawn as a pair of twins: a product with one row is summed in another order
    than one with several, so that a batch of one would differ by a level in one of 10,000 values;
    batches from two up agree to the bit.
    """
    assert drawing.steps is not None and drawing.guidance is not None
    assert drawing.reference_guidance is not None
    width, height = plan.size
    num_twins = 2 if len(latents) == 1 and backbone.device.type == "cpu" else 1
    stacked = torch.stack(list(latents) * num_twins)
    prompts = regional_prompts(plan.scene, backbone.limits, in_context=drawing.in_context)
    regions = regions_of(prompts, list(layouts) * num_twins, *stacked.shape[2:])
    with drawn_by_regions(backbone, plan.prompt, regions, drawing.region_weight):
        pictures = backbone.draw(
            plan.prompt,
            plan.references,
            width=width,
            height=height,
            latents=stacked.to(backbone.device, backbone.dtype),
            steps=drawing.steps,
            guidance=drawing.guidance,
            reference_guidance=drawing.reference_guidance,
            negative=plan.negative,
            on_step=on_step,
        )
    return pictures[: len(latents)]


def draw(
    backbone: Backbone,
    scene: Scene,
    seed: int = 0,
    drawing: Drawing | None = None,
    references: Mapping[str, Reference] | None = None,
    planner: LayoutPlanner | None = None,
) -> np.ndarray:
    """Draw one picture of a scene: (H, W, 3) uint8, the same one that `generate` draws.

    ``references`` are pictures in memory, by subject, instead of the scene's files; ``planner`` is
    who is asked for the layout ``llm``.

    Raises:
        DataError: the scene cannot be drawn by this model; see `plan_scene`.
        RequestError: a size that this model cannot draw.
    """
    drawing = (drawing or Drawing()).settled(backbone)
    plan = plan_scene(scene, backbone.limits, drawing, references, planner)
    latents = [initial_latents(plan, backbone, drawing, seed)]
    layouts = [layout_of(plan, drawing, seed)] if drawing.regions else []
    return draw_plan(plan, backbone, drawing, latents, layouts)[0]
