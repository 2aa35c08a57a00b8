"""DreamSim as an embedder, through its own package (optional)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from personae.errors import WeightsError
from personae.vision.calibration import Calibration

__all__ = ["DREAMSIM_CALIBRATION", "DreamSimEmbedder"]

# MuDI's published matrix of two toys: 0.77 to 0.78 for the same, 0.28 for different subjects.
DREAMSIM_CALIBRATION = Calibration(
    midpoint=0.525, width=0.083, source="MuDI's S_GT of two toys, five photos each"
)


class DreamSimEmbedder:
    """DreamSim (Fu et al. 2023, arXiv 2306.09344) behind the `Embedder` protocol.

    The descriptor is the package's embedding: with ``dreamsim_type="ensemble"`` DINO, CLIP and
    OpenCLIP ViT-B/16 side by side (1792), divided by its length and its mean subtracted (MuDI,
    section 3.2). Crops are white-padded squares of 224 pixels; the package's own resizing,
    bicubic, is not used.

    Args:
        dreamsim_type: which of the package's models.
        cache_dir: where the package keeps its weights; it fetches them where they are missing.
        device: where to compute.

    Raises:
        WeightsError: the package is not installed, or its weights cannot be had.
    """

    side_px = 224
    licence = "MIT"
    commercial = True
    official_uses_cosine = True

    def __init__(
        self, dreamsim_type: str = "ensemble", cache_dir: str = "./models", device: str = "cpu"
    ) -> None:
        self.name = f"dreamsim-{dreamsim_type}"
        self.device = torch.device(device)
        self.calibration = DREAMSIM_CALIBRATION
        self._network = _load(dreamsim_type, cache_dir, device)

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, 224, 224) in [0, 1] -> (B, D) float32; differentiable."""
        descriptors: Tensor = self._network.embed(crops.to(self.device, torch.float32))
        return descriptors

    def cosine(self, first: Tensor, second: Tensor) -> Tensor:
        """(M, D), (N, D) -> (M, N) cosine in [-1, 1]."""
        return F.normalize(first, dim=1) @ F.normalize(second, dim=1).T

    def similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """(M, D), (N, D) -> (M, N) calibrated similarity in [0, 1]."""
        return self.calibration(self.cosine(first, second))


def _load(dreamsim_type: str, cache_dir: str, device: str) -> Any:
    try:
        from dreamsim import dreamsim
    except ImportError as error:
        raise WeightsError(
            f"DreamSim cannot be loaded ({error}); run `pip install 'personae[dreamsim]'`, "
            "or choose other eyes, such as the default efficientnet-lite0"
        ) from error
    try:
        network, _ = dreamsim(
            pretrained=True, device=device, cache_dir=cache_dir, dreamsim_type=dreamsim_type
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"DreamSim {dreamsim_type!r}: its weights could not be loaded into {cache_dir} "
            f"({error}); check the network, or give a folder that holds them"
        ) from error
    return network.eval().requires_grad_(False)
