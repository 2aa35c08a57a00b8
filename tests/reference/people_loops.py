"""Slow and obvious twins of the arithmetic on people's votes: every pair of votes by itself."""

from __future__ import annotations

import itertools
import math


def alpha_of_pairs(units):
    """One minus observed over expected disagreement, both counted pair by pair."""
    units = [list(unit) for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    observed = 0.0
    for unit in units:
        pairs = list(itertools.permutations(range(len(unit)), 2))
        observed += len(unit) * sum(unit[i] != unit[j] for i, j in pairs) / len(pairs)
    observed /= max(len(values), 1)
    pairs = list(itertools.permutations(range(len(values)), 2))
    expected = sum(values[i] != values[j] for i, j in pairs) / max(len(pairs), 1)
    return None if expected == 0 else 1 - observed / expected


def rank_of(value, values):
    """Mean of the places that a value may take in the order."""
    below = sum(other < value for other in values)
    same = sum(other == value for other in values)
    return below + (same + 1) / 2


def correlation_of_ranks(first, second):
    x = [rank_of(value, first) for value in first]
    y = [rank_of(value, second) for value in second]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    top = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    bottom = math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))
    return None if bottom == 0 else top / bottom
