"""Curves of reward_curve.py as one SVG: what changed since step 0, with 95 in 100.

    python benchmarks/curve_chart.py OUT.svg strict=FOLDER [mimr=FOLDER ...]

A panel a number, a line a run. Differences are paired by scene; that of quality (KID x 1000, here
upside down, so that up is better everywhere) has its spread over halves of the scenes. A ring is
where the third measure is highest: the checkpoint that a run keeps.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from personae.metrics.quality import kernel_distance
from personae.report.curves import ticks

PANELS = {
    "reward": "the run's own reward",
    "features": "third measure",
    "examiner_presence": "examiner: presence",
    "examiner_similarity": "examiner: similarity",
    "examiner_confusion": "examiner: ID-confusion",
    "quality": "quality (minus KID x 1000)",
}
COLORS = ("#1b6ca8", "#c2571a", "#5a8f29", "#7b4ba0")
WIDE, HIGH, LEFT, TOP, ACROSS = 310, 190, 46, 26, 3


@dataclass(frozen=True)
class Curve:
    """Steps, differences to step 0, half the width of their intervals."""

    steps: list[int]
    means: list[float]
    wide: list[float]


def looks(folder: Path) -> dict[int, dict[str, np.ndarray]]:
    found = {int(path.stem.split("-")[1]): path for path in folder.glob("step-*.npz")}
    return {step: dict(np.load(found[step])) for step in sorted(found)}


def quality_change(now: np.ndarray, before: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Minus the change of KID x 1000, and its interval from halves drawn without repeats."""
    rng, count = np.random.default_rng(0), len(truth)

    def change(rows: np.ndarray) -> float:
        both = (kernel_distance(part[rows], truth[rows]) for part in (now, before))
        after, earlier = (1000 * float(value) for value in both)
        return earlier - after

    halves = [change(rng.permutation(count)[: count // 2]) for _ in range(100)]
    return change(np.arange(count)), 1.96 * float(np.std(halves))


def curve(rows: dict[int, dict[str, np.ndarray]], name: str, truth: np.ndarray) -> Curve:
    means, wide = [], []
    for row in rows.values():
        if name == "quality":
            mean, half = quality_change(row["pixels"], rows[0]["pixels"], truth)
        else:
            apart = row[name] - rows[0][name]
            apart = apart[np.isfinite(apart)]
            mean, half = apart.mean(), 1.96 * apart.std(ddof=1) / len(apart) ** 0.5
        means.append(float(mean))
        wide.append(float(half))
    return Curve(list(rows), means, wide)


def panel(title: str, curves: list[Curve], kept: list[int], corner: tuple[int, int]) -> list[str]:
    low = min(m - w for one in curves for m, w in zip(one.means, one.wide, strict=True))
    high = max(m + w for one in curves for m, w in zip(one.means, one.wide, strict=True))
    marks = ticks(low, high)
    last = max(one.steps[-1] for one in curves)

    def x(step: float) -> float:
        return corner[0] + LEFT + (WIDE - LEFT - 12) * step / last

    def y(value: float) -> float:
        return (
            corner[1] + HIGH - 22 - (HIGH - 22 - TOP) * (value - marks[0]) / (marks[-1] - marks[0])
        )

    parts = [f'<text x="{corner[0] + LEFT}" y="{corner[1] + 15}" class="t">{title}</text>']
    for mark in marks:
        parts.append(
            f'<line x1="{x(0):.1f}" x2="{x(last):.1f}" y1="{y(mark):.1f}" y2="{y(mark):.1f}" '
            f'stroke="{"#888" if mark == 0 else "#e4e4e4"}"/>'
            f'<text x="{x(0) - 6:.1f}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark:+g}</text>'
        )
    for step in range(0, last + 1, 100):
        place = f'x="{x(step):.1f}" y="{corner[1] + HIGH - 6}"'
        parts.append(f'<text {place} text-anchor="middle">{step}</text>')
    for number, (one, best) in enumerate(zip(curves, kept, strict=True)):
        color, aside = COLORS[number], 3 * (number - (len(curves) - 1) / 2)
        points = [(x(s) + aside, y(m)) for s, m in zip(one.steps, one.means, strict=True)]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.6"/>')
        for (a, b), step, mean, half in zip(points, one.steps, one.means, one.wide, strict=True):
            parts.append(
                f'<line x1="{a:.1f}" x2="{a:.1f}" y1="{y(mean - half):.1f}" '
                f'y2="{y(mean + half):.1f}" stroke="{color}" opacity=".5"/>'
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.4" fill="{color}"/>'
            )
            if step == best:
                ring = f'r="6" fill="none" stroke="{color}" stroke-width="1.4"'
                parts.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" {ring}/>')
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER")
    choice = parser.parse_args()
    runs = {text.partition("=")[0]: Path(text.partition("=")[2]) for text in choice.runs}
    rows = {name: looks(folder) for name, folder in runs.items()}
    truth = {name: np.load(folder / "truth.npy") for name, folder in runs.items()}
    kept = [
        max(held, key=lambda step: np.nanmean(held[step]["features"])) for held in rows.values()
    ]
    parts = []
    for number, (name, title) in enumerate(PANELS.items()):
        corner = (WIDE * (number % ACROSS), 24 + HIGH * (number // ACROSS))
        curves = [curve(held, name, truth[run]) for run, held in rows.items()]
        parts += panel(title, curves, kept, corner)
    for number, run in enumerate(runs):
        x = LEFT + 130 * number
        parts.append(
            f'<line x1="{x}" x2="{x + 22}" y1="13" y2="13" stroke="{COLORS[number]}" '
            f'stroke-width="2"/><text x="{x + 28}" y="17" class="t">{run}</text>'
        )
    wide, high = WIDE * ACROSS, 24 + HIGH * -(-len(PANELS) // ACROSS)
    style = "text{font:11px sans-serif;fill:#444}.t{font-weight:600;fill:#222}"
    choice.out.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" '
        f'height="{high}"><style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
        + "".join(parts)
        + "</svg>\n"
    )


if __name__ == "__main__":
    main()
