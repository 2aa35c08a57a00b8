"""Finding each photo's subject and cutting it out: masks, and how many candidates there were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from personae.errors import DataError, RequestError
from personae.subjects.box import Box
from personae.subjects.subject import Kind, Reference
from personae.vision.detectors import WORD_DETECTORS, GuidedDetector, word_detector
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.faces import DlibFaceDetector
from personae.vision.protocols import FaceDetector, Segmenter, ThingDetector
from personae.vision.segmenters import (
    GrabCut,
    GrabCutConfig,
    Sam2,
    TogetherConfig,
    segmented_together,
)
from personae.vision.segmenters.grabcut import main_part
from personae.vision.segmenters.sam2 import SAM2
from personae.vision.toons import ToonFaceDetector
from personae.vision.weights import in_hub_cache

__all__ = [
    "Cut",
    "Cutter",
    "EyesForCutting",
    "GivenCutter",
    "TogetherCutter",
    "WordsCutter",
    "all_show_a_face",
    "build_cutter",
    "build_segmenter",
    "face_detector",
    "person_middle",
]

# MuDI's automatic masks asked OWLv2 for boxes above this (mudi.md, preprocessing).
_OWLV2_THRESHOLD = 0.2
_DRAFT = GrabCutConfig(long_side_px=288)


@dataclass(frozen=True, kw_only=True)
class EyesForCutting:
    """Which eyes find and cut; a name, or ``name:PATH-OR-HUB-ID`` where weights are brought along.

    ``auto`` takes OWLv2 and SAM 2 where their weights are on this machine, else what needs none.
    """

    detector: str = "auto"
    segmenter: str = "auto"
    faces: str = "dlib"


@dataclass(frozen=True, eq=False)
class Cut:
    """What was cut out of one photo: mask (H, W) bool or None, by which eyes, of how many boxes.

    ``unread`` is why a detector could not say where the subject is, None where it could.
    """

    mask: np.ndarray | None
    by: str
    num_boxes: int = 1
    unread: str | None = None


class Cutter(Protocol):
    """Cuts one subject out of its photos; masks that were given stay as they are."""

    name: str

    def cut(
        self,
        images: Sequence[np.ndarray],
        given: Sequence[np.ndarray | None],
        noun: str,
        middles: Sequence[np.ndarray | None],
    ) -> list[Cut]:
        """(H, W, 3) uint8 photos -> a cut each; ``middles`` (H, W) bool are hints, or None."""
        ...


class GivenCutter:
    """Finds nothing: only masks that were given count."""

    name = "given"

    def cut(
        self,
        images: Sequence[np.ndarray],
        given: Sequence[np.ndarray | None],
        noun: str,
        middles: Sequence[np.ndarray | None],
    ) -> list[Cut]:
        """See `Cutter`."""
        return [Cut(mask, "given") for mask in given]


class TogetherCutter:
    """Looks at all photos of a subject at once (`segmented_together`); needs no words.

    A segmenter that takes boxes alone gets the box around what GrabCut cut.
    """

    def __init__(self, segmenter: Segmenter, detector: GuidedDetector | None = None) -> None:
        self._detector = detector or GuidedDetector(EfficientNetEmbedder())
        self._grabcut = segmenter if isinstance(segmenter, GrabCut) else GrabCut()
        self._segmenter = segmenter
        self.name = f"guided+{segmenter.name}"

    @torch.inference_mode()
    def cut(
        self,
        images: Sequence[np.ndarray],
        given: Sequence[np.ndarray | None],
        noun: str,
        middles: Sequence[np.ndarray | None],
    ) -> list[Cut]:
        """See `Cutter`; nothing is looked at where all masks are given."""
        if all(mask is not None for mask in given):
            return GivenCutter().cut(images, given, noun, middles)
        side = TogetherConfig().long_side_px
        masks = segmented_together(
            images,
            lambda image: self._detector.dense_map(image, side),
            self._grabcut,
            middles,
            [mask if mask is None or mask.any() else None for mask in given],
            drafter=GrabCut(_DRAFT),
        )
        return [
            Cut(known, "given") if known is not None else self._refined(image, mask)
            for image, mask, known in zip(images, masks, given, strict=True)
        ]

    def _refined(self, image: np.ndarray, mask: np.ndarray) -> Cut:
        if self._segmenter is not self._grabcut and mask.any():
            mask = self._segmenter.segment(image, main_part(mask).astype(np.float32))
        return Cut(mask if mask.any() else None, self.name)


class WordsCutter:
    """A detector that takes words finds the box, a segmenter cuts; each photo by itself.

    Of several boxes the surest (of Florence-2's the first) is cut, and their number is kept: MuDI's
    preparation asks for exactly one.
    """

    def __init__(self, detector: ThingDetector, segmenter: Segmenter) -> None:
        self._detector, self._segmenter = detector, segmenter
        self.name = f"{detector.name}+{segmenter.name}"

    def cut(
        self,
        images: Sequence[np.ndarray],
        given: Sequence[np.ndarray | None],
        noun: str,
        middles: Sequence[np.ndarray | None],
    ) -> list[Cut]:
        """See `Cutter`; the middles are not needed."""
        return [
            Cut(mask, "given") if mask is not None else self._cut(image, noun)
            for image, mask in zip(images, given, strict=True)
        ]

    def _cut(self, image: np.ndarray, noun: str) -> Cut:
        try:
            boxes = self._detector.detect(image, {noun: [Reference(image)]}, {noun: noun})
        except DataError as error:
            return Cut(None, self.name, 0, str(error))
        if not boxes:
            return Cut(None, self.name, 0)
        mask = self._segmenter.segment(image, boxes[0].box)
        return Cut(mask if mask.any() else None, self.name, len(boxes))


def build_cutter(eyes: EyesForCutting) -> Cutter:
    """Load the eyes that cut.

    Raises:
        RequestError: an unknown name.
        WeightsError: weights that were asked for by name are not there.
    """
    detector, source = _split(eyes.detector)
    if detector == "auto":
        detector = "owlv2" if in_hub_cache(WORD_DETECTORS["owlv2"]) else "guided"
    if detector == "given" or eyes.segmenter == "given":
        return GivenCutter()
    segmenter = build_segmenter(eyes.segmenter)
    if detector == "guided":
        return TogetherCutter(segmenter)
    if detector in WORD_DETECTORS:
        sure = {"threshold": _OWLV2_THRESHOLD} if detector == "owlv2" else {}
        return WordsCutter(word_detector(detector, source, nms_iou=0.5, **sure), segmenter)
    raise RequestError(
        f"--detector {eyes.detector!r}: expected auto, guided, owlv2[:PATH], "
        "grounding-dino[:PATH], florence-2[:PATH] or given"
    )


def build_segmenter(text: str, device: str = "cpu") -> Segmenter:
    """What cuts out, by name: auto, grabcut or sam2[:PATH].

    Raises:
        RequestError: an unknown name.
        WeightsError: weights that were asked for by name are not there.
    """
    name, source = _split(text)
    if name == "auto":
        name = "sam2" if in_hub_cache(SAM2) else "grabcut"
    if name == "grabcut" and not source:
        return GrabCut()
    if name == "sam2":
        return Sam2(source, device=device) if source else Sam2(device=device)
    raise RequestError(f"--segmenter {text!r}: expected auto, grabcut, sam2[:PATH] or given")


def _split(text: str) -> tuple[str, str]:
    name, _, source = text.partition(":")
    return name, source


def face_detector(name: str) -> FaceDetector:
    """What finds faces of people in photos: dlib, or toons in the drawn world.

    Raises:
        RequestError: an unknown name.
    """
    if name == "dlib":
        return DlibFaceDetector()
    if name == "toons":
        return ToonFaceDetector()
    raise RequestError(f"--faces {name!r}: expected dlib or toons")


def all_show_a_face(images: Sequence[np.ndarray], faces: FaceDetector) -> Kind:
    """Guess a subject's kind: a person where every photo shows a face, else an object."""
    found = all(faces.detect(image) for image in images)
    return "person" if found else "object"


def person_middle(shape: tuple[int, int], face: Box) -> np.ndarray:
    """Where a person surely is, told by the face: head and chest, (H, W) bool.

    The face's box, and below it a block 1.6 faces wide, from 1.2 to 2.5 faces below its top.

    >>> person_middle((8, 8), Box(3, 0, 5, 2)).sum(axis=1).tolist()
    [2, 2, 4, 4, 4, 0, 0, 0]
    """
    mask = np.zeros(shape, dtype=bool)
    x, _ = face.center
    chest = Box(
        x - 0.8 * face.width,
        face.top + 1.2 * face.height,
        x + 0.8 * face.width,
        face.top + 2.5 * face.height,
    )
    for box in (face, chest):
        inside = box.clipped(shape[1], shape[0])
        if inside is not None:
            left, top, right, bottom = (round(value) for value in inside.xyxy)
            mask[top:bottom, left:right] = True
    return mask
