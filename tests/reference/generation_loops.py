"""Slow and obvious: what generation/noise computes, in loops over cells."""

from __future__ import annotations

import numpy as np


def covered(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Share of True in each cell of a mask whose sides are multiples of the cells'."""
    tall, wide = mask.shape[0] // height, mask.shape[1] // width
    shares = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            hits = 0
            for y in range(row * tall, (row + 1) * tall):
                for x in range(column * wide, (column + 1) * wide):
                    hits += int(mask[y, x])
            shares[row, column] = hits / (tall * wide)
    return shares


def shifted(noise: np.ndarray, clean: np.ndarray, mask: np.ndarray, gamma: float) -> np.ndarray:
    """z_T = gamma * (E(x_init) * M) + eps, number by number."""
    result = np.zeros_like(noise)
    for channel in range(noise.shape[0]):
        for row in range(noise.shape[1]):
            for column in range(noise.shape[2]):
                signal = clean[channel, row, column] * mask[row, column]
                result[channel, row, column] = gamma * signal + noise[channel, row, column]
    return result
