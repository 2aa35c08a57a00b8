"""Sample sheets: what goes in, what should come out, what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from personae.compute.runs import make_folder
from personae.data.examples import Example
from personae.diffusion.backbone import Backbone
from personae.training.batches import draws_for
from personae.training.recipe import SampleRecipe

__all__ = ["Judge", "draw_examples", "sheet", "write_sheet"]

# In-loop metrics: (examples, pictures drawn for them) -> name to value.
Judge = Callable[[Sequence[Example], Sequence[np.ndarray]], Mapping[str, float]]

_GAP = 6


def draw_examples(
    backbone: Backbone, examples: Sequence[Example], settings: SampleRecipe, seed: int
) -> list[np.ndarray]:
    """One picture for each example, from its prompt and references; noise by seed and place."""
    drawn = []
    for place, example in enumerate(examples):
        height, width = example.image.shape[:2]
        shape = (1, *backbone.latent_shape(width, height))
        draws = draws_for(seed, place, shape, caption_dropout=0, reference_dropout=0)
        with torch.no_grad():
            drawn += backbone.draw(
                example.prompt,
                example.references,
                width=width,
                height=height,
                latents=draws.noise.to(backbone.device, backbone.dtype),
                steps=settings.steps or backbone.limits.steps,
                guidance=backbone.limits.guidance
                if settings.guidance is None
                else settings.guidance,
                reference_guidance=backbone.limits.reference_guidance
                if settings.reference_guidance is None
                else settings.reference_guidance,
            )
    return drawn


def sheet(examples: Sequence[Example], drawn: Sequence[np.ndarray]) -> Image.Image:
    """References on the left, then the target, then what was drawn; a row an example, on white."""
    rows = [
        [*example.references, example.image, picture]
        for example, picture in zip(examples, drawn, strict=True)
    ]
    num_references = max(len(row) for row in rows) - 2
    side = max((p.shape[1] for row in rows for p in row[:-2]), default=0) + _GAP
    wide = max(row[-1].shape[1] for row in rows) + _GAP
    heights = [max(picture.shape[0] for picture in row) + _GAP for row in rows]
    size = (_GAP + num_references * side + 2 * wide, _GAP + sum(heights))
    canvas = Image.new("RGB", size, "white")
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        lefts = [_GAP + side * place for place in range(len(row) - 2)]
        lefts += [_GAP + side * num_references, _GAP + side * num_references + wide]
        for picture, left in zip(row, lefts, strict=True):
            canvas.paste(Image.fromarray(picture), (left, top))
        top += height
    return canvas


def write_sheet(path: Path, examples: Sequence[Example], drawn: Sequence[np.ndarray]) -> Path:
    """Save a sheet as PNG."""
    make_folder(path.parent)
    sheet(examples, drawn).save(path)
    return path
