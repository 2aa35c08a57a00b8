"""Slow and obvious second implementations of what the toon eyes learn by and are tried by."""

from __future__ import annotations

import math

import numpy as np


def contrast(unit: np.ndarray, who: list[int], temperature: float) -> float:
    losses = []
    for i in range(len(who)):
        partners = [p for p in range(len(who)) if p != i and who[p] == who[i]]
        if not partners:
            continue
        below = sum(
            math.exp(float(unit[i] @ unit[a]) / temperature) for a in range(len(who)) if a != i
        )
        terms = [
            math.log(math.exp(float(unit[i] @ unit[p]) / temperature) / below) for p in partners
        ]
        losses.append(-sum(terms) / len(terms))
    return sum(losses) / len(losses)


def margin(
    unit: np.ndarray, proxies: np.ndarray, who: list[int], least: float, scale: float
) -> float:
    losses = []
    for vector, own in zip(unit, who, strict=True):
        cosines = [float(vector @ proxy) for proxy in proxies]
        above = math.exp(scale * (cosines[own] - least))
        others = sum(math.exp(scale * c) for j, c in enumerate(cosines) if j != own)
        losses.append(-math.log(above / (above + others)))
    return sum(losses) / len(losses)


def area(same: list[float], different: list[float]) -> float:
    wins = [1.0 if s > d else 0.5 if s == d else 0.0 for s in same for d in different]
    return sum(wins) / len(wins)
