"""The examiner: eyes of another make, which no training and no choice of checkpoint ever uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from personae.subjects.scene import Claim
from personae.toons.places import PLACES
from personae.toons.pose import ACTIONS, WORN
from personae.vision.calibration import Calibration
from personae.vision.embedders.crops import image_tensor
from personae.vision.faces.align import FaceTemplate, aligned_crops
from personae.vision.faces.embed import FaceEyes, check_crops, pairwise_cosine
from personae.vision.protocols import Answer, Detection
from personae.vision.toons.finding import enough, prepared, regions_to_faces, without_overlap
from personae.vision.toons.layers import channels_last
from personae.vision.toons.networks import BoxNet, FigureNet, PatchNet, agreement
from personae.vision.toons.shipped import load_into, shipped_path
from personae.vision.toons.templates import toon_template

__all__ = [
    "EXAMINER_CALIBRATION",
    "EXAMINER_TEMPLATE",
    "FIGURE_TEMPLATE",
    "NOTHING",
    "Examiner",
    "ExaminerDetector",
    "ExaminerEmbedder",
    "ExaminerReader",
]

EXAMINER_TEMPLATE = toon_template("toon-72", 72, 4.0, 0.25)
"""72 pixels over 4 half heads."""

FIGURE_TEMPLATE = toon_template("toon-figure", 64, 5.6, 0.3)
"""64 pixels over 5.6 half heads: the whole figure."""

EXAMINER_CALIBRATION = Calibration(midpoint=0.496, width=0.164, source="docs/numbers.md")

NOTHING = "nothing"
"""The answer for a toon that wears or does nothing worth a word."""

_WORN = (NOTHING, *WORN)
_ACTIONS = (NOTHING, *ACTIONS)


@lru_cache(maxsize=4)
def _box_net(path: Path) -> BoxNet:
    return channels_last(load_into(BoxNet(len(PLACES)), path))


@lru_cache(maxsize=4)
def _figure_net(path: Path) -> FigureNet:
    return load_into(FigureNet(len(_WORN), len(_ACTIONS)), path)


@lru_cache(maxsize=4)
def _patch_net(path: Path, device: str) -> PatchNet:
    return load_into(PatchNet(), path).to(device)


class ExaminerDetector:
    """Toon faces by regions (`BoxNet`), behind the `FaceDetector` protocol.

    Everything else as in `ToonFaceDetector`, from which it differs in network, loss and seed.

    Raises:
        WeightsError: the file is missing, damaged, or of another network.
    """

    name = "examiner-regions"
    licence = "Apache-2.0"
    commercial = True
    side_px = 128

    def __init__(
        self,
        weights: Path | None = None,
        *,
        least_score: float = 0.5,
        least_expected: float = 0.3,
    ) -> None:
        self._net = _box_net(weights or shipped_path(self.name))
        self.least_score, self.least_expected = least_score, least_expected

    def detect(self, image: np.ndarray, expected: int = 0) -> list[Detection]:
        """(H, W, 3) uint8 -> faces, surest first, boxes and landmarks in pixels of this picture.

        Raises:
            DataError: not an (H, W, 3) uint8 picture.
        """
        maps, _, factor = self._look(image)
        found = regions_to_faces(maps, BoxNet.stride, BoxNet.unit_px, self.least_expected, factor)
        return enough(without_overlap(found), self.least_score, self.least_expected, expected)

    def place(self, image: np.ndarray) -> str:
        """Where the picture was taken: one of `personae.toons.PLACES`."""
        _, place, _ = self._look(image)
        return PLACES[int(place.argmax())]

    @torch.no_grad()
    def _look(self, image: np.ndarray) -> tuple[Tensor, Tensor, float]:
        seen = prepared(image, self.side_px, 32)
        maps, place = self._net(seen.pixels.contiguous(memory_format=torch.channels_last))
        return maps[0], place[0], seen.factor


class ExaminerEmbedder:
    """An aligned crop of 72 pixels to 181 numbers (`PatchNet`), behind `FaceEmbedder`.

    `similarity` is the `agreement` of the traits, calibrated on validation identities
    (docs/numbers.md); `cosine`, for official protocols, that of the codes. Differentiable in the
    pixels.

    Raises:
        WeightsError: the file is missing, damaged, or of another network.
    """

    name = "examiner-patches"
    licence = "Apache-2.0"
    commercial = True
    official_uses_cosine = True
    template: FaceTemplate = EXAMINER_TEMPLATE
    side_px: int = EXAMINER_TEMPLATE.side_px
    calibration: Calibration = EXAMINER_CALIBRATION

    def __init__(self, device: str | torch.device = "cpu", weights: Path | None = None) -> None:
        self.device = torch.device(device)
        self._net = _patch_net(weights or shipped_path(self.name), str(self.device))

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, 72, 72) RGB in [0, 1] -> (B, 181) float32 of length 1; differentiable.

        Raises:
            DataError: crops of another shape.
        """
        check_crops(crops, self.side_px, self.name)
        descriptors: Tensor = self._net(crops.to(self.device, torch.float32))
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


