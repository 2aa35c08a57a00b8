"""DINOv2, DINO and CLIP as embedders, through the transformers library."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from personae.errors import RequestError
from personae.vision.calibration import Calibration
from personae.vision.embedders.pretrained import load_pretrained, weights_digest

__all__ = [
    "CLIP_B16",
    "DINOV2_BASE",
    "DINO_S16",
    "ClipEmbedder",
    "DinoEmbedder",
    "Dinov2Embedder",
    "Pooling",
    "TransformersEmbedder",
    "VisionModel",
    "center_cropped",
]

Pooling = Literal["cls", "mean", "projection"]
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_ASSUMED = "assumed, not measured: fit your own with fit_calibration"
_UNMEASURED = Calibration(midpoint=0.5, width=0.1, source=_ASSUMED)


@dataclass(frozen=True, kw_only=True)
class VisionModel:
    """Which model, and how the published programs feed and read it."""

    kind: str
    """Class of the transformers library."""
    source: str
    """Folder or hub id."""
    revision: str | None = None
    """Commit of the hub repository; give one where a number has to be repeated."""
    pooling: Pooling = "cls"
    """The class token, the mean of all tokens (MuDI, section 3.2), or CLIP's projection."""
    center_crop: bool = False
    """Resize to 256 and keep the middle 224, as the official programs do; else the whole square."""
    mean: tuple[float, float, float] = _IMAGENET[0]
    """Subtracted from each channel in [0, 1]."""
    deviation: tuple[float, float, float] = _IMAGENET[1]
    """What each channel is divided by."""
    licence: str = "Apache-2.0"
    """Licence of the weights."""
    commercial: bool = True
    """Whether it allows commercial use."""
    calibration: Calibration = _UNMEASURED
    """From cosine to the common similarity."""

    @property
    def name(self) -> str:
        """What results call it: the source's last part, and what is not usual about it.

        >>> replace(DINOV2_BASE, pooling="mean", center_crop=True).name
        'dinov2-base-mean-crop'
        """
        pooling = "-mean" if self.pooling == "mean" else ""
        return Path(self.source).name + pooling + ("-crop" if self.center_crop else "")


DINOV2_BASE = VisionModel(kind="Dinov2Model", source="facebook/dinov2-base")
DINO_S16 = VisionModel(kind="ViTModel", source="facebook/dino-vits16")
CLIP_B16 = VisionModel(
    kind="CLIPVisionModelWithProjection",
    source="openai/clip-vit-base-patch16",
    pooling="projection",
    mean=_CLIP[0],
    deviation=_CLIP[1],
    licence="MIT",
    calibration=Calibration(midpoint=0.75, width=0.05, source=_ASSUMED),
)


