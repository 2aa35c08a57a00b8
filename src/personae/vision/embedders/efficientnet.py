"""The default eyes for things and animals: EfficientNet-Lite0's features, centered."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from personae.vision.calibration import Calibration
from personae.vision.embedders.lite_network import (
    LITE0_WEIGHTS,
    STRIDE16_BLOCKS,
    EfficientNetLite0,
    ReluMoments,
    fused,
    load_efficientnet_lite0,
    relu6_moments,
)

__all__ = ["LITE0_CALIBRATION", "EfficientNetEmbedder"]

LITE0_CALIBRATION = Calibration(
    midpoint=0.33, width=0.07, source="docs/numbers.md: 4 subjects of 5 photos, box crops"
)
# Of the 1280 directions, those in which the network's own ImageNet classes differ most.
_CLASS_DIRECTIONS = 256
# The dense map weighs a stride-16 channel less than a stride-32 one: it says less of what is there.
_WEIGHT16, _WEIGHT32 = 0.3, 0.7


def _stride16_moments(network: EfficientNetLite0) -> ReluMoments:
    """Moments of the stride-16 map, a sum of normalized branches: means and variances add."""
    norms = [network.norm(f"_blocks.{index}._bn2") for index in STRIDE16_BLOCKS]
    mean = torch.stack([norm.bias for norm in norms]).sum(0)
    variance = torch.stack([norm.weight**2 for norm in norms]).sum(0)
    return ReluMoments(mean, variance.sqrt())


def _class_directions(network: EfficientNetLite0, moments: ReluMoments) -> Tensor:
    """(256, 1280): the main right singular vectors of the classifier on scaled features."""
    weighted = (network._fc.weight * moments.deviation.sqrt()).double()
    values, vectors = torch.linalg.eigh(weighted @ weighted.T)
    main = vectors[:, -_CLASS_DIRECTIONS:] / values[-_CLASS_DIRECTIONS:].sqrt()
    directions: Tensor = main.T @ weighted
    return directions.float()


@dataclass(frozen=True, eq=False)
class _Parts:
    network: EfficientNetLite0
    moments16: ReluMoments
    moments32: ReluMoments
    directions: Tensor


@lru_cache(maxsize=4)
def _parts(device: str) -> _Parts:
    """What every embedder on a device shares; worked out once."""
    network = load_efficientnet_lite0(device)
    head = network.norm("_bn1")
    moments32 = relu6_moments(head.bias, head.weight)
    directions = _class_directions(network, moments32)
    folded = fused(copy.deepcopy(network))
    return _Parts(folded, _stride16_moments(network), moments32, directions)


class EfficientNetEmbedder:
    """EfficientNet-Lite0 behind the `Embedder` protocol.

    A descriptor is the pooled last map minus its mean over ImageNet, of length 1. Centering
    spreads the cosines: of two crops of different subjects it is near 0 (raw: 0.24), which is
    what the published formulas expect. The mean is computed from the network's own batch
    normalization (`relu6_moments`), from no pictures. It knows kinds (a corgi from a chow)
    better than individuals (one corgi from another).

    Args:
        device: where to compute.
        calibration: from cosine to the common similarity.
    """

    name = "efficientnet-lite0"
    licence = LITE0_WEIGHTS.licence
    side_px = 224
    commercial = True
    official_uses_cosine = True

    def __init__(self, device: str = "cpu", calibration: Calibration = LITE0_CALIBRATION) -> None:
        self.device = torch.device(device)
        self.calibration = calibration
        self._parts = _parts(device)

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, side_px, side_px) in [0, 1] -> (B, 1280) float32 of length 1; differentiable."""
        crops = crops.to(self.device, torch.float32).contiguous(memory_format=torch.channels_last)
        pooled = self._parts.network.features(crops).stride32.mean(dim=(2, 3))
        return F.normalize(pooled - self._parts.moments32.mean, dim=1)

    def embed_scaled(self, pictures: Tensor, side_px: int | None = None) -> Tensor:
        """(B, 3, H, W) of any size in [0, 1], B perhaps 0 -> (B, 1280), as `embed`.

        Squares of ``side_px`` are made of them first; None: the size that the network wants.
        """
        side = side_px or self.side_px
        if not len(pictures):
            return self.embed(torch.zeros(1, 3, side, side))[:0]
        shown = F.interpolate(pictures, (side, side), mode="bicubic", antialias=True)
        return self.embed(shown.clamp(0, 1))

    def cosine(self, first: Tensor, second: Tensor) -> Tensor:
        """(M, 1280), (N, 1280) -> (M, N) cosine in [-1, 1] of the centered descriptors."""
        return F.normalize(first, dim=1) @ F.normalize(second, dim=1).T

    def similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """(M, 1280), (N, 1280) -> (M, N) calibrated similarity in [0, 1]."""
        return self.calibration(self.cosine(first, second))

    @property
    def num_class_directions(self) -> int:
        """How many of the dense map's channels, the last ones, come from stride 32."""
        return _CLASS_DIRECTIONS

    def dense(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], H and W multiples of 32 -> (B, 368, H/16, W/16).

        Each place holds its 112 standardized stride-16 channels and the stride-32 features,
        centered and turned to the 256 directions in which ImageNet's classes differ most.
        """
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        maps = self._parts.network.features(images)
        mean, deviation = self._parts.moments16.mean, self._parts.moments16.deviation
        fine = (maps.stride16 - mean[:, None, None]) / deviation[:, None, None]
        centered = maps.stride32.movedim(1, -1) - self._parts.moments32.mean
        coarse = self.class_directions(centered).movedim(-1, 1)
        coarse = F.interpolate(coarse, fine.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([_WEIGHT16 * fine, _WEIGHT32 * coarse], dim=1).contiguous()

    def class_directions(self, centered: Tensor) -> Tensor:
        """(..., 1280) centered features or descriptors -> (..., 256), as in the dense map."""
        turned: Tensor = (
            centered / self._parts.moments32.deviation.sqrt()
        ) @ self._parts.directions.T
        return turned