class ExaminerReader:
    """What a toon wears and does (`FigureNet`), read from a crop around its whole figure.

    Raises:
        WeightsError: the file is missing, damaged, or of another network.
    """

    name = "examiner-figures"

    def __init__(self, weights: Path | None = None) -> None:
        self._net = _figure_net(weights or shipped_path(self.name))

    @torch.no_grad()
    def read(self, image: np.ndarray, landmarks: np.ndarray) -> list[tuple[str, str]]:
        """(H, W, 3) uint8 and (N, 5, 2) landmarks -> N pairs of names, or of `NOTHING`."""
        picture = image_tensor(image)
        crops = aligned_crops([picture], [landmarks], FIGURE_TEMPLATE)
        worn, acted = (said.argmax(1).tolist() for said in self._net(crops))
        return [(_WORN[i], _ACTIONS[j]) for i, j in zip(worn, acted, strict=True)]


@dataclass
class Examiner:
    """Detector, embedder and judge that reports are made with, and nothing else.

    ``answer`` is the `Judge` protocol: it answers for the place, and for what a found subject
    wears and does. Keep it out of rewards, of early stopping and of `--best-of`.
    """

    detector: ExaminerDetector
    embedder: ExaminerEmbedder
    reader: ExaminerReader

    @classmethod
    def load(cls, device: str | torch.device = "cpu") -> Examiner:
        """The shipped one.

        Raises:
            WeightsError: a file is missing or not the tested one.
        """
        return cls(ExaminerDetector(), ExaminerEmbedder(device), ExaminerReader())

    @property
    def eyes(self) -> FaceEyes:
        """Its detector and embedder, as the ruler takes them."""
        return FaceEyes(self.detector, self.embedder)

    def answer(
        self, image: np.ndarray, claims: Sequence[Claim], where: Mapping[str, Detection | None]
    ) -> list[Answer]:
        """See `Judge`: what it sees for every claim, in their order."""
        found = {
            name: item.landmarks
            for name, item in where.items()
            if item is not None and item.landmarks is not None
        }
        points = np.array(list(found.values()), np.float64).reshape(-1, 5, 2)
        read = dict(zip(found, self.reader.read(image, points), strict=True))
        place = self.detector.place(image)
        return [_answer(claim, place, read) for claim in claims]


def _answer(claim: Claim, place: str, read: Mapping[str, tuple[str, str]]) -> Answer:
    known = {"place": PLACES, "wears": WORN, "action": ACTIONS}.get(claim.kind, ())
    if claim.expected not in known:
        return Answer(None, f"the examiner knows nothing of {claim.kind} {claim.expected!r}")
    if claim.kind == "place":
        return Answer(place)
    if claim.subject is None or claim.subject not in read:
        return Answer(None, f"{claim.subject} was not found with landmarks")
    return Answer(read[claim.subject][claim.kind == "action"])
