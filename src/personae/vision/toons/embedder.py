"""Toon faces to descriptors."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from personae.vision.calibration import Calibration
from personae.vision.faces.align import FaceTemplate
from personae.vision.faces.embed import check_crops, pairwise_cosine
from personae.vision.toons.layers import channels_last
from personae.vision.toons.networks import IdentityNet, agreement
from personae.vision.toons.shipped import load_into, shipped_path
from personae.vision.toons.templates import toon_template

__all__ = ["TOON_CALIBRATION", "TOON_TEMPLATE", "ToonFaceEmbedder"]

TOON_TEMPLATE = toon_template("toon-64", 64, 3.6, 0.15)
"""64 pixels over 3.6 half heads: hat, hair and clothes lie inside, being part of who a toon is."""

TOON_CALIBRATION = Calibration(midpoint=0.520, width=0.156, source="docs/numbers.md")


@lru_cache(maxsize=4)
def _net(path: Path, device: str) -> IdentityNet:
    return channels_last(load_into(IdentityNet(), path).to(device))


class ToonFaceEmbedder:
    """An aligned crop of 64 pixels to 181 numbers of length 1, behind the `FaceEmbedder` protocol.

    `similarity` is the `agreement` of the traits, calibrated on validation identities
    (docs/numbers.md); `cosine`, for official protocols, that of the codes. Differentiable in the
    pixels.

    Args:
        device: where to compute.
        weights: a file of weights; the shipped one where none is given.

    Raises:
        WeightsError: the file is missing, damaged, or of another network.
    """

    name = "toon-identity"
    licence = "Apache-2.0"
    commercial = True
    official_uses_cosine = True
    template: FaceTemplate = TOON_TEMPLATE
    side_px: int = TOON_TEMPLATE.side_px
    calibration: Calibration = TOON_CALIBRATION

    def __init__(self, device: str | torch.device = "cpu", weights: Path | None = None) -> None:
        self.device = torch.device(device)
        self._net = _net(weights or shipped_path(self.name), str(self.device))

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, 64, 64) RGB in [0, 1] -> (B, 181) float32 of length 1; differentiable.

        Raises:
            DataError: crops of another shape.
        """
        check_crops(crops, self.side_px, self.name)
        shown = crops.to(self.device, torch.float32).contiguous(memory_format=torch.channels_last)
        descriptors: Tensor = self._net(shown)
        return descriptors

    def cosine(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Embedder`."""
        return pairwise_cosine(first, second)

    def agreement(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, D) and (M, D) descriptors -> (N, M) in [0.001, 1], see `agreement`."""
        return agreement(first, second)

    def similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Embedder`."""
        return self.calibration(self.agreement(first, second))
