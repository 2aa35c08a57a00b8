"""Photos from outside: bytes, arrays and Pillow's pictures, checked before they are looked at."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from personae.errors import DataError
from personae.subjects.picture import MIN_SIDE_PX, to_rgb
from personae.subjects.subject import Reference

__all__ = ["Photo", "Picture", "check_size", "decode_picture", "to_pixels", "to_reference"]

Picture = np.ndarray | Image.Image | Tensor
"""(H, W, 3) uint8, or Pillow's, or a tensor (3, H, W): float in [0, 1], or uint8."""

Photo = np.ndarray | Image.Image | Reference
"""(H, W, 3) uint8, or Pillow's, or a reference as it is."""

_FORMATS = ("PNG", "JPEG")
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# What Pillow's readers are known to raise on damaged files.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError, TypeError)


def decode_picture(content: bytes, where: str, max_pixels: int) -> np.ndarray:
    """The bytes of a PNG or JPEG file as (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: not such a file, damaged, or of a size that is not allowed; the size is checked
            before anything is decoded.
    """
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            check_size(image.width, image.height, where, max_pixels)
            image.load()
            return np.asarray(to_rgb(ImageOps.exif_transpose(image)))
    except _BOMBS:
        raise DataError(f"{where}: more than {max_pixels} pixels; scale it down") from None
    except UnidentifiedImageError:
        raise DataError(f"{where}: expected the bytes of a PNG or JPEG file") from None
    except _DAMAGE as error:
        raise DataError(f"{where}: truncated or damaged ({type(error).__name__})") from error


def check_size(width: int, height: int, where: str, max_pixels: int) -> None:
    """Is a picture of this size to be looked at?

    Raises:
        DataError: a side is too short, or there are more than ``max_pixels`` pixels.
    """
    if min(width, height) < MIN_SIDE_PX:
        raise DataError(f"{where}: {width}x{height}; expected at least {MIN_SIDE_PX} pixels a side")
    if width * height > max_pixels:
        raise DataError(
            f"{where}: {width}x{height}; expected at most {max_pixels} pixels; scale it down"
        )


def to_pixels(picture: Picture, where: str) -> Tensor:
    """A picture as (3, H, W), float as it came, or uint8.

    >>> to_pixels(np.zeros((4, 5, 3), np.uint8), "picture 0").shape
    torch.Size([3, 4, 5])
    """
    if isinstance(picture, Image.Image):
        picture = np.asarray(to_rgb(picture))
    if isinstance(picture, Tensor):
        good = picture.ndim == 3 and picture.shape[0] == 3
        if good and (picture.is_floating_point() or picture.dtype == torch.uint8):
            return picture
    elif picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8:
        return torch.tensor(picture).permute(2, 0, 1)
    raise DataError(
        f"{where}: expected an array (H, W, 3) uint8, or a tensor (3, H, W), float in [0, 1] or "
        f"uint8; got {tuple(picture.shape)} {picture.dtype}"
    )


def to_reference(photo: Photo, where: str) -> Reference:
    """A photo as a reference; ``where`` names it in messages.

    Raises:
        DataError: an array that is not (H, W, 3) uint8.
    """
    if isinstance(photo, Reference):
        return photo
    image = np.asarray(to_rgb(photo)) if isinstance(photo, Image.Image) else photo
    return Reference(image, path=where)
