"""Muon and the running mean, slow and obvious."""

from __future__ import annotations

import numpy as np

__all__ = ["slow_ema", "slow_muon_step", "slow_orthogonalize"]

A, B, C = 3.4445, -4.7750, 2.0315


def slow_orthogonalize(matrix: np.ndarray, steps: int) -> np.ndarray:
    """Each singular value through the quintic, the singular vectors as they are."""
    left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    values = values / np.sqrt((values**2).sum())
    for _ in range(steps):
        values = A * values + B * values**3 + C * values**5
    return left @ np.diag(values) @ right


def slow_muon_step(
    weight: np.ndarray,
    gradients: list[np.ndarray],
    *,
    lr: float,
    momentum: float,
    decay: float,
) -> np.ndarray:
    """Weights after a step for each gradient."""
    velocity = np.zeros_like(weight, dtype=np.float64)
    weight = weight.astype(np.float64)
    for gradient in gradients:
        velocity = momentum * velocity + (1 - momentum) * gradient
        ahead = momentum * velocity + (1 - momentum) * gradient
        weight = weight - lr * decay * weight
        weight = weight - lr * 0.2 * max(weight.shape) ** 0.5 * slow_orthogonalize(ahead, 5)
    return weight


def slow_ema(values: list[float], decay: float) -> float:
    """The running mean of values[1:], which starts at values[0]."""
    mean = values[0]
    for step, value in enumerate(values[1:], start=1):
        now = min(decay, (1 + step) / (10 + step))
        mean = now * mean + (1 - now) * value
    return mean
