"""Finding faces and their five landmarks with dlib, at a bounded cost on any picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from personae.errors import DataError
from personae.subjects.box import Box
from personae.vision.protocols import Detection
from personae.vision.weights import PackagedWeights

__all__ = ["CNN_WEIGHTS", "LANDMARK_WEIGHTS", "DlibFaceDetector", "without_duplicates"]

LANDMARK_WEIGHTS = PackagedWeights(
    name="dlib-landmarks-5",
    package="face_recognition_models",
    distribution="face-recognition-models",
    file="models/shape_predictor_5_face_landmarks.dat",
    sha256="c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    licence="CC0-1.0",
    commercial=True,
)
CNN_WEIGHTS = PackagedWeights(
    name="dlib-mmod",
    package="face_recognition_models",
    distribution="face-recognition-models",
    file="models/mmod_human_face_detector.dat",
    sha256="4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
    licence="CC0-1.0",
    commercial=True,
)

_LEAST_CNN_SIDE_PX = 80  # a face that it could find does not fit into less, nor do its filters


@lru_cache(maxsize=1)
def _hog() -> Any:
    import dlib

    return dlib.get_frontal_face_detector()


@lru_cache(maxsize=1)
def _cnn() -> Any:
    import dlib

    return dlib.cnn_face_detection_model_v1(str(CNN_WEIGHTS.path()))


@lru_cache(maxsize=1)
def _landmark_model() -> Any:
    import dlib

    return dlib.shape_predictor(str(LANDMARK_WEIGHTS.path()))


@dataclass(frozen=True)
class _Found:
    box: Box
    score: float


def _shrunk(image: np.ndarray, most_px: float) -> tuple[np.ndarray, float]:
    """The picture with at most this many pixels, and how many times longer its sides were."""
    height, width = image.shape[:2]
    factor = (height * width / most_px) ** 0.5
    if factor <= 1:
        return np.ascontiguousarray(image), 1.0
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    picture = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    return np.asarray(picture), factor


def _box(rect: Any, factor: float) -> Box:
    """A rectangle of dlib includes its right and bottom pixel; ours does not."""
    return Box(rect.left(), rect.top(), rect.right() + 1, rect.bottom() + 1).scaled(factor)


def _hog_faces(image: np.ndarray, most_px: float, upsample: int, least: float) -> list[_Found]:
    shrunk, factor = _shrunk(image, most_px)
    rects, scores, _ = _hog().run(shrunk, upsample, least)
    pairs = zip(rects, scores, strict=True)
    return [_Found(_box(rect, factor), float(score)) for rect, score in pairs]


def _cnn_faces(image: np.ndarray, most_px: float, least: float) -> list[_Found]:
    shrunk, factor = _shrunk(image, most_px)
    if min(shrunk.shape[:2]) < _LEAST_CNN_SIDE_PX:
        return []
    found = [(item.rect, float(item.confidence)) for item in _cnn()(shrunk, 0)]
    return [_Found(_box(rect, factor), score) for rect, score in found if score >= least]


def _same_face(first: Box, second: Box) -> bool:
    """Two boxes that overlap by a third, or one of which holds the middle of the other."""
    small, large = sorted((first, second), key=lambda box: box.area)
    x, y = small.center
    inside = large.left <= x <= large.right and large.top <= y <= large.bottom
    return inside or first.iou(second) > 1 / 3


def without_duplicates(found: Sequence[Detection]) -> list[Detection]:
    """Each face once, in the order given: an earlier box takes the place of a later one.

    >>> boxes = [Box(0, 0, 10, 10), Box(1, 1, 11, 11), Box(20, 0, 30, 10)]
    >>> [item.box.left for item in without_duplicates([Detection(box, 1.0) for box in boxes])]
    [0, 20]
    """
    kept: list[Detection] = []
    for item in found:
        if not any(_same_face(item.box, other.box) for other in kept):
            kept.append(item)
    return kept


def _landmarks(image: np.ndarray, box: Box) -> np.ndarray:
    """(5, 2) float64 x, y: outer and inner corners of both eyes, base of the nose."""
    import dlib

    left, top, right, bottom = (round(value) for value in box.xyxy)
    shape = _landmark_model()(image, dlib.rectangle(left, top, right - 1, bottom - 1))
    return np.array([[part.x, part.y] for part in shape.parts()], dtype=np.float64)


@dataclass(kw_only=True)
class DlibFaceDetector:
    """Upright, roughly frontal faces of about 30 pixels and more, each with five landmarks.

    dlib's HOG detector looks at the picture at twice its size (larger pictures are first shrunk
    to ``most_px``). Where it finds fewer faces than expected, it looks at a small picture at four
    times its size, and then dlib's CNN looks (``use_cnn``), which sees turned and tilted faces
    that HOG does not, but takes seconds: the picture is shrunk to ``most_cnn_px`` pixels for it.
    ``Detection.score`` is HOG's margin above 0, or the CNN's.

    ``least_score`` and ``least_cnn_score`` are what a face needs; docs/numbers.md has the recall
    by size, tilt and squeeze, and how often something is found that is no face.

    Source: D. King, dlib; both models CC0.
    """

    name: str = "dlib-hog"
    commercial: bool = True
    least_score: float = 0.23
    least_cnn_score: float = 0.6
    use_cnn: bool = True
    most_px: float = 1.1e6
    most_cnn_px: float = 3.0e5

    def detect(self, image: np.ndarray, expected: int = 0) -> list[Detection]:
        """(H, W, 3) uint8 -> faces, surest first, boxes and landmarks in pixels of this picture.

        ``expected`` is how many faces there should be, where one knows: with fewer found, the
        slower looks follow. It never hides a face that was found.

        Raises:
            DataError: not an (H, W, 3) uint8 picture.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DataError(
                f"faces are sought in (H, W, 3) uint8 pictures; got {image.shape} {image.dtype}"
            )
        picture = np.ascontiguousarray(image)
        kept: list[Detection] = []
        for look in range(3):
            if look and len(kept) >= expected:
                break
            found = sorted(self._look(picture, look), key=lambda item: -item.score)
            kept = without_duplicates([*kept, *(Detection(item.box, item.score) for item in found)])
        kept.sort(key=lambda item: -item.score)
        return [
            Detection(item.box, item.score, None, _landmarks(picture, item.box)) for item in kept
        ]

    def _look(self, image: np.ndarray, look: int) -> list[_Found]:
        """First HOG at twice the size, then at four times that of a small picture, then the CNN."""
        if look == 0:
            return _hog_faces(image, self.most_px, 1, self.least_score)
        if look == 1:
            small = image.shape[0] * image.shape[1] < self.most_px / 2  # else it sees nothing new
            least = self.least_score
            return _hog_faces(image, self.most_px / 4, 2, least) if small else []
        return _cnn_faces(image, self.most_cnn_px, self.least_cnn_score) if self.use_cnn else []
