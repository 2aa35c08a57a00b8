"""Damage: what a drawn picture does to a clean rendering, made at random for the eyes to learn."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from personae.vision.embedders.crops import image_tensor

__all__ = ["blurred", "compressed", "damaged", "softened"]

_SIGMAS = (0.5, 0.8, 1.1, 1.4)


def _kernel(sigma: float) -> Tensor:
    reach = max(1, round(2.5 * sigma))
    steps = torch.arange(-reach, reach + 1).float()
    weights = torch.exp(-((steps / sigma) ** 2) / 2)
    return weights / weights.sum()


def blurred(images: Tensor, sigma: float) -> Tensor:
    """(B, 3, H, W) blurred by a Gaussian of ``sigma`` pixels; edges are mirrored.

    >>> round(float(blurred(torch.ones(1, 3, 8, 8), 1.0).min()), 4)
    1.0
    """
    line = _kernel(sigma)
    reach, channels = len(line) // 2, images.shape[1]
    x = F.pad(images, (reach,) * 4, mode="reflect")
    x = F.conv2d(x, line.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(x, line.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def softened(images: Tensor, factor: float, noise: Tensor) -> Tensor:
    """(B, 3, H, W) made ``factor`` times smaller, disturbed there, and large again.

    As an autoencoder does: fine lines go, and soft stains as large as its cells come. ``noise``
    (B, 3, H, W) is how strong they are, in [0, 1] of brightness.
    """
    size = images.shape[-2:]
    small = [max(4, round(side / factor)) for side in size]
    shrunk = F.interpolate(images, small, mode="bilinear", antialias=True, align_corners=False)
    stains = F.interpolate(noise, small, mode="bilinear", align_corners=False)
    return F.interpolate(shrunk + stains, list(size), mode="bicubic", align_corners=False)


def compressed(image: Tensor, quality: int) -> Tensor:
    """(3, H, W) in [0, 1] saved as JPEG of this quality and read again."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=quality)
    return image_tensor(np.asarray(Image.open(stream)))


def damaged(images: Tensor, rng: np.random.Generator, share: float = 0.6) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> the same, ``share`` of the pictures damaged, each in its own way.

    Colors: gain 0.93 to 1.07 a channel and an offset. Form: a blur, a smaller picture made large
    again with stains, or JPEG. Grain: noise of up to 0.05.
    """
    batch = images.shape[0]
    gain = torch.from_numpy(rng.uniform(0.93, 1.07, (batch, 3, 1, 1))).float()
    offset = torch.from_numpy(rng.uniform(-0.04, 0.04, (batch, 3, 1, 1))).float()
    grain = torch.from_numpy(rng.standard_normal(images.shape, dtype=np.float32))
    level = torch.from_numpy(rng.uniform(0, 0.05, (batch, 1, 1, 1))).float()
    chosen = torch.from_numpy(rng.random((batch, 1, 1, 1)) < share)
    formed = _by_form(images, grain, rng)
    return torch.where(chosen, formed * gain + offset + grain * level, images).clamp(0, 1)


def _by_form(images: Tensor, grain: Tensor, rng: np.random.Generator) -> Tensor:
    """Each picture by one of a few forms of damage, those of the same form together."""
    forms: list[Callable[[Tensor, Tensor], Tensor]] = [
        *(lambda x, _, s=s: blurred(x, s) for s in _SIGMAS),
        *(lambda x, n, f=f: softened(x, f, 0.05 * n) for f in rng.uniform(1.2, 2.6, 3)),
        lambda x, _: torch.stack([compressed(item, int(rng.integers(25, 90))) for item in x]),
        lambda x, _: x,
    ]
    drawn = rng.integers(len(forms), size=images.shape[0])
    made = images.clone()
    for index, form in enumerate(forms):
        here = torch.from_numpy(np.flatnonzero(drawn == index))
        if len(here):
            made[here] = form(images[here], grain[here])
    return made
