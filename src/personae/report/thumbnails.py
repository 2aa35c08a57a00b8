"""Small pictures for the page: their size follows from how many there are, so the file stays small.

Decoding and encoding leave the interpreter's lock, so threads use all cores without copying
pixels between processes; only a short window of pictures is held at a time.
"""

from __future__ import annotations

import base64
import io
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

__all__ = [
    "Thumbnail",
    "ThumbnailSize",
    "encode",
    "is_there",
    "make_thumbnail",
    "size_for",
    "thumbnails",
]

TOTAL_BYTES = 30_000_000
"""Raw bytes of all thumbnails together; base64 makes four bytes of three."""
MOST_PIXELS = 64_000_000
"""A picture above this is linked but not decoded, unless JPEG can be decoded small."""
QUALITIES = (12, 26, 42, 60, 78)


@dataclass(frozen=True)
class ThumbnailSize:
    """Longest side in pixels, the bytes that one thumbnail may take, and the qualities tried."""

    side: int
    max_bytes: int
    qualities: tuple[int, ...] = field(default=QUALITIES, repr=False)


@dataclass(frozen=True)
class Thumbnail:
    """A WebP as base64, or None and the reason."""

    data: str | None
    reason: str | None = None


def size_for(count: int) -> ThumbnailSize:
    """Size that keeps ``count`` thumbnails within the page's budget, at 0.11 bytes a pixel.

    >>> size_for(10), size_for(20_000)
    (ThumbnailSize(side=512, max_bytes=40000), ThumbnailSize(side=117, max_bytes=1500))
    """
    max_bytes = min(max(TOTAL_BYTES // max(count, 1), 700), 40_000)
    side = round((max_bytes / 0.11) ** 0.5)
    return ThumbnailSize(min(max(side, 96), 512), max_bytes)


def make_thumbnail(path: Path | None, size: ThumbnailSize) -> Thumbnail:
    """One thumbnail of a picture file, upright by EXIF, on white; never raises on a bad file."""
    if path is None or not is_there(path):
        return Thumbnail(None, "picture not found")
    try:
        with Image.open(path) as image:
            image.draft("RGB", (size.side, size.side))
            if image.width * image.height > MOST_PIXELS:
                return Thumbnail(None, f"too large to show here ({image.width} x {image.height})")
            small = _small(image, size.side)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return Thumbnail(None, "picture could not be read")
    return Thumbnail(encode(small, size))


def encode(image: Image.Image, size: ThumbnailSize) -> str:
    """An RGB picture, scaled down where it is larger, as a WebP in base64; nothing else is kept."""
    if max(image.size) > size.side:
        image = _small(image, size.side)
    return base64.b64encode(_encode(image, size)).decode("ascii")


def is_there(path: Path) -> bool:
    """Whether this is a file that can be looked up; a forbidden or overlong path is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def thumbnails(jobs: Iterable[tuple[Path | None, ThumbnailSize]]) -> Iterator[Thumbnail]:
    """Thumbnails in the order of the jobs, made by as many threads as there are cores."""
    workers = max(1, min(os.cpu_count() or 1, 16))
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        window: deque[Future[Thumbnail]] = deque()
        for path, size in jobs:
            window.append(pool.submit(make_thumbnail, path, size))
            if len(window) > 4 * workers:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()


def _small(image: Image.Image, side: int) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    # Palette and bilevel pictures cannot be resampled; alpha needs its white ground first.
    if image.mode in ("P", "PA", "LA", "1") or "transparency" in image.info:
        image = image.convert("RGBA")
    image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGBA":
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def _encode(image: Image.Image, size: ThumbnailSize) -> bytes:
    """The best quality that fits the bytes, found by bisection; a smaller picture if none does."""
    low, high, best = 0, len(size.qualities) - 1, b""
    while low <= high:
        middle = (low + high) // 2
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=size.qualities[middle], method=2)
        if buffer.tell() <= size.max_bytes:
            low, best = middle + 1, buffer.getvalue()
        else:
            high = middle - 1
    if not best and min(image.size) >= 16:
        return _encode(image.reduce(2), size)
    return best or buffer.getvalue()
