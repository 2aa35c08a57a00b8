"""Writing photos and masks into other layouts: upright, and byte for byte where that can be."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from personae.errors import DataError
from personae.subjects.picture import read_mask, read_picture
from personae.subjects.subject import ReferenceFile

__all__ = ["encoded_mask", "folder_name", "image_bytes", "mask_bytes", "reference_mask"]

_KEPT = {"JPEG": ".jpg", "PNG": ".png"}
_ORIENTATION = 274


def folder_name(subject: str) -> str:
    """A subject's id as the name of a folder.

    Raises:
        DataError: it cannot be one.
    """
    if "/" in subject or "\\" in subject or subject in {".", ".."}:
        raise DataError(
            f"subject {subject!r} cannot name a folder; give it an id without a slash in cast.jsonl"
        )
    return subject


def image_bytes(path: Path) -> tuple[str, bytes]:
    """A photo's suffix and content: as it is where it is upright 8-bit RGB, else as a PNG.

    The content decides, not the name: PNG bytes in a file called .jpg become a .png.

    Raises:
        DataError: see `read_picture`.
    """
    pixels = read_picture(path)
    content = path.read_bytes()
    with Image.open(BytesIO(content)) as image:
        plain = image.mode == "RGB" and image.getexif().get(_ORIENTATION, 1) == 1
        plain = plain and not image.has_transparency_data and getattr(image, "n_frames", 1) == 1
        if plain and image.format in _KEPT:
            return _KEPT[image.format], content
    return ".png", _png(Image.fromarray(pixels))


def reference_mask(file: ReferenceFile) -> np.ndarray | None:
    """A reference's mask (H, W) bool, checked against its photo; None where there is none."""
    if file.mask is None:
        return None
    return read_mask(file.mask, read_picture(file.image).shape[:2])


def mask_bytes(file: ReferenceFile) -> bytes:
    """A reference's mask as a PNG of 0 and 255."""
    mask = reference_mask(file)
    if mask is None:
        raise DataError(f"{file.image}: has no mask; run `personae prepare` first")
    return encoded_mask(mask)


def encoded_mask(mask: np.ndarray) -> bytes:
    """A mask (H, W) bool as an 8-bit PNG, 255 on the subject."""
    return _png(Image.fromarray(mask.astype(np.uint8) * 255))


def _png(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
