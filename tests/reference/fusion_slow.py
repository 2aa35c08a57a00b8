"""Merging and fusing adapters, slow and obvious: dense matrices, all inputs at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["fused_by_lbfgs", "fused_by_lstsq", "missed", "truncated"]


def fused_by_lstsq(deltas: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """The smallest D with D X_i = dW_i X_i for all i as nearly as can be; X_i (inputs, n)."""
    asked = torch.cat([delta @ x / x.shape[1] ** 0.5 for delta, x in zip(deltas, inputs)], dim=1)  # noqa: B905
    seen = torch.cat([x / x.shape[1] ** 0.5 for x in inputs], dim=1)
    solved, *_ = np.linalg.lstsq(seen.T.numpy(), asked.T.numpy(), rcond=1e-10)
    return torch.from_numpy(solved).T


def fused_by_lbfgs(deltas: Sequence[Tensor], inputs: Sequence[Tensor], ridge: float) -> Tensor:
    """As the published program seeks it, from no change on; ``ridge`` is lambda itself."""
    fused = torch.zeros_like(deltas[0]).requires_grad_()
    seeker = torch.optim.LBFGS(
        [fused], max_iter=2000, history_size=50, line_search_fn="strong_wolfe",
        tolerance_grad=1e-12, tolerance_change=1e-16,
    )  # fmt: skip

    def loss() -> Tensor:
        seeker.zero_grad()
        value = missed(fused, deltas, inputs) + ridge * fused.square().sum()
        value.backward()
        return value

    seeker.step(loss)
    return fused.detach()


def missed(fused: Tensor, deltas: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """The sum over concepts of the mean squared length of dW_i x - D x."""
    total = torch.zeros((), dtype=torch.float64)
    for delta, x in zip(deltas, inputs, strict=True):
        for column in range(x.shape[1]):
            total = total + ((delta - fused) @ x[:, column]).square().sum() / x.shape[1]
    return total


def truncated(delta: Tensor, gram: Tensor, rank: int) -> Tensor:
    """The best D_r for || (D - D_r) G^(1/2) ||: Eckart and Young, with the root of G."""
    powers, vectors = torch.linalg.eigh(gram)
    root = vectors @ torch.diag(powers.clamp_min(0).sqrt()) @ vectors.T
    left, values, right = torch.linalg.svd(delta @ root, full_matrices=False)
    return left[:, :rank] @ torch.diag(values[:rank]) @ right[:rank] @ torch.linalg.inv(root)
