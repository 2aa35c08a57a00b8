"""A third measure: neither the rewards' embedder nor the examiner, to choose a checkpoint by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from personae.metrics.assignment import matched_mask
from personae.metrics.eyes import PeopleEyes
from personae.training.rewards.asked import Asked
from personae.training.rewards.sight import Sight
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.faces.align import FaceTemplate
from personae.vision.faces.embed import FaceEyes
from personae.vision.toons.discriminants import DiscriminantEmbedder

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

    The embedder (EfficientNet-Lite0, taught on photographs of things) has learned no face
    recognition; for toons its features are turned to where toons differ (`DiscriminantEmbedder`).
    A detector says where the faces are, and may be the rewards'.
    """

    name = "features"

    def __init__(self, eyes: PeopleEyes) -> None:
        template = eyes.faces.embedder.template
        of_toons = template.name == DiscriminantEmbedder.template.name
        general = DiscriminantEmbedder() if of_toons else _AlignedFaces(template)
        self._sight = Sight(PeopleEyes(FaceEyes(eyes.faces.detector, general)))

    @torch.no_grad()
    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> Tensor:
        """See `Measure`."""
        values = [
            torch.tensor(torch.nan) if seen is None or seen.blind else contrast(seen.official)
            for seen in self._sight.see(pictures, asked)
        ]
        self._sight.forget()
        return torch.stack(values)


class _AlignedFaces:
    """The general embedder behind `FaceEmbedder`: crops are enlarged to what it wants."""

    licence, commercial = EfficientNetEmbedder.licence, EfficientNetEmbedder.commercial
    official_uses_cosine = True

    def __init__(self, template: FaceTemplate) -> None:
        self._general = EfficientNetEmbedder()
        self.template, self.side_px = template, template.side_px
        self.name = f"{self._general.name}-{template.name}"

    def embed(self, crops: Tensor) -> Tensor:
        """(N, 3, side, side) in [0, 1], of the template -> (N, D)."""
        return self._general.embed_scaled(crops)

    def cosine(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Embedder`."""
        return self._general.cosine(first, second)

    def similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Embedder`."""
        return self._general.similarity(first, second)
