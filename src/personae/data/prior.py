"""Pictures of nouns alone, drawn by the model itself: what it is not to forget.

Ruiz et al., DreamBooth (arXiv 2208.12242), prior preservation. MuDI (arXiv 2404.04243) mixes priors
as it mixes subjects, so each is cut out as a photo is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from personae.compute.runs import make_folder, write_atomic
from personae.data.prepare import Preparation, PreparedCast, prepare
from personae.data.segment import EyesForCutting
from personae.diffusion.backbone import Backbone
from personae.errors import RequestError, WorkError
from personae.generation.drawing import DEFAULT_SIZE
from personae.generation.noise import picture_generator, plain_noise
from personae.subjects.subject import Subject

__all__ = ["PRIOR_NEGATIVE", "PRIOR_WORDS", "PriorTask", "draw_priors", "make_priors"]

# The words of MuDI's own program (generate_prior.py).
PRIOR_WORDS = (
    "a photo of a {noun}, simple background, full body view, award winning photography, "
    "highly detailed"
)
PRIOR_NEGATIVE = (
    "anime, cartoon, graphic, text, painting, crayon, graphite, abstract glitch, blurry"
)


@dataclass(frozen=True, kw_only=True)
class PriorTask:
    """How priors are drawn.

    Attributes:
        count: pictures a noun (MuDI: 50 a noun of two, which is its 100 class images).
        words: the prompt, with ``{noun}``.
        negative: words to turn away from; without guidance above 1 they serve nothing.
        size: (width, height); None: the model's first own one, or 1024 x 1024.
        steps: None: the model's own.
        guidance: None: the model's own.
        seed: of all noise.
        eyes: who cuts them out.
    """

    count: int = 50
    words: str = PRIOR_WORDS
    negative: str = PRIOR_NEGATIVE
    size: tuple[int, int] | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    eyes: EyesForCutting = field(default_factory=EyesForCutting)

    def __post_init__(self) -> None:
        if self.count < 1 or "{noun}" not in self.words:
            raise RequestError(
                f"priors: expected count 1 or more and words with {{noun}}; got {self.count}, "
                f"{self.words!r}"
            )


def make_priors(
    backbone: Backbone,
    subjects: Sequence[Subject],
    out: Path,
    task: PriorTask,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PreparedCast:
    """Draw priors of the subjects' nouns and cut them out: a cast for ``data.cast.prior``.

    ``out/photos`` holds what was drawn, ``out/cast`` the cast; what is there is not drawn again.

    Raises:
        RequestError: the model cannot draw this size.
        WorkError: the disk is full, or the folder cannot be written.
    """
    nouns = {subject.id: subject.noun for subject in subjects}
    photos = draw_priors(backbone, nouns, out / "photos", task, progress)
    kinds = {subject.id: subject.kind for subject in subjects}
    made = Preparation(photos=photos, out=out / "cast", eyes=task.eyes, nouns=nouns, kinds=kinds)
    return prepare(made)


def draw_priors(
    backbone: Backbone,
    nouns: Mapping[str, str],
    out: Path,
    task: PriorTask,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """``out/ID/00.png`` and so on for each noun by its id; gives ``out`` back."""
    total, done = task.count * len(nouns), 0
    for name, noun in nouns.items():
        folder = make_folder(out / name)
        write_atomic(folder / "noun.txt", noun + "\n")
        for number in range(task.count):
            path = folder / f"{number:02d}.png"
            if not path.is_file():
                _save(_drawn(backbone, noun, number, task), path)
            done += 1
            progress(done, total)
    return out


def _drawn(backbone: Backbone, noun: str, number: int, task: PriorTask) -> np.ndarray:
    limits = backbone.limits
    width, height = task.size or next(iter(limits.sizes), DEFAULT_SIZE)
    generator = picture_generator(f"prior {noun}", task.seed, number)
    noise = plain_noise((1, *backbone.latent_shape(width, height)), generator)
    guidance = limits.guidance if task.guidance is None else task.guidance
    is_guided = guidance > 1 and not limits.guidance_embedded
    with torch.no_grad():
        pictures = backbone.draw(
            task.words.replace("{noun}", noun),
            (),
            width=width,
            height=height,
            latents=noise.to(backbone.device, backbone.dtype),
            steps=task.steps or limits.steps,
            guidance=guidance,
            negative=task.negative if is_guided else "",
        )
    return pictures[0]


def _save(picture: np.ndarray, path: Path) -> None:
    part = path.with_suffix(".part.png")
    try:
        Image.fromarray(picture).save(part)
        part.replace(path)
    except OSError as error:
        raise WorkError(f"{path}: cannot be written ({error.strerror or error})") from error
