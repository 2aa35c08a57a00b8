"""Gradient fusion: one weight that does to each concept's inputs what its own adapter did.

Gu et al., Mix-of-Show (2023), arXiv 2305.18292. Here are the formulas; who draws and looks is
`personae.diffusion.fusing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from personae.diffusion.low_rank import LowRank

__all__ = ["Gram", "cut_to_rank", "fuse_layer", "gathered_inputs", "unlike"]


class Gram:
    """The mean of x x^T over all inputs x that a layer saw: (inputs, inputs) float64."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self.num_inputs = 0

    def add(self, inputs: Tensor) -> None:
        """Take in (..., inputs) activations."""
        rows = inputs.detach().reshape(-1, inputs.shape[-1])
        # Float32 would round away what the small directions say; Apple's devices have no more.
        rows = (rows.cpu() if rows.device.type == "mps" else rows).to(torch.float64)
        product = rows.T @ rows
        self._sum = product if self._sum is None else self._sum.add_(product)
        self.num_inputs += len(rows)

    def mean(self) -> Tensor:
        """On the CPU.

        Raises:
            ValueError: no inputs were seen.
        """
        if self._sum is None:
            raise ValueError("no inputs were seen")
        return self._sum.cpu() / self.num_inputs


@contextmanager
def gathered_inputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Gram]]:
    """Gram matrices of what goes into these modules, by their names, as long as this lasts.

    One needs ``8 * inputs**2`` bytes where its module computes.
    """
    grams = {name: Gram() for name in modules}

    def hook_of(gram: Gram) -> Any:
        return lambda module, arguments: gram.add(arguments[0])

    handles = [
        module.register_forward_pre_hook(hook_of(grams[name])) for name, module in modules.items()
    ]
    try:
        yield grams
    finally:
        for handle in handles:
            handle.remove()


def fuse_layer(deltas: Sequence[LowRank], grams: Sequence[Tensor], ridge: float = 1e-3) -> LowRank:
    r"""The change D of a layer's weight W nearest to what each adapter does on its own inputs.

    .. math:: \min_D \sum_i \mathrm{E} \| \Delta W_i x_i - D x_i \|^2 + \lambda \|D\|_F^2
       \quad\Rightarrow\quad
       D = \Big( \sum_i \Delta W_i G_i \Big) \Big( \sum_i G_i + \lambda I \Big)^{-1},
       \quad G_i = \mathrm{E}\, x_i x_i^T

    Mix-of-Show (arXiv 2305.18292, Sec. 3.3) seeks W + D by L-BFGS, without a ridge; the normal
    equations give the minimum itself. The ridge leaves W alone where nobody looked, and keeps D
    small where concepts differ by little: on two trained toons 1e-3 halved its norm against 1e-6,
    and cost a hundredth of the fit. D's columns are those of the adapters' up-projections, so
    that its rank is at most the sum of theirs: saved as a LoRA of that rank, nothing is lost.

    Args:
        deltas: one a concept, all of one shape; rank 0 where its adapter leaves the layer alone.
        grams: (inputs, inputs) each, of the inputs of that concept.
        ridge: lambda over the mean eigenvalue of the summed Gram matrices; 0 takes the smallest
            of all minima.

    Returns:
        D in float64, of the summed rank.

    >>> one = LowRank(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0]]))
    >>> other = LowRank(torch.tensor([[0.0, 1.0]]), torch.tensor([[5.0]]))
    >>> seen = [torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([0.0, 3.0]))]
    >>> fuse_layer([one, other], seen, ridge=0).dense()
    tensor([[2., 5.]], dtype=torch.float64)
    """
    total = torch.stack([gram.to(torch.float64) for gram in grams]).sum(dim=0)
    asked = [
        delta.down.to(torch.float64) @ gram.to(torch.float64)
        for delta, gram in zip(deltas, grams, strict=True)
    ]
    ups = [delta.scale * delta.up.to(torch.float64) for delta in deltas]
    return LowRank(_divided(torch.cat(asked), total, ridge), torch.cat(ups, dim=1))


def _divided(asked: Tensor, total: Tensor, ridge: float) -> Tensor:
    """The solution X of X (total + lambda I) = asked, for a symmetric total."""
    added = ridge * total.diagonal().mean()
    if added <= 0:
        inverse: Tensor = torch.linalg.pinv(total, hermitian=True)
        return asked @ inverse
    held = total + added * torch.eye(len(total), dtype=total.dtype)
    solved: Tensor = torch.linalg.solve(held, asked.T)
    return solved.T.contiguous()


def unlike(fused: LowRank, deltas: Sequence[LowRank], grams: Sequence[Tensor]) -> float | None:
    r"""How far the fused layer is from the adapters on their own inputs; 0 is the same.

    .. math:: \frac{\sum_i \mathrm{E} \| \Delta W_i x_i - D x_i \|^2}
                   {\sum_i \mathrm{E} \| \Delta W_i x_i \|^2}

    1 is as far as no adapter at all. None if the adapters do nothing to what they saw.
    """
    whole = sum(_energy(delta, gram) for delta, gram in zip(deltas, grams, strict=True))
    if whole <= 0:
        return None
    missed = sum(_energy(_minus(d, fused), gram) for d, gram in zip(deltas, grams, strict=True))
    return max(0.0, missed) / whole


def _minus(one: LowRank, other: LowRank) -> LowRank:
    ups = [one.scale * one.up.to(torch.float64), -other.scale * other.up.to(torch.float64)]
    downs = [one.down.to(torch.float64), other.down.to(torch.float64)]
    return LowRank(torch.cat(downs), torch.cat(ups, dim=1))


def _energy(layer: LowRank, gram: Tensor) -> float:
    """E || D x ||^2, without making D."""
    down, up = layer.down.to(torch.float64), layer.scale * layer.up.to(torch.float64)
    return float(((up.T @ up) * (down @ gram.to(torch.float64) @ down.T)).sum())


def cut_to_rank(layer: LowRank, gram: Tensor, rank: int) -> tuple[LowRank, float]:
    r"""The nearest layer of a rank, by what comes out for the inputs that were seen.

    The truncated singular value decomposition of :math:`D G^{1/2}`, carried back: D projected on
    the ``rank`` directions in which most comes out.

    Args:
        layer: D.
        gram: G, (inputs, inputs).
        rank: at least 1.

    Returns:
        The layer, and the share of the output that is lost, :math:`\|(D - D_r) G^{1/2}\|_F /
        \|D G^{1/2}\|_F`; 0 where the rank suffices.
    """
    if layer.rank <= rank:
        return layer, 0.0
    directions, mixed = torch.linalg.qr(layer.scale * layer.up.to(torch.float64))
    down = mixed @ layer.down.to(torch.float64)
    powers, vectors = torch.linalg.eigh(down @ gram.to(torch.float64) @ down.T)  # rising
    powers = powers.clamp_min(0)
    kept = vectors[:, -rank:]
    lost = float((powers[:-rank].sum() / powers.sum()).sqrt()) if powers.sum() > 0 else 0.0
    return LowRank(kept.T @ down, directions @ kept), lost
