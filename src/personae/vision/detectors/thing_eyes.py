"""The eyes for things: a detector and an embedder that look at one picture together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from personae.errors import RequestError
from personae.subjects.box import Box
from personae.subjects.subject import Reference
from personae.vision.detectors.guided import GuidedDetector
from personae.vision.embedders.crops import reference_crop, square_crop_batch
from personae.vision.protocols import Detection, Embedder, Segmenter, ThingDetector

__all__ = ["ThingEyes"]

_RIM = 0.05


class ThingEyes:
    """Finds the things of a cast in a picture and describes each find.

    Args:
        detector: what finds them.
        embedder: what describes them.
        white_background: paint what a reference's mask leaves out white before describing it.
            Off by default: boxes cut from pictures keep their background, and references
            that keep theirs are more alike to them (docs/numbers.md).
        segmenter: cuts the thing out of its box, and out of a reference that has no mask; what
            it leaves out is white, in pictures and references alike (XVerseBench's IP-Sim). A box
            in which it finds nothing keeps its background; a reference without a mask in which it
            finds nothing is not described.
    """

    def __init__(
        self,
        detector: ThingDetector,
        embedder: Embedder,
        white_background: bool = False,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.detector = detector
        self.embedder = embedder
        self.white_background = white_background or segmenter is not None
        self.segmenter = segmenter

    @property
    def name(self) -> str:
        """All names, such as guided+efficientnet-lite0 or owlv2+sam2+dino-vits16."""
        suffix = f"+{self.embedder.name}"
        cut = "" if self.segmenter is None else f"+{self.segmenter.name}"
        return self.detector.name.removesuffix(suffix) + cut + suffix

    @property
    def commercial(self) -> bool:
        """Whether the embedder's weights may be used commercially."""
        return self.embedder.commercial

    @torch.inference_mode()
    def reference_descriptors(self, references: Sequence[Reference]) -> Tensor:
        """Descriptors (R, D) of references: the tight box around the mask.

        Where there is no mask, the segmenter's serves, or else a reference-guided detector's guess
        of one; with other detectors the photo is taken whole. With a segmenter that finds nothing
        in some of them they are left out.

        Raises:
            RequestError: there is none.
        """
        if not references:
            raise RequestError("no reference to describe; give the subject at least one photo")
        side, white = self.embedder.side_px, self.white_background
        masked = [item for each in references if (item := self._masked(each)) is not None]
        crops = [reference_crop(item, side, white) for item in masked]
        return self.embedder.embed(
            torch.stack([*crops]) if crops else torch.zeros(0, 3, side, side)
        )

    def _masked(self, reference: Reference) -> Reference | None:
        """The reference with the best mask there is; each by itself, whoever its company."""
        if self.segmenter is not None and reference.mask is None:
            mask = self.segmenter.segment(reference.image, _inner(reference.image))
            return replace(reference, mask=mask) if mask.any() else None
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
        if self.segmenter is None:
            crops = square_crop_batch(image, boxes, self.embedder.side_px)
            return detections, self.embedder.embed(crops)
        cut = [square_crop_batch(image, [], self.embedder.side_px)]
        for box in boxes:
            mask = self.segmenter.segment(image, box)
            shown = mask if _covers(mask, box) else None
            cut.append(square_crop_batch(image, [box], self.embedder.side_px, mask=shown))
        return detections, self.embedder.embed(torch.cat(cut))


def _inner(image: np.ndarray) -> Box:
    """The photo without its outermost twentieth, where a subject of a photo seldom is."""
    height, width = image.shape[:2]
    return Box(_RIM * width, _RIM * height, (1 - _RIM) * width, (1 - _RIM) * height)


def _covers(mask: np.ndarray, box: Box) -> bool:
    """Is anything of the mask inside the box?"""
    height, width = mask.shape
    inside = box.clipped(width, height)
    if inside is None:
        return False
    rows = slice(int(inside.top), math.ceil(inside.bottom))
    return bool(mask[rows, int(inside.left) : math.ceil(inside.right)].any())
