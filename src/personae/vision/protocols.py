"""What a pretrained eye has to offer: the small protocols behind which every model stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from personae.subjects.box import Box
from personae.subjects.scene import Claim
from personae.subjects.subject import Reference

__all__ = [
    "Answer",
    "Detection",
    "Embedder",
    "FaceDetector",
    "Judge",
    "Segmenter",
    "ThingDetector",
]


@dataclass(frozen=True)
class Detection:
    """One thing found in a picture.

    ``box`` is in pixels of the picture, ``score`` in the detector's own units (higher is
    surer), ``subject`` the id of the subject it was found as (None where the detector does not
    know, as for faces), ``landmarks`` (5, 2) float64 x, y in pixels for faces, else None.
    """

    box: Box
    score: float
    subject: str | None = None
    landmarks: np.ndarray | None = None


@dataclass(frozen=True)
class Answer:
    """What a judge saw where a claim was to be checked, in the words of claims.

    ``seen`` None means that it cannot say, and ``reason`` why.
    """

    seen: str | None
    reason: str | None = None


@runtime_checkable
class Embedder(Protocol):
    """Crops in, descriptors out, and what two descriptors being alike means.

    ``official_uses_cosine`` says which similarity an official protocol takes: the raw cosine
    (the paper's programs do) or the calibrated one, where a raw cosine of this embedder is so
    squeezed that the published formulas would mean nothing.
    """

    name: str
    side_px: int
    commercial: bool
    official_uses_cosine: bool

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, side_px, side_px) float in [0, 1] -> (B, D) float32; differentiable."""
        ...

    def cosine(self, first: Tensor, second: Tensor) -> Tensor:
        """(M, D), (N, D) -> (M, N) raw cosine in [-1, 1]; differentiable."""
        ...

    def similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """(M, D), (N, D) -> (M, N) calibrated: strangers near 0, the same near 1; monotone."""
        ...


class FaceDetector(Protocol):
    """Finds every face, whoever it is; looks harder while it finds fewer than are expected."""

    name: str

    def detect(self, image: np.ndarray, expected: int = 0) -> list[Detection]:
        """(H, W, 3) uint8 -> faces with five landmarks, surest first."""
        ...


class ThingDetector(Protocol):
    """Finds given subjects (animals, objects) by their references or their nouns."""

    name: str

    def detect(
        self, image: np.ndarray, cast: Mapping[str, Sequence[Reference]], nouns: Mapping[str, str]
    ) -> list[Detection]:
        """(H, W, 3) uint8 -> boxes, each with the subject it was found as, surest first.

        A detector without scores gives its own order.
        """
        ...


class Segmenter(Protocol):
    """Cuts one subject out of its photo, told roughly where it is."""

    name: str

    def segment(self, image: np.ndarray, where: Box | np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> mask (H, W) bool, True on the subject; all False where there is none.

        ``where`` is a box around it in pixels, or how likely each place is of it: (h, w) float in
        [0, 1] over the whole photo, as coarse as it may be.
        """
        ...


class Judge(Protocol):
    """Answers what a picture shows where a scene claims something (see `Claim`)."""

    def answer(
        self, image: np.ndarray, claims: Sequence[Claim], where: Mapping[str, Detection | None]
    ) -> list[Answer]:
        """(H, W, 3) uint8, and each subject as it was found (None: absent) -> an answer a claim."""
        ...
