"""Finding toon heads and their five landmarks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from personae.vision.protocols import Detection
from personae.vision.toons.finding import centers_to_faces, enough, prepared, without_overlap
from personae.vision.toons.layers import channels_last
from personae.vision.toons.networks import CenterNet
from personae.vision.toons.shipped import load_into, shipped_path

__all__ = ["ToonFaceDetector"]


@lru_cache(maxsize=4)
def _net(path: Path) -> CenterNet:
    return channels_last(load_into(CenterNet(), path))


class ToonFaceDetector:
    """The faces of toons, each with five landmarks, behind the `FaceDetector` protocol.

    Looks once at the picture, brought to a short side of ``side_px`` (a picture of 128 by 128
    or 192 by 128 is taken as it is). ``Detection.score`` is a probability in [0, 1]; a face
    needs ``least_score``, which was chosen on validation identities (docs/numbers.md). Where
    that leaves fewer faces than expected, the surest others down to ``least_expected`` count too.
    Landmarks: eye on the left of the picture, eye on its right, nose, corners of the mouth.

    Args:
        weights: a file of weights; the shipped one where none is given.
        least_score: probability from which a face counts.
        least_expected: the same for faces that are expected and missing.

    Raises:
        WeightsError: the file is missing, damaged, or of another network.
    """

    name = "toon-centers"
    licence = "Apache-2.0"
    commercial = True
    side_px = 128

    def __init__(
        self,
        weights: Path | None = None,
        *,
        least_score: float = 0.35,
        least_expected: float = 0.25,
    ) -> None:
        self._net = _net(weights or shipped_path(self.name))
        self.least_score, self.least_expected = least_score, least_expected

    @torch.no_grad()
    def detect(self, image: np.ndarray, expected: int = 0) -> list[Detection]:
        """(H, W, 3) uint8 -> faces, surest first, boxes and landmarks in pixels of this picture.

        Raises:
            DataError: not an (H, W, 3) uint8 picture.
        """
        seen = prepared(image, self.side_px, 16)
        maps = self._net(seen.pixels.contiguous(memory_format=torch.channels_last))[0]
        found = centers_to_faces(
            maps, CenterNet.stride, CenterNet.unit_px, self.least_expected, seen.factor
        )
        return enough(without_overlap(found), self.least_score, self.least_expected, expected)
