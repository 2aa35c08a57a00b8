"""The eyes for things: a detector and an embedder that look at one picture together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from personae.errors import RequestError
from personae.subjects.subject import Reference
from personae.vision.detectors.guided import GuidedDetector
from personae.vision.embedders.crops import reference_crop, square_crop_batch
from personae.vision.protocols import Detection, Embedder, ThingDetector

__all__ = ["ThingEyes"]


class ThingEyes:
    """Finds the things of a cast in a picture and describes each find.

    Args:
        detector: what finds them.
        embedder: what describes them.
        white_background: paint what a reference's mask leaves out white before describing it.
            Off by default: boxes cut from pictures keep their background, and references
            that keep theirs are more alike to them (docs/numbers.md).
    """

    def __init__(
        self, detector: ThingDetector, embedder: Embedder, white_background: bool = False
    ) -> None:
        self.detector = detector
        self.embedder = embedder
        self.white_background = white_background

    @property
    def name(self) -> str:
        """Both names, such as guided+efficientnet-lite0."""
        suffix = f"+{self.embedder.name}"
        return self.detector.name.removesuffix(suffix) + suffix

    @property
    def commercial(self) -> bool:
        """Whether the embedder's weights may be used commercially."""
        return self.embedder.commercial

    @torch.inference_mode()
    def reference_descriptors(self, references: Sequence[Reference]) -> Tensor:
        """Descriptors (R, D) of references: the tight box around the mask.

        Where there is no mask, a reference-guided detector's guess of one serves; with other
        detectors the photo is taken whole.

        Raises:
            RequestError: there is none.
        """
        if not references:
            raise RequestError("no reference to describe; give the subject at least one photo")
        side, white = self.embedder.side_px, self.white_background
        crops = [reference_crop(self._masked(item), side, white) for item in references]
        return self.embedder.embed(torch.stack(crops))

    def _masked(self, reference: Reference) -> Reference:
        """The reference with the best mask there is; each by itself, whoever its company."""
        if isinstance(self.detector, GuidedDetector):
            return self.detector.masked([reference])[0]
        return reference

    @torch.inference_mode()
    def things(
        self, image: np.ndarray, cast: Mapping[str, Sequence[Reference]], nouns: Mapping[str, str]
    ) -> tuple[list[Detection], Tensor]:
        """Detections in a picture (H, W, 3) uint8, surest first, and their descriptors (K, D)."""
        detections = self.detector.detect(image, cast, nouns)
        boxes = [detection.box for detection in detections]
        crops = square_crop_batch(image, boxes, self.embedder.side_px)
        return detections, self.embedder.embed(crops)
