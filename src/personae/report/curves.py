"""Curves over steps as inline SVG: one chart, one or more lines, colors from the page's CSS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "curve_chart", "smoothed", "ticks"]

Point = tuple[int, float]

_WIDTH, _HEIGHT = 600, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 590, 24, 208
_FEW = 40  # points that are drawn as dots with their numbers
_MOST = 400  # points of a line; more are averaged
_SPIKE = 4.0  # an axis ends below values so many times above nearly all others


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: for the legend.
        points: (step, value), by step.
        tone: number of its color.
        smooth: draw the points faint and their running mean over them.
    """

    name: str
    points: Sequence[Point]
    tone: int = 0
    smooth: bool = True


@dataclass(frozen=True)
class _Scale:
    """From steps and values to places in the picture."""

    steps: tuple[int, int]
    values: tuple[float, float]

    def x(self, step: float) -> float:
        low, high = self.steps
        return _LEFT + (_RIGHT - _LEFT) * (step - low) / max(1, high - low)

    def y(self, value: float) -> float:
        low, high = self.values
        return _BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low)

    def held(self, points: Sequence[Point]) -> list[Point]:
        """The points with values no further than the ends of the axis."""
        low, high = self.values
        return [(step, min(max(value, low), high)) for step, value in points]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About ``count`` round numbers whose first is at most ``low`` and last at least ``high``.

    >>> ticks(0.13, 0.58), ticks(0, 300)
    ([0.0, 0.2, 0.4, 0.6], [0.0, 100.0, 200.0, 300.0])
    """
    if not high > low:
        pad = abs(low) * 0.1 or 0.5
        low, high = low - pad, high + pad
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * place, 12) for place in range(first, last + 1)]


def smoothed(points: Sequence[Point]) -> list[Point]:
    """The running mean of a line over about a fifteenth of its points, unbiased at its start.

    >>> [value for _, value in smoothed([(step, 2.0) for step in range(50)])][::49]
    [2.0, 2.0]
    """
    keep = 1 - 2 / (max(1.0, len(points) / 15) + 1)
    total = weight = 0.0
    mean = []
    for step, value in points:
        total, weight = keep * total + value, keep * weight + 1
        mean.append((step, total / weight))
    return mean


def curve_chart(
    lines: Sequence[Line], steps: tuple[int, int], label: str, best: int | None = None
) -> str:
    """A chart of some lines over a span of steps, SVG text; ``best`` is marked by a dashed line.

    >>> 'aria-label="loss: 0.5 at step 1 to 0.25 at step 9"' in curve_chart(
    ...     [Line("loss", [(1, 0.5), (9, 0.25)])], (0, 9), "loss")
    True
    """
    lines = [line for line in lines if line.points]
    values = [value for line in lines for _, value in line.points]
    marks = ticks(*_span(values))
    scale = _Scale(steps, (marks[0], marks[-1]))
    parts = [_grid(scale, marks), _cut(scale, values), _best(scale, best)]
    parts += [_line(line, scale) for line in lines]
    return (
        f'<svg class="curve" role="img" aria-label="{escape(_words(lines, label))}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}">' + "".join(parts) + "</svg>"
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    """From the least to the largest, without a few spikes that would flatten all else."""
    if not values:
        return (0.0, 1.0)
    ordered = sorted(values)
    usual = ordered[int(0.98 * (len(ordered) - 1))]
    high = ordered[-1]
    is_spike = ordered[0] >= 0 and high > _SPIKE * usual > 0
    return ordered[0], usual * 1.2 if is_spike else high


def _words(lines: Sequence[Line], label: str) -> str:
    if not lines:
        return f"{label}: no number"
    told = []
    for line in lines:
        (first, start), (last, end) = line.points[0], line.points[-1]
        name = "" if line.name == label else f"{line.name} "
        told.append(f"{name}{start:.4g} at step {first} to {end:.4g} at step {last}")
    return f"{label}: " + "; ".join(told)


def _grid(scale: _Scale, marks: Sequence[float]) -> str:
    parts = []
    for mark in marks:
        y = scale.y(mark)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{mark:g}</text>')
    low, high = scale.steps
    for mark in ticks(low, high, 6):
        if low <= mark <= high:
            x = scale.x(mark)
            parts.append(
                f'<text x="{x:.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{mark:g}</text>'
            )
    return "".join(parts)


def _cut(scale: _Scale, values: Sequence[float]) -> str:
    """What the axis leaves out is said."""
    beyond = [value for value in values if value > scale.values[1]]
    if not beyond:
        return ""
    words = f"{len(beyond)} above, up to {max(beyond):.3g}"
    return f'<text class="cut" x="{_LEFT + 6}" y="{_TOP + 14}">{words}</text>'


def _best(scale: _Scale, best: int | None) -> str:
    if best is None:
        return ""
    x = scale.x(best)
    anchor, shift = ("end", -5) if x > _WIDTH / 2 else ("start", 5)
    return (
        f'<line class="best" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 18}" y2="{_BOTTOM}"/>'
        f'<text class="best" x="{x + shift:.1f}" y="{_TOP - 9}" text-anchor="{anchor}">'
        f"best: step {best}</text>"
    )


def _line(line: Line, scale: _Scale) -> str:
    tone, points = f"s{line.tone}", scale.held(line.points)
    if len(points) <= _FEW:
        return _path(points, scale, f"run {tone}") + _dots(line, points, scale)
    if not line.smooth:
        return _path(_thinned(points), scale, f"run {tone}")
    raw = _path(_thinned(points), scale, f"raw {tone}")
    return raw + _path(_thinned(smoothed(points)), scale, f"run {tone}")


def _dots(line: Line, held: Sequence[Point], scale: _Scale) -> str:
    return "".join(
        f'<circle class="s{line.tone}" cx="{scale.x(step):.1f}" cy="{scale.y(place):.1f}" r="3">'
        f"<title>step {step}: {value:.5g}</title></circle>"
        for (step, value), (_, place) in zip(line.points, held, strict=True)
    )


def _path(points: Sequence[Point], scale: _Scale, name: str) -> str:
    places = " ".join(f"{scale.x(step):.1f},{scale.y(value):.1f}" for step, value in points)
    return f'<polyline class="{name}" points="{places}"/>'


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """As many points as can be told apart: means of neighbors."""
    size = -(-len(points) // _MOST)
    if size <= 1:
        return points
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]
