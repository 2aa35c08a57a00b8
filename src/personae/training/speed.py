"""How fast a device computes what a denoiser is made of."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["block_flops", "measured_speed"]

_RATIO = 3  # width of the feed-forward layers over that of the block
_LONG_SECONDS, _LEAST_RUNS = 0.2, 3
# So that measuring takes a fraction of a second.
_MOST_FLOPS = {"cpu": 5e9, "cuda": 5e12}


def measured_speed(
    device: torch.device, dtype: torch.dtype, tokens: int, width: int, heads: int, batch: int = 1
) -> float:
    """Operations a second of one transformer block of this width, at best.

    A block is measured rather than a product of matrices, since what stands between the products
    (norms, gates, attention) takes most of the time of a small model: on one core of a server,
    blocks of width 128 reached 35e9 operations a second and products alone 120e9.

    Args:
        device: where.
        dtype: in what.
        tokens: of one picture; fewer are taken where it would last too long.
        width: of the model.
        heads: of its attention.
        batch: pictures at once.
    """
    most = _MOST_FLOPS.get(device.type, _MOST_FLOPS["cpu"])
    while batch > 1 and batch * block_flops(tokens, width) > most:
        batch //= 2
    while tokens > 64 and batch * block_flops(tokens, width) > most:
        tokens //= 2
    block = _Block(device, dtype, width, heads)
    x = torch.ones(batch, tokens, width, device=device, dtype=dtype)
    best, runs, began = float("inf"), 0, time.perf_counter()
    while runs < _LEAST_RUNS or time.perf_counter() - began < _LONG_SECONDS:
        best, runs = min(best, block.seconds(x)), runs + 1
    return batch * block_flops(tokens, width) / max(best, 1e-9)


def block_flops(tokens: int, width: int) -> float:
    """Operations of one block: its products, and attention over all tokens.

    >>> block_flops(1, 1)
    30.0
    """
    inner = _RATIO * width
    products = (
        2.0 * tokens * width * (3 * width + 2 * inner) + 2.0 * tokens * (width + inner) * width
    )
    return products + 4.0 * tokens**2 * width


class _Block:
    """A block with attention and a gated feed-forward layer side by side, as FLUX.2 has them."""

    def __init__(self, device: torch.device, dtype: torch.dtype, width: int, heads: int) -> None:
        self.width, self.heads, self.inner = width, heads, _RATIO * width
        shapes = ((3 * width + 2 * self.inner, width), (width, width + self.inner))
        self.first, self.last = (
            torch.full(shape, width**-0.5, device=device, dtype=dtype) for shape in shapes
        )

    @torch.no_grad()
    def seconds(self, x: Tensor) -> float:
        """Of one pass."""
        started = time.perf_counter()
        self._forward(x)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        return time.perf_counter() - started

    def _forward(self, x: Tensor) -> Tensor:
        width, inner = self.width, self.inner
        seen = F.linear(F.layer_norm(x, (width,)) * 1.1 + 0.1, self.first)
        *attended, gate, up = torch.split(seen, [width] * 3 + [inner] * 2, dim=-1)
        query, key, value = (
            part.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2) for part in attended
        )
        query, key = (F.rms_norm(part, part.shape[-1:]) for part in (query, key))
        query, key = (part.float() + part.float().flip(-1) for part in (query, key))
        given = (query.to(x.dtype), key.to(x.dtype))
        attention = F.scaled_dot_product_attention(*given, value).transpose(1, 2).flatten(2)
        return x + 0.5 * F.linear(torch.cat([attention, F.silu(gate) * up], -1), self.last)
