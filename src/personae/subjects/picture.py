"""Reading pictures: whatever a folder holds, out comes RGB, or an error that says why not."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from personae.errors import DataError

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE_PX",
    "SUFFIXES",
    "decode_picture",
    "read_mask",
    "read_picture",
    "to_rgb",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_PIXELS = 64_000_000
MIN_SIDE_PX = 16
_TOO_LARGE = f"more than {MAX_PIXELS // 1_000_000} million pixels; scale it down"
# A mask is soft at its edges when it was stored as JPEG; the middle splits it (MuDI's code uses
# 122 in one place and 128 in another).
_MASK_THRESHOLD = 128


def read_picture(path: Path) -> np.ndarray:
    """Read a picture file: (H, W, 3) uint8 RGB, upright.

    EXIF rotation is applied, transparency is laid on white, grey, palette, CMYK and 16-bit
    pictures become 8-bit RGB; of an animation the first frame counts.

    Raises:
        DataError: no such file, empty, truncated, not a picture, smaller than ``MIN_SIDE_PX`` on
            a side, or larger than ``MAX_PIXELS`` (checked before anything is decoded).
    """
    return decode_picture(_content(path), path)


def decode_picture(content: bytes, name: str | Path) -> np.ndarray:
    """A picture file's content as `read_picture` reads it; errors call it ``name``.

    Raises:
        DataError: as `read_picture`.
    """
    with _opened(content, name) as image:
        _check_size(name, image)
        return np.asarray(to_rgb(_decoded(name, image)))


def read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a mask file: (H, W) bool, True where the subject is; ``shape`` is the photo's.

    A picture with an alpha channel that is not opaque counts by its alpha, else by its brightness.

    Raises:
        DataError: as `read_picture`, or the size is not the photo's.
    """
    with _opened(_content(path), path) as image:
        _check_size(path, image)
        upright = _decoded(path, image)
        alpha = upright.getchannel("A") if "A" in upright.getbands() else None
        soft_alpha = alpha is not None and alpha.getextrema() != (255, 255)
        grey = alpha if alpha is not None and soft_alpha else to_rgb(upright).convert("L")
        mask = np.asarray(grey) >= _MASK_THRESHOLD
    if mask.shape != shape:
        raise DataError(
            f"{path}: mask is {mask.shape[1]}x{mask.shape[0]}, its photo {shape[1]}x{shape[0]}; "
            "make the mask again from this very photo, or remove it"
        )
    return mask


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow picture as 8-bit RGB; transparency is laid on white."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return _high_depth(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _high_depth(image: Image.Image) -> Image.Image:
    """16-bit or float grey to 8 bits: by 257 where the range is 16-bit, else as it is."""
    values = np.asarray(image).astype(np.float64)
    top = values.max(initial=0.0)
    scale = 1.0 / 257.0 if image.mode.startswith("I;16") or top > 255 else 1.0
    scale = 255.0 if image.mode == "F" and top <= 1.0 else scale
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _opened(content: bytes, path: str | Path) -> Image.Image:
    if not content:
        raise DataError(f"{path}: the file is empty (0 bytes); write the picture again")
    try:
        with warnings.catch_warnings():
            # Pillow warns from half of its own limit; ours is lower and is an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(BytesIO(content))
    except UnidentifiedImageError:
        raise DataError(
            f"{path}: not a picture that can be read; expected PNG, JPEG or WebP"
        ) from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: {_TOO_LARGE}") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be opened as a picture ({error})") from error


def _check_size(path: str | Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{path}: {width}x{height}, {_TOO_LARGE}")
    if min(width, height) < MIN_SIDE_PX:
        raise DataError(
            f"{path}: {width}x{height} is too small to look at; "
            f"expected at least {MIN_SIDE_PX} pixels a side"
        )


def _decoded(path: str | Path, image: Image.Image) -> Image.Image:
    try:
        image.seek(0)
        image.load()
        return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise DataError(f"{path}: truncated or damaged ({error}); write it again") from error
