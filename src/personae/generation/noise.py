"""Initial latents: a picture's own noise, and MuDI's noise with a shifted mean."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["latent_mask", "mean_shifted", "picture_generator", "picture_seed", "plain_noise"]


def picture_seed(scene_id: str, seed: int, candidate: int = 0, use: str = "noise") -> int:
    """What a picture's randomness is seeded with, in [0, 2**63): a hash of scene and seed.

    It depends on nothing else: not on batch, order, worker or device. ``candidate`` counts the
    pictures drawn for one seed, of which the best is kept; ``use`` keeps apart what one picture
    needs randomness for.

    >>> picture_seed("pool", 0) == picture_seed("pool", 0) != picture_seed("pool", 1)
    True
    """
    text = "\0".join([use, scene_id, str(seed), str(candidate)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def picture_generator(scene_id: str, seed: int, candidate: int = 0) -> torch.Generator:
    """A picture's own generator, on the CPU, so that every device gets the same noise."""
    return torch.Generator("cpu").manual_seed(picture_seed(scene_id, seed, candidate))


def plain_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Standard normal noise of this shape, float32 on the CPU."""
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32)


def latent_mask(mask: np.ndarray, height: int, width: int) -> Tensor:
    """A mask (H, W) bool as (height, width) float32 in [0, 1]: covered share of each latent cell.

    >>> latent_mask(np.array([[1, 1, 0, 0]], bool), 1, 2).tolist()
    [[1.0, 0.0]]
    """
    full = torch.from_numpy(mask.astype(np.float32))[None, None]
    return F.interpolate(full, size=(height, width), mode="area")[0, 0]


def mean_shifted(noise: Tensor, clean: Tensor, mask: Tensor, gamma: float) -> Tensor:
    r"""MuDI's initial latents (arXiv 2404.04243, Sec. 4.2): noise whose mean shows who stands where.

    .. math:: z_T = \gamma \, (E(x_{init}) \odot \mathrm{resize}(M)) + \epsilon

    ``noise`` :math:`\epsilon` and ``clean`` E(x_init) are (..., C, h, w), ``mask`` (h, w) in
    [0, 1]; outside the mask, and with ``gamma`` 0, the noise stays as it is. Sampling starts at
    the full T: a shift of the mean, not an image-to-image start. E(x_init) are latents as the
    network sees them (normalized). The paper's values of gamma are not published.

    >>> shifted = mean_shifted(torch.zeros(1, 1, 2), torch.ones(1, 1, 2), torch.tensor([[1, 0]]), 0.5)
    >>> shifted.tolist()
    [[[0.5, 0.0]]]
    """  # noqa: E501 - one call a line
    shift = gamma * clean.to(noise) * mask.to(noise)
    return noise + shift
