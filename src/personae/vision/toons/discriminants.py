"""Toon faces by features of photographs: a second opinion that shares nothing with the others."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from personae.vision.calibration import Calibration
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.faces.align import FaceTemplate
from personae.vision.faces.embed import check_crops, pairwise_cosine
from personae.vision.toons.embedder import TOON_TEMPLATE
from personae.vision.toons.shipped import read_facts, shipped_path

__all__ = ["DISCRIMINANT_PX", "DiscriminantEmbedder", "photo_features"]

DISCRIMINANT_PX = 128
"""To which crops of 64 pixels are enlarged; 224, four times the work, told toons no better apart.
"""


@torch.no_grad()
def photo_features(crops: Tensor) -> Tensor:
    """(N, 3, h, w) in [0, 1] -> (N, 1280) of EfficientNet-Lite0, taught on photographs."""
    return EfficientNetEmbedder().embed_scaled(crops, DISCRIMINANT_PX)


@lru_cache(maxsize=2)
def _held(path: Path) -> tuple[Tensor, Tensor]:
    read_facts(path)  # refuses what is no safetensors file
    held = load_file(path)
    return held["mean"].float(), held["matrix"].float()


class DiscriminantEmbedder:
    """An aligned crop of 64 pixels to 64 numbers of length 1, behind the `FaceEmbedder` protocol.

    A network that has seen no toon, and one matrix: the directions in which toons differ from one
    another more than from themselves, rendered or drawn by a model (`training.discriminants`).
    Not differentiable, on purpose: nothing is to be trained by it.

    Args:
        weights: a file of mean and matrix; the shipped one where none is given.

    Raises:
        WeightsError: the file is missing or damaged.
    """

    name = "toon-discriminants"
    licence = "Apache-2.0"
    commercial = True
    official_uses_cosine = True
    template: FaceTemplate = TOON_TEMPLATE
    side_px: int = TOON_TEMPLATE.side_px
    # Validation identities as the checkpoint draws them: 9 strangers in 10 lie below 0.26, 3 of
    # one's own in 4 above 0.29.
    calibration = Calibration(midpoint=0.27, width=0.1, source="docs/numbers.md")

    def __init__(self, weights: Path | None = None) -> None:
        self._mean, self._matrix = _held(weights or shipped_path(self.name))

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, 64, 64) RGB in [0, 1] -> (B, 64) float32 of length 1.

        Raises:
            DataError: crops of another shape.
        """
        check_crops(crops, self.side_px, self.name)
        return F.normalize((photo_features(crops) - self._mean) @ self._matrix, dim=1)

    def cosine(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Embedder`."""
        return pairwise_cosine(first, second)

    def similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Embedder`."""
        return self.calibration(self.cosine(first, second))
