"""What is quickly seen of a picture: its perceptual hash, and how sharp it is."""

from __future__ import annotations

import numpy as np
import scipy.fft
from PIL import Image

__all__ = ["HASH_BITS", "hash_distance", "perceptual_hash", "sharpness"]

_SIDE_PX, _KEPT = 32, 8
HASH_BITS = _KEPT * _KEPT


def perceptual_hash(image: np.ndarray) -> str:
    """PHash of a picture (H, W, 3) uint8: 16 hex digits, near ones for pictures that look alike.

    The 8 x 8 lowest frequencies of the discrete cosine transform of the picture in gray at 32 x 32,
    each above the median of them (the mean left out) or not.

    Source: Zauner, Implementation and benchmarking of perceptual image hash functions (2010).

    >>> perceptual_hash(np.zeros((40, 40, 3), np.uint8))
    '0000000000000000'
    """
    gray = Image.fromarray(image).convert("L").resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)
    waves = scipy.fft.dctn(np.asarray(gray, np.float64))[:_KEPT, :_KEPT].ravel()
    bits = waves > np.median(waves[1:])
    bits[0] = False  # the mean brightness says nothing of what is seen
    number = int("".join("1" if bit else "0" for bit in bits), 2)
    return f"{number:016x}"


def hash_distance(first: str, second: str) -> int:
    """In how many of 64 bits two hashes differ: unrelated pictures in about half.

    >>> hash_distance("00000000000000ff", "00000000000000f0")
    4
    """
    return (int(first, 16) ^ int(second, 16)).bit_count()


def sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian of a picture (H, W, 3) uint8 in gray, in levels squared; 0 is flat.

    It grows with resolution: crops are compared at one size.

    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (ICPR 2000).

    >>> sharpness(np.zeros((9, 9, 3), np.uint8))
    0.0
    """
    gray = np.asarray(Image.fromarray(image).convert("L"), np.float64)
    inner = gray[1:-1, 1:-1]
    edges = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * inner
    return float(edges.var()) if edges.size else 0.0
