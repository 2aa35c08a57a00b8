"""Small inline SVG charts: an interval on its axis, a difference about zero, a spread.

Positions are percentages, so a chart is as wide as its cell; colors come from the page's CSS.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["axis_for", "difference_axis", "difference_bar", "interval_bar", "spread_bars"]

Axis = tuple[float, float]


def axis_for(values: Sequence[float]) -> Axis:
    """The axis that holds all values: [0, 1] where it can, [-1, 1] next, else one fitted.

    >>> axis_for([0.2, 0.9]), axis_for([-0.3, 0.9]), axis_for([-2.2, 3.5])
    ((0.0, 1.0), (-1.0, 1.0), (-4.0, 4.0))
    """
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low >= 0 and high <= 1:
        return (0.0, 1.0)
    bound = 1.0 if low >= -1 and high <= 1 else float(-(-max(-low, high) // 1))
    return (0.0 if low >= 0 else -bound, bound)


def difference_axis(values: Sequence[float]) -> Axis:
    """An axis about zero whose ends are a round number: 0.05, 0.1, 0.2, 0.5 or 1, 2, 3, ...

    >>> difference_axis([-0.04, 0.13])
    (-0.2, 0.2)
    """
    widest = max((abs(value) for value in values), default=0.0)
    for bound in (0.05, 0.1, 0.2, 0.5, 1.0):
        if widest <= bound:
            return (-bound, bound)
    bound = float(-(-widest // 1))
    return (-bound, bound)


def interval_bar(mean: float, interval: tuple[float, float] | None, axis: Axis) -> str:
    """A mean as a dot and its 95% interval as a bar, on an axis; SVG text.

    >>> 'cx="50.0%"' in interval_bar(0.5, (0.4, 0.6), (0.0, 1.0))
    True
    """
    parts = [_line(0, 100, "axis")]
    if axis[0] < 0 < axis[1]:
        parts.append(_tick(_percent(0.0, axis)))
    parts += [_interval(interval, axis, "interval"), _dot(_percent(mean, axis), "mean")]
    return _svg(parts, _words(mean, interval), 22)


def difference_bar(mean: float, interval: tuple[float, float] | None, axis: Axis, tone: str) -> str:
    """A paired difference about zero; ``tone`` is better, worse or unclear (a CSS class)."""
    zero, end = _percent(0.0, axis), _percent(mean, axis)
    left, width = min(zero, end), abs(end - zero)
    stem = f'<rect class="stem" x="{left:.1f}%" y="9" width="{width:.1f}%" height="4"/>'
    parts = [_line(0, 100, "axis"), _tick(zero), stem]
    parts += [_interval(interval, axis, "interval"), _dot(end, "mean")]
    return _svg(parts, _words(mean, interval), 22, f"difference {tone}")


def spread_bars(values: Sequence[float], axis: Axis, num_bins: int = 20) -> str:
    """How the pictures' values spread over an axis: a histogram as SVG text."""
    counts = [0] * num_bins
    for value in values:
        place = _percent(value, axis) / 100
        counts[min(int(place * num_bins), num_bins - 1)] += 1
    most, step = max(counts) or 1, 100 / num_bins
    bars = [
        f'<rect class="bin" x="{index * step + 0.4:.1f}%" y="{25 - height:.1f}" '
        f'width="{step - 0.8:.1f}%" height="{height:.1f}"/>'
        for index, count in enumerate(counts)
        if count
        # The square root keeps a single picture visible beside thousands.
        for height in [max(1.5, 24 * (count / most) ** 0.5)]
    ]
    label = "no picture measured"
    if values:
        label = f"{len(values)} pictures, from {min(values):.3f} to {max(values):.3f}"
    return _svg([*bars, '<line class="axis" x1="0%" x2="100%" y1="25.5" y2="25.5"/>'], label, 27)


def _percent(value: float, axis: Axis) -> float:
    return 100 * min(max((value - axis[0]) / (axis[1] - axis[0]), 0.0), 1.0)


def _line(start: float, end: float, name: str) -> str:
    return f'<line class="{name}" x1="{start}%" x2="{end}%" y1="11" y2="11"/>'


def _tick(place: float) -> str:
    return f'<line class="zero" x1="{place:.1f}%" x2="{place:.1f}%" y1="2" y2="20"/>'


def _dot(place: float, name: str) -> str:
    return f'<circle class="{name}" cx="{place:.1f}%" cy="11" r="4.5"/>'


def _interval(interval: tuple[float, float] | None, axis: Axis, name: str) -> str:
    if interval is None:
        return ""
    left, right = (_percent(end, axis) for end in interval)
    width = max(right - left, 0.5)
    return f'<rect class="{name}" x="{left:.1f}%" y="6" width="{width:.1f}%" height="10" rx="2"/>'


def _words(mean: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return f"mean {mean:.3f}, no interval"
    return f"mean {mean:.3f}, 95% interval {interval[0]:.3f} to {interval[1]:.3f}"


def _svg(parts: Sequence[str], label: str, height: int, name: str = "chart") -> str:
    classes = name if name == "chart" else f"chart {name}"
    head = f'<svg class="{classes}" role="img" aria-label="{label}" width="100%" height="{height}">'
    return head + "".join(parts) + "</svg>"
