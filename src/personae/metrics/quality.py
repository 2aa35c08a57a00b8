"""What no single picture shows: do pictures look like real ones, and do seeds differ?"""

from __future__ import annotations

import torch

from personae.errors import DataError
from personae.metrics.array_or_tensor import Array, finite, like

__all__ = ["kernel_distance", "seed_diversity"]


def kernel_distance(first: Array, second: Array) -> Array:
    r"""KID: how far two sets of pictures lie apart in an embedder's features; lower is better.

    .. math:: \mathrm{MMD}^2 = \frac{\sum_{i \ne j} k(x_i, x_j)}{m (m - 1)}
              + \frac{\sum_{i \ne j} k(y_i, y_j)}{n (n - 1)} - \frac{2 \sum_{ij} k(x_i, y_j)}{m n},
              \qquad k(a, b) = \left(\tfrac{1}{d} a \cdot b + 1\right)^3

    (m, d), (n, d) -> a number; unbiased, so sets of one distribution give 0 on average, and a
    little below 0 sometimes. Source: Binkowski et al., Demystifying MMD GANs (2018), section 4;
    with another embedder than Inception the number is comparable with its own kind only.

    Raises:
        DataError: fewer than two rows, rows of two widths, or a feature that is not finite.

    >>> same = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(float(kernel_distance(same, same)), 4)
    -2.375
    """
    x, y = finite(first, "first (pictures)"), finite(second, "second (pictures)")
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise DataError(
            f"features {tuple(x.shape)} and {tuple(y.shape)}: expected (m, d) and (n, d) with at "
            "least two pictures each"
        )
    x, y = x.double(), y.double()
    within = sum(_mean_of_pairs(_kernel(z, z)) for z in (x, y))
    return like(within - 2 * _kernel(x, y).mean(), first)


def _kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_of_pairs(kernel: torch.Tensor) -> torch.Tensor:
    """Mean over i != j."""
    count = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))


def seed_diversity(features: Array) -> Array:
    r"""How much pictures of one scene differ from seed to seed, in [0, 2]; 0 is no difference.

    .. math:: 1 - \frac{1}{S (S - 1)} \sum_{i \ne j} \cos(f_i, f_j)

    (..., S, d) features of S seeds -> (...).

    Raises:
        DataError: fewer than two seeds, or a feature that is not finite.

    >>> float(seed_diversity(torch.tensor([[1.0, 0.0], [0.0, 2.0]])))
    1.0
    """
    values = finite(features, "features (seeds)")
    if values.ndim < 2 or values.shape[-2] < 2:
        raise DataError(f"features {tuple(values.shape)}: expected (..., S, d) with two seeds")
    unit = torch.nn.functional.normalize(values.double(), dim=-1)
    cosine = unit @ unit.mT
    count = values.shape[-2]
    own = cosine.diagonal(dim1=-2, dim2=-1).sum(-1)
    return like(1 - (cosine.sum((-1, -2)) - own) / (count * (count - 1)), features)
