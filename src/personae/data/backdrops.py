"""What is behind: pictures of a folder with their words, and cropping to a canvas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from personae.data.seg_mix import Backdrop
from personae.errors import DataError
from personae.subjects.manifest import json_lines
from personae.subjects.picture import SUFFIXES, read_picture

__all__ = ["covering", "cropped", "cropped_at_random", "read_backdrops"]

_SEED = 0xCA57


def read_backdrops(folder: Path, size: tuple[int, int]) -> list[Backdrop]:
    """The pictures of a folder as backdrops of one size, in the order of their names.

    Raises:
        DataError: a bad line in metadata.jsonl, or a picture that cannot be read.
    """
    listed = folder / "metadata.jsonl"
    words: dict[str, str] = {}
    for number, line in json_lines(listed) if listed.is_file() else ():
        if isinstance(line, DataError):
            raise line
        if not isinstance(line, dict) or not {"file_name", "text"} <= set(line):
            raise DataError(f"{listed}:{number}: expected keys file_name and text; got {line!r}")
        words[str(line["file_name"])] = str(line["text"])
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    rng = np.random.default_rng(_SEED)
    return [
        Backdrop(cropped(read_picture(path), size, rng), words.get(path.name, "")) for path in paths
    ]


def cropped(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Scaled to cover the canvas, cropped at random where it is longer."""
    return cropped_at_random(covering(image, size), size, rng)


def covering(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scaled so that it just covers the canvas of (width, height).

    >>> covering(np.zeros((300, 100, 3), np.uint8), (50, 50)).shape
    (150, 50, 3)
    """
    width, height = size
    scale = max(width / image.shape[1], height / image.shape[0])
    sides = (
        max(round(image.shape[1] * scale), width),
        max(round(image.shape[0] * scale), height),
    )
    return np.asarray(Image.fromarray(image).resize(sides, Image.Resampling.BILINEAR))


def cropped_at_random(
    image: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """A part as large as the canvas."""
    width, height = size
    left = int(rng.integers(image.shape[1] - width + 1))
    top = int(rng.integers(image.shape[0] - height + 1))
    return image[top : top + height, left : left + width].copy()
