"""Timing two ways of doing the same: in turns, in one run, as a ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

__all__ = ["print_ratio", "ratios", "seconds"]


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratios(
    ours: Callable[[], object], baseline: Callable[[], object], repeats: int
) -> list[tuple[float, float]]:
    """Seconds of ours and of the baseline, in turns, after one uncounted turn of each."""
    ours(), baseline()
    return [(seconds(ours), seconds(baseline)) for _ in range(repeats)]


def print_ratio(name: str, baseline: str, pairs: list[tuple[float, float]]) -> None:
    """Minimum, median and maximum of how many times as fast ours was."""
    times = [slow / fast for fast, slow in pairs]
    fast = statistics.median(fast for fast, _ in pairs)
    slow = statistics.median(slow for _, slow in pairs)
    print(
        f"{name}: {fast * 1000:.1f} ms against {slow * 1000:.1f} ms ({baseline}): "
        f"{statistics.median(times):.1f} times as fast "
        f"(min {min(times):.1f}, max {max(times):.1f}, n {len(times)})"
    )
