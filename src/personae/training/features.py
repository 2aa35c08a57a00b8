"""A third measure: neither the rewards' embedder nor the examiner, to choose a checkpoint by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.metrics.assignment import matched_mask
from personae.metrics.eyes import PeopleEyes
from personae.subjects.subject import Reference
from personae.training.rewards.asked import Asked
from personae.training.rewards.sight import as_pixels
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.faces.align import aligned_crops
from personae.vision.protocols import FaceDetector

__all__ = ["ContrastMeasure", "Measure", "contrast"]


class Measure(Protocol):
    """One number a picture, higher is better; NaN where it could not be measured."""

    name: str

    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B,)."""
        ...


def contrast(cosine: Tensor) -> Tensor:
    r"""How much more each subject's face is like its own reference than like the others', a number.

    .. math:: \frac{1}{M} \sum_i \Big( s_{i \sigma(i)} - \frac{1}{M - 1} \sum_{k \ne i}
              s_{k \sigma(i)} \Big), \quad 0 \text{ where } i \text{ has no face}

    (M, N) cosines; the difference takes out what all faces of a model have in common. With one
    subject it is its cosine.

    >>> round(float(contrast(torch.tensor([[0.9, 0.2], [0.3, 0.8]]))), 3)
    0.6
    """
    num = cosine.shape[0]
    if 0 in cosine.shape:
        return cosine.new_zeros(())
    mask = matched_mask(cosine)
    own = torch.where(mask, cosine, torch.zeros_like(cosine))
    others = (cosine.sum(0, keepdim=True) - cosine) / max(1, num - 1)
    against = torch.where(mask, others, torch.zeros_like(cosine))
    return (own - against).sum() / num


class ContrastMeasure:
    """`contrast` of a general embedder's descriptors of aligned faces.

    The embedder (EfficientNet-Lite0, taught on photographs of things) has seen no toon and no face
    recognition; a detector says where the faces are, and may be the rewards'.
    """

    name = "features"

    def __init__(self, eyes: PeopleEyes) -> None:
        self._detector: FaceDetector = eyes.faces.detector
        self._template = eyes.faces.embedder.template
        self._embedder = EfficientNetEmbedder()
        self._known: dict[int, Tensor] = {}

    @torch.no_grad()
    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> Tensor:
        """See `Measure`."""
        return torch.stack(
            [self._one(image, item) for image, item in zip(as_pixels(pictures), asked, strict=True)]
        )

    def _one(self, image: np.ndarray, asked: Asked) -> Tensor:
        people = asked.of_kind("person")
        references = [self._know(held[0]) for held in people.values()]
        if not people or any(not len(one) for one in references):
            return torch.tensor(torch.nan)
        found = self._descriptors(image, len(people))
        return contrast(self._embedder.cosine(torch.cat(references), found))

    def _know(self, reference: Reference) -> Tensor:
        key = id(reference.image)
        if key not in self._known:
            self._known[key] = self._descriptors(reference.image, 1)[:1]
        return self._known[key]

    def _descriptors(self, image: np.ndarray, expected: int) -> Tensor:
        """(N, D), of all faces."""
        found = self._detector.detect(image, expected)
        points = [face.landmarks for face in found if face.landmarks is not None]
        shape = (-1, *self._template.points.shape)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        crops = aligned_crops(
            [pixels], [np.array(points, np.float64).reshape(shape)], self._template
        )
        side = (self._embedder.side_px,) * 2
        if not len(crops):
            return self._embedder.embed(torch.zeros(1, 3, *side))[:0]
        shown = F.interpolate(crops, side, mode="bicubic", antialias=True).clamp(0, 1)
        return self._embedder.embed(shown)
