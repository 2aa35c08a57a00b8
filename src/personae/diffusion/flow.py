"""Flow matching on straight lines: what every family of rectified flows shares.

Liu et al., Flow Straight and Fast (2022); Lipman et al., Flow Matching (2022). Time t runs from
0 (picture) to 1 (noise), as in FLUX.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["flow_estimate", "flow_follow", "flow_mix", "flow_target"]


def flow_mix(clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    r"""The point at time t on the line from picture to noise, (B, C, h, w).

    .. math:: x_t = (1 - t) x_0 + t \epsilon

    >>> import torch
    >>> flow_mix(torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([0.25])).item()
    0.25
    """
    t = _beside(time, clean)
    return (1 - t) * clean + t * noise


def flow_target(clean: Tensor, noise: Tensor) -> Tensor:
    r"""The velocity along that line, the same at all times: :math:`v = \epsilon - x_0`."""
    return noise - clean


def flow_estimate(x: Tensor, velocity: Tensor, time: Tensor) -> Tensor:
    r"""The picture that a velocity at :math:`x_t` points back to: :math:`\hat x_0 = x_t - t v`.

    >>> import torch
    >>> x, v, t = torch.tensor([[0.25]]), torch.tensor([[1.0]]), torch.tensor([0.25])
    >>> flow_estimate(x, v, t).item()
    0.0
    """
    return x - _beside(time, x) * velocity


def flow_follow(x: Tensor, velocity: Tensor, here: Tensor, there: Tensor) -> Tensor:
    r"""Euler's step along the line: :math:`x_{t'} = x_t + (t' - t) v`."""
    return x + _beside(there - here, x) * velocity


def _beside(time: Tensor, x: Tensor) -> Tensor:
    """Time (B,) shaped to multiply x (B, ...)."""
    return time.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
