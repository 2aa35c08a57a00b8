"""The step that finds faces: where each is, how large and sharp, and its descriptor."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.looks import sharpness
from personae.data.pipeline.provenance import face_models
from personae.data.pipeline.step import Files
from personae.data.pipeline.thresholds import Thresholds, thresholds
from personae.errors import DataError
from personae.metrics.eyes import PeopleEyes
from personae.metrics.witnesses import EyesChoice, build_witnesses
from personae.subjects.box import Box
from personae.vision.faces import FaceEyes

__all__ = ["Face", "Faces", "descriptors_of", "face_eyes", "faces_of", "look"]

_CROP_PX = 64


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a picture.

    Attributes:
        box: in pixels.
        score: the detector's.
        landmarks: (5, 2) pixels.
        sharpness: of the box at 64 pixels (`looks.sharpness`).
        descriptor: (D,) float32.
    """

    box: Box
    score: float
    landmarks: np.ndarray
    sharpness: float
    descriptor: np.ndarray

    @property
    def side_px(self) -> float:
        """The shorter side of its box."""
        return min(self.box.width, self.box.height)

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Face:
        """What `as_json` gave; descriptors are rounded to 16 bits by it."""
        half = np.frombuffer(base64.b64decode(told["descriptor"], validate=True), np.float16)
        points = np.asarray(told["landmarks"], np.float64).reshape(5, 2)
        box, row = Box(*told["box"]), half.astype(np.float32)
        return cls(box, told["score"], points, told["sharpness"], row)

    def as_json(self) -> dict[str, Any]:
        """As an item holds it; descriptors as base64 of 16-bit floats."""
        half = self.descriptor.astype(np.float16).tobytes()
        return {
            "box": [round(float(side), 2) for side in self.box.xyxy],
            "score": round(float(self.score), 4),
            "landmarks": np.round(self.landmarks, 2).tolist(),
            "sharpness": round(self.sharpness, 2),
            "descriptor": base64.b64encode(half).decode(),
        }


def look(eyes: FaceEyes, picture: np.ndarray, least: int = 0) -> list[Face]:
    """The faces of a picture (H, W, 3) uint8, surest first."""
    found, descriptors = eyes.faces(picture, least)
    faces = []
    for one, row in zip(found, descriptors.cpu().numpy(), strict=True):
        assert one.landmarks is not None
        crop = _resized(picture, one.box)
        faces.append(Face(one.box, one.score, one.landmarks, sharpness(crop), row))
    return faces


def faces_of(item: Item) -> list[Face]:
    """The faces that an item tells of.

    Raises:
        DataError: it tells of none, or they are no faces.
    """
    try:
        return [Face.of_json(told) for told in item.data["faces"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{item.id}: tells of no faces ({error!r}); look for them first") from error


def descriptors_of(faces: Sequence[Face]) -> Tensor:
    """(N, D) float32."""
    return torch.from_numpy(np.stack([face.descriptor for face in faces]))


def face_eyes(name: str) -> FaceEyes:
    """Eyes by name, as ``--faces`` takes them.

    Raises:
        RequestError: an unknown name.
        WeightsError: their weights are missing.
    """
    eyes = build_witnesses(EyesChoice(faces=name, cache=None), ("person",))["person"].eyes
    assert isinstance(eyes, PeopleEyes)
    return eyes.faces


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Every face of every picture; pictures with too few or too many people go no further.

    Attributes:
        eyes: as ``--faces`` takes them.
        least, most: people in a picture that is of use.
        least_px: a smaller face (the shorter side of its box) cannot be known, and counts as
            somebody who is there all the same: such a picture is dropped. None here and below:
            what was measured of these eyes (`thresholds`).
        least_sharp: a less sharp one likewise.
    """

    eyes: str = "dlib"
    least: int = 1
    most: int = 8
    least_px: float | None = None
    least_sharp: float | None = None
    name: str = "faces"

    @property
    def limits(self) -> Thresholds:
        """Those of the eyes, with what was asked for over them."""
        return thresholds(self.eyes).over(least_px=self.least_px, least_sharp=self.least_sharp)

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        told, limits = {**vars(self)}, self.limits
        del told["name"]
        return {**told, "least_px": limits.least_px, "least_sharp": limits.least_sharp}

    def models(self) -> Mapping[str, str]:
        """See `Step`."""
        return face_models(self.eyes)

    def build(self) -> FaceEyes:
        """See `Step`."""
        return face_eyes(self.eyes)

    def work(self, state: FaceEyes, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        made: list[Item] = []
        lost: list[Lost] = []
        for item in items:
            faces = look(state, files.picture(item), self.least)
            verdict = self.verdict(item, faces)
            if verdict is not None:
                lost.append(verdict)
                continue
            data = {**item.data, "faces": [face.as_json() for face in faces]}
            made.append(item.child(item.id, self.name, data=data))
        return Made(tuple(made), tuple(lost))

    def verdict(self, item: Item, faces: Sequence[Face]) -> Lost | None:
        """Why a picture with these faces goes no further; None: it does."""
        if len(faces) < self.least:
            return Lost(item.id, f"fewer than {self.least} people", detail=str(len(faces)))
        if len(faces) > self.most:
            return Lost(item.id, f"more than {self.most} people", detail=str(len(faces)))
        limits = self.limits
        smallest = min((face.side_px for face in faces), default=limits.least_px)
        if smallest < limits.least_px:
            return Lost(item.id, "a face is too small", detail=f"{smallest:.0f} px")
        dullest = min((face.sharpness for face in faces), default=limits.least_sharp)
        if dullest < limits.least_sharp:
            return Lost(item.id, "a face is not sharp", detail=f"{dullest:.1f}")
        return None


def _resized(picture: np.ndarray, box: Box) -> np.ndarray:
    """The box, at one size, so that sharpness can be compared."""
    inside = box.clipped(picture.shape[1], picture.shape[0])
    if inside is None or inside.width < 1 or inside.height < 1:
        return np.zeros((_CROP_PX, _CROP_PX, 3), np.uint8)
    region = Image.fromarray(picture).resize(
        (_CROP_PX, _CROP_PX), Image.Resampling.BILINEAR, box=inside.xyxy
    )
    return np.asarray(region)
