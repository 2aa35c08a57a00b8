"""Slow and obvious second implementations of what the toon eyes learn by and are tried by."""

from __future__ import annotations

import math

import numpy as np


def agreement(first: np.ndarray, second: np.ndarray, sizes: list[int]) -> np.ndarray:
    made = np.zeros((len(first), len(second)))
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            product, start = 1.0, 0
            for size in sizes:
                overlap = 0.0
                for k in range(start, start + size):
                    overlap += math.sqrt(one[k] * other[k])
                product *= min(max(overlap, 1e-3), 1.0)
                start += size
            made[i, j] = product ** (1 / len(sizes))
    return made


def area(same: list[float], different: list[float]) -> float:
    wins = [1.0 if s > d else 0.5 if s == d else 0.0 for s in same for d in different]
    return sum(wins) / len(wins)