def center_cropped(images: Tensor, short_px: int = 256, side_px: int = 224) -> Tensor:
    """(B, 3, H, W) -> (B, 3, side_px, side_px): short side to ``short_px``, then the middle.

    Bicubic with antialiasing, clamped to [0, 1]; what lies outside the middle is lost, as in the
    official programs (PSR, benchmarks page 3). Differentiable.

    >>> center_cropped(torch.zeros(1, 3, 300, 500)).shape
    torch.Size([1, 3, 224, 224])
    """
    height, width = images.shape[-2:]
    factor = short_px / min(height, width)
    size = [max(int(side * factor), short_px) for side in (height, width)]
    resized = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0.0, 1.0)
    top, left = ((side - side_px) // 2 for side in size)
    return resized[..., top : top + side_px, left : left + side_px]


class TransformersEmbedder:
    """A vision model of the transformers library behind the `Embedder` protocol.

    ``name`` ends in the first digits of a hash of the weights: two folders called the same are
    not the same eyes.

    Args:
        model: which one, and how it is fed and read.
        device: where to compute.

    Raises:
        WeightsError: the weights are not on this machine and cannot be fetched.
    """

    official_uses_cosine = True

    def __init__(self, model: VisionModel, device: str = "cpu") -> None:
        self.model = model
        self.licence, self.commercial = model.licence, model.commercial
        self.device = torch.device(device)
        # DINO's published weights have no pooler: left in, it would be random, and so the name.
        options = {"add_pooling_layer": False} if model.kind == "ViTModel" else {}
        network = load_pretrained(model.kind, model.source, model.revision, **options)
        self.name = f"{model.name}-{weights_digest(network)}"
        self._network: Any = network.eval().requires_grad_(False).to(self.device)
        self._side_px = int(network.config.image_size)
        # DINOv2's configuration tells its training size (518); everybody feeds it 224.
        if model.kind == "Dinov2Model":
            self._side_px = min(self._side_px, 224)
        self.side_px = round(self._side_px * 256 / 224) if model.center_crop else self._side_px

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, side_px, side_px) in [0, 1] -> (B, D) float32 of length 1; differentiable.

        Raises:
            RequestError: the crops have another shape.
        """
        expected = (3, self.side_px, self.side_px)
        if crops.ndim != 4 or tuple(crops.shape[1:]) != expected:
            raise RequestError(
                f"{self.name}: crops {tuple(crops.shape)}; expected (B, *{expected}), "
                "as square_crop makes them"
            )
        if not len(crops):
            return torch.zeros(0, self._width(), device=self.device)
        crops = crops.to(self.device, torch.float32)
        if self.model.center_crop:
            crops = center_cropped(crops, self.side_px, self._side_px)
        mean, deviation = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (self.model.mean, self.model.deviation)
        )
        return F.normalize(self._pooled((crops - mean) / deviation), dim=1)

    def _width(self) -> int:
        config = self._network.config
        projected = self.model.pooling == "projection"
        return int(config.projection_dim if projected else config.hidden_size)

    def _pooled(self, inputs: Tensor) -> Tensor:
        outputs = self._network(pixel_values=inputs)
        if self.model.pooling == "projection":
            projected: Tensor = outputs.image_embeds
            return projected
        tokens: Tensor = outputs.last_hidden_state
        return tokens.mean(dim=1) if self.model.pooling == "mean" else tokens[:, 0]

    def cosine(self, first: Tensor, second: Tensor) -> Tensor:
        """(M, D), (N, D) -> (M, N) cosine in [-1, 1]."""
        return F.normalize(first, dim=1) @ F.normalize(second, dim=1).T

    def similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """(M, D), (N, D) -> (M, N) calibrated similarity in [0, 1]."""
        return self.model.calibration(self.cosine(first, second))


class Dinov2Embedder(TransformersEmbedder):
    """DINOv2 (Oquab et al. 2023, arXiv 2304.07193), base size by default.

    MuDI's D&C-DINO is ``pooling="mean", center_crop=True``.
    """

    def __init__(
        self,
        source: str | Path = DINOV2_BASE.source,
        revision: str | None = None,
        pooling: Pooling = "cls",
        center_crop: bool = False,
        device: str = "cpu",
    ) -> None:
        options: dict[str, Any] = {"pooling": pooling, "center_crop": center_crop}
        super().__init__(
            replace(DINOV2_BASE, source=str(source), revision=revision, **options), device
        )


class DinoEmbedder(TransformersEmbedder):
    """DINO ViT-S/16 (Caron et al. 2021, arXiv 2104.14294) by default.

    PSR's subject consistency and XVerseBench's IP-Sim take the class token with a center crop.
    """

    def __init__(
        self,
        source: str | Path = DINO_S16.source,
        revision: str | None = None,
        pooling: Pooling = "cls",
        center_crop: bool = False,
        device: str = "cpu",
    ) -> None:
        options: dict[str, Any] = {"pooling": pooling, "center_crop": center_crop}
        super().__init__(
            replace(DINO_S16, source=str(source), revision=revision, **options), device
        )


class ClipEmbedder(TransformersEmbedder):
    """CLIP's picture half (Radford et al. 2021, arXiv 2103.00020), ViT-B/16 by default."""

    def __init__(
        self,
        source: str | Path = CLIP_B16.source,
        revision: str | None = None,
        center_crop: bool = False,
        device: str = "cpu",
    ) -> None:
        options: dict[str, Any] = {"center_crop": center_crop}
        super().__init__(
            replace(CLIP_B16, source=str(source), revision=revision, **options), device
        )
