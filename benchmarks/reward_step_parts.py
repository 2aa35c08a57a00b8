"""What `reward_step` measures with: pictures, and eyes that always find two faces in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from personae.metrics.eyes import PeopleEyes
from personae.subjects.box import Box
from personae.training.rewards.matching import MatchingReward
from personae.training.rewards.recipe import RewardsRecipe
from personae.training.rewards.sight import Sight
from personae.vision.faces import DlibFaceDetector, DlibFaceEmbedder, FaceEyes
from personae.vision.protocols import Detection, FaceDetector
from personae.vision.toons import ToonFaceDetector, ToonFaceEmbedder

__all__ = ["TwoFaces", "make_reward", "random_examples"]


class TwoFaces:
    """A detector that looks, and then says two fixed places."""

    def __init__(self, inner: FaceDetector, points: np.ndarray) -> None:
        self.name, self._inner, self._points = inner.name, inner, points

    def detect(self, image: np.ndarray, expected: int = 0) -> list[Detection]:
        self._inner.detect(image, expected)
        side = min(image.shape[:2]) / 2
        lefts = (0.0, image.shape[1] - side)[: max(1, expected)]
        box = [Box(left, 0, left + side, side) for left in lefts]
        spots = [self._points * side + (left, 0) for left in lefts]
        pairs = zip(box, spots, strict=True)
        return [Detection(one, 1.0, landmarks=spot) for one, spot in pairs]


def make_reward(faces: str, device: torch.device) -> MatchingReward:
    embedder = ToonFaceEmbedder(device) if faces == "toons" else DlibFaceEmbedder(device)
    detector = ToonFaceDetector() if faces == "toons" else DlibFaceDetector()
    points = embedder.template.points / embedder.side_px
    eyes = PeopleEyes(FaceEyes(TwoFaces(detector, points), embedder))
    return MatchingReward("strict_matching", [Sight(eyes)], RewardsRecipe(faces=faces))


def random_examples(folder: Path, resolution: int, count: int) -> Path:
    """A file of random pictures, each with two references."""
    path = folder / "examples.jsonl"
    if path.is_file():
        return path
    folder.mkdir()
    rng, lines = np.random.default_rng(0), []
    for number in range(count):
        files = {f"{number}.png": resolution, f"{number}a.png": 512, f"{number}b.png": 512}
        for name, side in files.items():
            pixels = rng.integers(0, 255, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name)
        image, *references = files
        line = {"id": str(number), "image": image, "references": references}
        lines.append(json.dumps({**line, "prompt": f"a girl and a man in park {number}"}))
    path.write_text("\n".join(lines) + "\n")
    return path
