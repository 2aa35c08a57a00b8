"""Building blocks of the toon eyes' networks: small, and quick on a CPU."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Attention", "Bottleneck", "Residual", "channels_last", "conv_norm", "num_parameters"]


Net = TypeVar("Net", bound=nn.Module)


def conv_norm(wide_in: int, wide_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalization, ReLU; same size over ``stride``."""
    conv = nn.Conv2d(wide_in, wide_out, kernel, stride, (kernel - 1) // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(wide_out), nn.ReLU(inplace=True))


def channels_last(network: Net) -> Net:
    """The same network with its filters laid out so that convolutions on a CPU are quick."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def num_parameters(network: nn.Module) -> int:
    """How many numbers a network learns.

    >>> num_parameters(nn.Linear(3, 2))
    8
    """
    return sum(item.numel() for item in network.parameters())


class Residual(nn.Module):
    """x + f(x) with two 3x3 convolutions (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv_norm(width, width)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same shape."""
        return F.relu(x + self.second(self.first(x)))


class Bottleneck(nn.Module):
    """x + f(x): a 5x5 filter a channel, then twice the channels and back.

    After ConvNeXt (Liu et al. 2022, arXiv 2201.03545), with batch normalization.
    """

    def __init__(self, width: int, kernel: int = 5) -> None:
        super().__init__()
        self.spread = nn.Conv2d(width, width, kernel, 1, kernel // 2, groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.wide = nn.Conv2d(width, 2 * width, 1)
        self.narrow = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same shape."""
        y: Tensor = self.narrow(F.gelu(self.wide(self.norm(self.spread(x)))))
        return x + y


class Attention(nn.Module):
    """One pre-norm transformer layer (Dosovitskiy et al. 2021, arXiv 2010.11929)."""

    def __init__(self, width: int, heads: int, wider: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.mixed = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_alone = nn.LayerNorm(width)
        self.alone = nn.Sequential(
            nn.Linear(width, wider * width), nn.GELU(), nn.Linear(wider * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, width) -> the same shape."""
        batch, length, width = x.shape
        mixed = self.mixed(self.norm(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        y: Tensor = x + self.alone(self.norm_alone(x))
        return y
