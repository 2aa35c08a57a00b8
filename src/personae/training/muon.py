"""Muon: momentum whose matrices are made orthogonal before they are stepped along."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["COEFFICIENTS", "Muon", "orthogonalize"]

# The quintic of Jordan et al. (2024): steep at 0, and it keeps singular values within 0.7 and 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    r"""The nearest orthogonal matrices, roughly: every singular value is driven near 1.

    .. math:: X \leftarrow a X + b (X X^\top) X + c (X X^\top)^2 X, \quad X_0 = G / \|G\|_F

    Every iterate is a polynomial of :math:`R = X_0 X_0^\top` times :math:`X_0`, so for a long
    matrix the polynomial is worked out on the small square R and X is multiplied once at the end:
    a 256 x 2304 matrix costs a quarter of the plain iteration. In float32 on a CPU, which has no
    fast bfloat16 on most machines.

    Args:
        matrices: (..., rows, columns), any scale.
        steps: iterations; 5 in the source.

    Source: Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon/.

    >>> torch.manual_seed(0) and None
    >>> values = torch.linalg.svdvals(orthogonalize(torch.randn(8, 32)))
    >>> bool(values.min() > 0.6), bool(values.max() < 1.3)
    (True, True)
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    wide = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    long = wide.shape[-1] >= 2 * wide.shape[-2]
    result = _by_gram(wide, steps) if long else _plain(wide, steps)
    return result.mT if tall else result


def _plain(wide: Tensor, steps: int) -> Tensor:
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * (gram @ gram)) @ wide
    return wide


def _by_gram(wide: Tensor, steps: int) -> Tensor:
    a, b, c = COEFFICIENTS
    first = wide @ wide.mT
    eye = torch.eye(first.shape[-1], dtype=first.dtype, device=first.device)
    product, gram = eye, first
    for step in range(steps):
        polynomial = a * eye + b * gram + c * (gram @ gram)
        product = polynomial @ product
        if step + 1 < steps:
            gram = product @ first @ product
    return product @ wide


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalized, for the hidden matrices of a network.

    The step is scaled by 0.2 sqrt(max(rows, columns)), so that its size is that of an AdamW step
    and both share one learning rate and weight decay. Matrices of one shape are worked on
    together. State: ``momentum`` of each parameter.

    Source: Jordan et al. (2024); the scale is Liu et al., Muon is Scalable (2025), eq. 4,
    https://arxiv.org/abs/2502.16982.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, defaults)
        for group in self.param_groups:
            for param in group["params"]:
                if param.ndim < 2:
                    raise ValueError(f"Muon steps matrices only; got shape {tuple(param.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for param in group["params"]:
                if param.grad is not None:
                    shapes[param.shape].append(param)
            for params in shapes.values():
                self._step(params, group)

    def _step(self, params: list[Tensor], group: dict[str, Any]) -> None:
        grads = [param.grad for param in params if param.grad is not None]
        for param in params:
            if "momentum" not in self.state[param]:
                self.state[param]["momentum"] = torch.zeros_like(param)
        buffers = [self.state[param]["momentum"] for param in params]
        mu = group["momentum"]
        torch._foreach_lerp_(buffers, grads, 1 - mu)
        ahead = torch._foreach_lerp(grads, buffers, mu)
        # A convolution is a matrix with a row for each channel that comes out.
        updates = orthogonalize(torch.stack([item.float().flatten(1) for item in ahead]))
        scale = 0.2 * max(updates.shape[1:]) ** 0.5
        updates = updates.view(-1, *params[0].shape)
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(params, list(updates.to(params[0].dtype)), alpha=-group["lr"] * scale)
