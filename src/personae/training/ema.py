"""The running mean of the weights, which draws better than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from personae.training.sharding import cut_as, own_part

__all__ = ["Ema", "ema_decay"]


def ema_decay(step: int, decay: float) -> float:
    r"""The decay at a step (the first is 1): low at first, so that the start is forgotten.

    .. math:: \min(d, (1 + n) / (10 + n))

    >>> round(ema_decay(1, 0.999), 3), ema_decay(100_000, 0.999)
    (0.182, 0.999)
    """
    return min(decay, (1 + step) / (10 + step))


class Ema:
    r"""Shadows of parameters: :math:`\bar\theta \leftarrow d \bar\theta + (1 - d) \theta`.

    In float32 whatever the parameters are, since small steps would be lost in bfloat16.
    """

    def __init__(self, params: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.params = dict(params)
        self.shadow = {name: param.detach().float().clone() for name, param in params.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move toward the parameters after step ``step`` (the first is 1)."""
        values = [own_part(param.detach()).float() for param in self.params.values()]
        shadows = [own_part(shadow) for shadow in self.shadow.values()]
        torch._foreach_lerp_(shadows, values, 1 - ema_decay(step, self.decay))

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the shadows of a checkpoint."""
        for name, shadow in self.shadow.items():
            shadow.copy_(cut_as(tensors[name], shadow))

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Let the model have the mean's weights for a while."""
        own = {name: param.detach().clone() for name, param in self.params.items()}
        self._give(self.shadow)
        try:
            yield
        finally:
            self._give(own)

    @torch.no_grad()
    def _give(self, tensors: Mapping[str, Tensor]) -> None:
        for name, param in self.params.items():
            param.copy_(tensors[name])
