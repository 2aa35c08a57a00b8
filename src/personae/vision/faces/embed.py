"""Faces to descriptors: dlib's own, and the eyes that detect, align and embed in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.errors import DataError
from personae.vision.calibration import Calibration
from personae.vision.embedders.crops import image_tensor
from personae.vision.faces.align import DLIB_TEMPLATE, FaceTemplate, aligned_crops
from personae.vision.faces.dlib_net import DlibFaceNet, load_dlib_face_net
from personae.vision.protocols import Detection, Embedder, FaceDetector
from personae.vision.weights import PackagedWeights

__all__ = [
    "DLIB_CALIBRATION",
    "DLIB_WEIGHTS",
    "DlibFaceEmbedder",
    "FaceEmbedder",
    "FaceEyes",
    "check_crops",
    "pairwise_cosine",
    "squared_distance",
]

DLIB_WEIGHTS = PackagedWeights(
    name="dlib-resnet-v1",
    package="face_recognition_models",
    distribution="face-recognition-models",
    file="models/dlib_face_recognition_resnet_model_v1.dat",
    sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    licence="CC0-1.0",
    commercial=True,
)
DLIB_CALIBRATION = Calibration(
    midpoint=-0.36,
    width=0.05,
    source=(
        "midpoint: the author's threshold, distance 0.6 (99.38% on LFW by his account); width: "
        "6 pairs of photos of 2 people, 345 pairs of strangers, 190 of them generated faces"
    ),
)
"""Of the negative squared Euclidean distance; see `DlibFaceEmbedder` for what it cannot do."""


def squared_distance(first: Tensor, second: Tensor) -> Tensor:
    """(M, D), (N, D) -> (M, N) squared Euclidean distances; its gradient is finite at 0 too.

    >>> squared_distance(torch.tensor([[0.0, 3.0]]), torch.tensor([[4.0, 0.0], [0.0, 3.0]]))
    tensor([[25.,  0.]])
    """
    return (first[:, None] - second[None]).square().sum(-1)


def pairwise_cosine(first: Tensor, second: Tensor) -> Tensor:
    """(M, D), (N, D) -> (M, N) cosines in [-1, 1]; a zero descriptor has cosine 0 with all.

    >>> pairwise_cosine(torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    tensor([[1., 0.]])
    """
    return (F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T).clamp(-1, 1)


def check_crops(crops: Tensor, side_px: int, name: str) -> None:
    """Refuse what is no batch of RGB crops of this size.

    Raises:
        DataError: another shape, or whole numbers.
    """
    if tuple(crops.shape[1:]) != (3, side_px, side_px) or not crops.is_floating_point():
        raise DataError(
            f"{name} embeds (B, 3, {side_px}, {side_px}) floating point crops in [0, 1]; "
            f"got {tuple(crops.shape)} {crops.dtype}"
        )


@lru_cache(maxsize=4)
def _net(device: str) -> DlibFaceNet:
    return load_dlib_face_net(DLIB_WEIGHTS.path()).to(device)


class FaceEmbedder(Embedder, Protocol):
    """An embedder that says how faces have to be aligned for it."""

    template: FaceTemplate


class DlibFaceEmbedder:
    r"""dlib's face descriptor: 128 numbers from an aligned crop of 150 pixels, in PyTorch.

    Two descriptors are compared raw, by their distance; the calibrated similarity is

    .. math:: \sigma\left(\frac{0.6^2 - \lVert a - b \rVert^2}{0.05}\right)

    in (0, 1), higher is more alike: 0.999 for the same descriptor, 0.5 at the author's threshold
    of 0.6, below 0.1 from a distance of 0.69. Photos of the same person measured 0.97 to 0.99.
    Its weakness: of 20 generated identities it takes many for one another (29% of the pairs lie
    below the threshold, the closest at 0.27, mostly young East Asian faces; docs/numbers.md), so
    ask whether it can separate a cast before a verdict on it.

    Source: D. King, dlib, ``dlib_face_recognition_resnet_model_v1`` (CC0).

    >>> eyes = DlibFaceEmbedder()
    >>> eyes.embed(torch.zeros(2, 3, 150, 150)).shape
    torch.Size([2, 128])
    """

    name: str = DLIB_WEIGHTS.name
    side_px: int = DLIB_TEMPLATE.side_px
    licence: str = DLIB_WEIGHTS.licence
    commercial: bool = DLIB_WEIGHTS.commercial
    official_uses_cosine: bool = False
    template: FaceTemplate = DLIB_TEMPLATE
    calibration: Calibration = DLIB_CALIBRATION

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, 150, 150) RGB in [0, 1] -> (B, 128) float32; differentiable.

        Raises:
            DataError: crops of another shape.
            WeightsError: the weights are missing or not the tested ones.
        """
        check_crops(crops, self.side_px, self.name)
        net = _net(str(self.device))
        descriptors: Tensor = net(crops.to(self.device, torch.float32))
        return descriptors

    def cosine(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Embedder`; strangers already measure 0.78 to 0.85, so nothing official uses it."""
        return pairwise_cosine(first, second)

    def similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Embedder`."""
        return self.calibration(-squared_distance(first, second))


@dataclass
class FaceEyes:
    """Detector and embedder together: every face of a picture and its descriptor."""

    detector: FaceDetector
    embedder: FaceEmbedder

    @property
    def name(self) -> str:
        """Both, as rows name them: ``dlib-hog+dlib-resnet-v1``."""
        return f"{self.detector.name}+{self.embedder.name}"

    def faces(self, image: np.ndarray, expected: int = 0) -> tuple[list[Detection], Tensor]:
        """(H, W, 3) uint8 -> N detections, surest first, and their (N, D) descriptors.

        No gradient; all faces are embedded in one batch. N may be 0.
        """
        found = [
            item for item in self.detector.detect(image, expected) if item.landmarks is not None
        ]
        rows = [item.landmarks for item in found]
        points = np.array(rows, np.float64).reshape(-1, *self.embedder.template.points.shape)
        picture = image_tensor(image)
        with torch.no_grad():
            return found, self.embed_faces([picture], [points])

    def embed_faces(
        self, images: Tensor | Sequence[Tensor], landmarks: Sequence[np.ndarray]
    ) -> Tensor:
        """All faces of all pictures -> (sum N_i, D), picture by picture; differentiable.

        ``images`` (B, 3, H, W), or pictures (3, H, W), in [0, 1]; ``landmarks`` (N_i, 5, 2) each.
        """
        return self.embedder.embed(aligned_crops(images, landmarks, self.embedder.template))
