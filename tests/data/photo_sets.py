"""Small photo folders for tests: things on clouds, with their true masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from personae.subjects.subject import ReferenceFile, Subject

__all__ = ["TINY", "picture", "small_cast", "thing"]

TINY = (48, 40)


def picture(seed: int, size: tuple[int, int] = TINY) -> np.ndarray:
    """(H, W, 3) uint8 clouds."""
    clouds = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(clouds).resize(size, Image.Resampling.BICUBIC))


def thing(seed: int, size: tuple[int, int] = TINY) -> tuple[np.ndarray, np.ndarray]:
    """Clouds with a speckled disc, and its mask (H, W) bool."""
    width, height = size
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    center = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.6)
    mask = np.hypot((x - center[0]) / width, (y - center[1]) / height) < 0.3
    speckles = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.where(mask[..., None], speckles, picture(seed, size)), mask


def small_cast(folder: Path) -> list[Subject]:
    """Two subjects of two photos each, with masks, captions, tokens and a licence."""
    subjects = []
    for index, (name, noun, token) in enumerate(
        [("grüne Kanne", "green can", "olis"), ("robot", "white robot toy", "hta")]
    ):
        files = []
        for number in range(2):
            image, mask = thing(10 * index + number)
            stem = folder / name / f"{number:02d}"
            stem.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(stem.with_suffix(".png"))
            Image.fromarray(mask).save(stem.with_suffix(".mask.png"))
            said = {"license": "CC0-1.0", "source": "drawn"} if number else {}
            files.append(
                ReferenceFile(
                    stem.with_suffix(".png"),
                    stem.with_suffix(".mask.png"),
                    f"{{{name}}} on clouds, number {number}",
                    **said,
                )
            )
        subjects.append(Subject(name, noun, "object", tuple(files), token=token))
    return subjects
