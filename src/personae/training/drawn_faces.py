"""Faces as a model draws them, and whose they were meant to be: what a third opinion learns from.

Eyes that know clean pictures only say little of what a small model smudges. So the picture of a
scene is half lost in noise and drawn again, towards its references: where the figures stand is
kept, who they are is the model's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from personae.compute.runs import write_atomic
from personae.data.examples import Example, ToonExamples
from personae.diffusion.backbone import Backbone
from personae.toons.identity import Split
from personae.toons.scene import Member, scene
from personae.training.rewards.sight import as_pixels
from personae.training.rolling import guides_of
from personae.training.rollout import roll_out
from personae.vision.embedders.crops import image_tensor
from personae.vision.faces.align import aligned_crops
from personae.vision.protocols import FaceDetector
from personae.vision.toons.discriminants import photo_features
from personae.vision.toons.embedder import TOON_TEMPLATE

__all__ = ["DrawnFaces", "DrawnPlan", "drawn_faces"]

_BATCH = 16
_AGAIN = 2  # drawings of a scene
_SHAKE_PX = 0.7  # of the true landmarks, which a detector finds about as far off
_NEAR_PX = 8.0  # between what was found in a drawing and where its subject stood


@dataclass(frozen=True, kw_only=True)
class DrawnPlan:
    """Scenes of two toons to redraw.

    ``chunks`` of ``scenes`` each, of a split, whose seeds begin at ``start``; noise up to the
    times of ``begins`` in turn (1 would be nothing but noise), from where ``steps`` steps lead
    back.
    """

    split: Split = "train"
    chunks: int = 30
    scenes: int = 64
    start: int = 5_000_000
    begins: tuple[float, ...] = (0.5, 0.7, 0.85, 0.95)
    steps: int = 4


@dataclass(frozen=True, eq=False)
class DrawnFaces:
    """Of N aligned crops the features (N, D), whose (N,) they are, and how they came about.

    ``kind`` (N,): 0 a reference, 1 the scene as it was rendered, 2 and more a drawing that began
    at `DrawnPlan.begins` of ``kind`` - 2.
    """

    features: Tensor
    who: Tensor
    kind: Tensor


def drawn_faces(
    plan: DrawnPlan,
    backbone: Backbone,
    detector: FaceDetector,
    folder: Path,
) -> DrawnFaces:
    """Draw and look, or read what is in ``folder``; each chunk is kept there when it is done.

    A folder is of one plan: only its split and the numbers of chunks stand in the names.
    """
    parts = []
    for number in range(plan.chunks):
        path = folder / f"drawn-{plan.split}-{number:04d}.safetensors"
        if not path.is_file():
            write_atomic(path, save(_chunk(plan, number, backbone, detector)))
        parts.append(load_file(path))
    joined = {name: torch.cat([part[name] for part in parts]) for name in ("features", "kind")}
    _, who = torch.unique(torch.cat([part["who"] for part in parts]), return_inverse=True)
    return DrawnFaces(joined["features"].float(), who, joined["kind"])


class _Found:
    """Crops of a batch, with whose they are and how they came about."""

    def __init__(self) -> None:
        self.crops: list[Tensor] = []
        self.codes: list[tuple[int, int]] = []

    def add(self, pixels: Tensor, landmarks: np.ndarray, who: int, kind: int) -> None:
        """A face of a picture (3, H, W) by its (5, 2) landmarks."""
        self.crops.append(aligned_crops(pixels[None], [landmarks[None]], TOON_TEMPLATE))
        self.codes.append((who, kind))


def _chunk(
    plan: DrawnPlan, number: int, backbone: Backbone, detector: FaceDetector
) -> dict[str, Tensor]:
    rng = np.random.default_rng([number, 77])
    source = ToonExamples(
        count=plan.scenes * plan.chunks,
        start=plan.start,
        split=plan.split,
        weights=(0.0, 1.0),
        look_alike_share=0.0,
        subject_words=backbone.limits.subject_words,
    )
    features, codes = [], []
    first, last = number * plan.scenes, (number + 1) * plan.scenes
    for batch, start in enumerate(range(first, last, _BATCH)):
        places = range(start, min(start + _BATCH, last))
        casts = [scene(plan.start + k, count=2, split=plan.split).members for k in places]
        examples = [source[place] for place in places]
        found = _Found()
        _add_rendered(found, examples, casts, places, rng)
        for again in range(_AGAIN):
            begin = (batch * _AGAIN + again + number) % len(plan.begins)
            seed = number * 1000 + batch * 10 + again
            drawn = _redrawn(backbone, examples, plan.begins[begin], plan.steps, seed)
            for place, cast, picture in zip(places, casts, drawn, strict=True):
                for who, landmarks in _standing(detector, picture, cast):
                    found.add(picture, landmarks, 2 * place + who, 2 + begin)
        features.append(photo_features(torch.cat(found.crops)).half())
        codes += found.codes
    who, kind = torch.tensor(codes).T
    return {"features": torch.cat(features), "who": who.contiguous(), "kind": kind.contiguous()}


def _add_rendered(
    found: _Found,
    examples: list[Example],
    casts: list[tuple[Member, ...]],
    places: range,
    rng: np.random.Generator,
) -> None:
    for place, cast, example in zip(places, casts, examples, strict=True):
        picture = image_tensor(example.image)
        for who, member in enumerate(cast):
            sides = (
                (image_tensor(member.reference.image), member.reference.landmarks),
                (picture, member.landmarks),
            )
            for kind, (pixels, true) in enumerate(sides):
                shaken = true + rng.normal(0, _SHAKE_PX, true.shape)
                found.add(pixels, shaken, 2 * place + who, kind)


@torch.no_grad()
def _redrawn(
    backbone: Backbone, examples: list[Example], begin: float, steps: int, seed: int
) -> Tensor:
    """(B, 3, H, W): noise up to time ``begin``, and back as users draw."""
    pixels = torch.stack([image_tensor(one.image) for one in examples])
    clean = backbone.encode_image(pixels)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    x = backbone.mix(clean, noise, torch.full((len(examples),), begin))
    times = torch.linspace(begin, 0, steps + 1)
    guides = guides_of(backbone, examples, backbone.encode_prompt([""]))
    stops = torch.full((len(examples),), steps)
    return backbone.decode(roll_out(backbone, x, times, stops, guides)).clamp(0, 1)


def _standing(
    detector: FaceDetector, picture: Tensor, cast: tuple[Member, ...]
) -> Iterator[tuple[int, np.ndarray]]:
    """Whose face is found where somebody stood."""
    seen = detector.detect(as_pixels(picture[None])[0], len(cast))
    points = np.array([one.landmarks for one in seen if one.landmarks is not None], float)
    if not len(points):
        return
    for who, member in enumerate(cast):
        apart = np.abs(points.mean(1) - member.landmarks.mean(0)).max(1)
        if apart.min() < _NEAR_PX:
            yield who, points[int(apart.argmin())]
