"""Eyes for subjects that are not people: found by words, cut out, and known by an embedder."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from personae.compute.device import choose_device
from personae.data.pipeline.items import Item
from personae.data.pipeline.provenance import eye_models
from personae.data.segment import build_segmenter
from personae.errors import DataError, RequestError
from personae.metrics.witnesses import build_embedder
from personae.subjects.box import Box
from personae.subjects.subject import Reference
from personae.vision.detectors import WORD_DETECTORS, word_detector
from personae.vision.embedders.crops import square_crop_batch
from personae.vision.protocols import Detection, Embedder, Segmenter, ThingDetector

__all__ = ["Sight", "SightChoice", "Thing", "things_of"]

_SAME_IOU = 0.5  # boxes of one noun that overlap more are one box


@dataclass(frozen=True, eq=False)
class Thing:
    """A thing of a picture: box in pixels, the detector's score, descriptor (D,) float32."""

    box: Box
    score: float
    descriptor: np.ndarray

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Thing:
        """What `as_json` gave; descriptors are rounded to 16 bits by it."""
        half = np.frombuffer(base64.b64decode(told["descriptor"], validate=True), np.float16)
        return cls(Box(*told["box"]), told["score"], half.astype(np.float32))

    def as_json(self) -> dict[str, Any]:
        """As an item holds it; descriptors as base64 of 16-bit floats."""
        return {
            "box": [round(float(side), 2) for side in self.box.xyxy],
            "score": round(float(self.score), 4),
            "descriptor": base64.b64encode(self.descriptor.astype(np.float16).tobytes()).decode(),
        }


def things_of(item: Item, key: str = "things") -> list[Thing]:
    """The things that an item tells of, in the order of its subjects.

    Raises:
        DataError: it tells of none, or they are no things.
    """
    try:
        return [Thing.of_json(told) for told in item.data[key]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{item.id}: tells of no things ({error!r}); locate them first") from error


@dataclass(eq=False)
class Sight:
    """What finds things by words, what cuts them out, and what knows them again."""

    detector: ThingDetector
    segmenter: Segmenter
    embedder: Embedder

    def find(self, picture: np.ndarray, nouns: Mapping[str, str]) -> list[Detection]:
        """Each subject's boxes in a picture (H, W, 3) uint8, surest first.

        Of boxes of one subject that overlap by more than half, the surest (or else first) stays.
        """
        cast = {name: [Reference(picture)] for name in nouns}  # asked for by words alone
        kept: list[Detection] = []
        for one in sorted(self.detector.detect(picture, cast, nouns), key=lambda one: -one.score):
            twins = (other for other in kept if other.subject == one.subject)
            if one.subject in nouns and all(one.box.iou(t.box) <= _SAME_IOU for t in twins):
                kept.append(one)
        return kept

    @torch.inference_mode()
    def describe(self, picture: np.ndarray, boxes: list[Box]) -> np.ndarray:
        """(N, D) float32 of N boxes, what is behind the thing in them included."""
        crops = square_crop_batch(picture, boxes, self.embedder.side_px)
        return np.asarray(self.embedder.embed(crops).float().cpu().numpy())

    def similarity(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """(M, D), (N, D) -> (M, N), calibrated."""
        rows = (torch.from_numpy(np.array(some, np.float32)) for some in (first, second))
        return np.asarray(self.embedder.similarity(*rows).numpy())


@dataclass(frozen=True, kw_only=True)
class SightChoice:
    """Eyes for things by name; see `Located`."""

    detector: str
    segmenter: str = "grabcut"
    embedder: str = "efficientnet-lite0"
    threshold: float | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        name = self.detector.partition(":")[0]
        if name not in WORD_DETECTORS:
            raise RequestError(
                f"located.by {self.detector!r}: expected faces, owlv2[:PATH], "
                "grounding-dino[:PATH] or florence-2[:PATH]"
            )
        if name == "florence-2" and self.threshold is not None:
            raise RequestError(
                f"located.threshold {self.threshold}: florence-2 gives no scores; leave it out"
            )

    def models(self) -> Mapping[str, str]:
        """See `Step`."""
        return eye_models(self.detector, self.segmenter, self.embedder)

    def build(self) -> Sight:
        """Load them.

        Raises:
            RequestError: an unknown name.
            WeightsError: weights that are not there.
        """
        device = str(choose_device(self.device))
        name, _, source = self.detector.partition(":")
        told: dict[str, Any] = {"device": device}
        if self.threshold is not None:
            told["threshold" if name == "owlv2" else "box_threshold"] = self.threshold
        detector = word_detector(name, source, **told)
        return Sight(
            detector, build_segmenter(self.segmenter, device), build_embedder(self.embedder)
        )
