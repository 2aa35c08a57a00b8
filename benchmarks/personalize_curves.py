"""Curves of personalize.py's folders: success by number of subjects, gamma, and similarity.

    python benchmarks/personalize_curves.py OUT [--chart FILE.svg]

Reads what `personalize.py OUT` left there, and draws nothing anew:
- success with two to five subjects, whole and as a share of the own rate with two, beside MuDI's
  published curve (99, 84, 50, 10 of 100; similar ones 83, 30, 5, 1; judged by people, on SDXL);
- gamma (arms ``mudi@G``; ``mudi`` is 1, ``seg-mix`` is 0) against success, presence and quality:
  KID x 1000 of the pictures to the drawn truth of the same scenes, by EfficientNet-Lite0, its
  interval from halves of the pictures;
- how alike the two subjects are, for the examiner, against success: a point a cast.
Intervals resample casts, then scenes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from personalize import ARMS, arm_of, members, resampled, slug, values_of
from scipy.stats import spearmanr
from toon_tables import head, line, picture_features

from personae.metrics.quality import kernel_distance
from personae.metrics.witnesses import EyesChoice, build_witnesses
from personae.report.curves import ticks
from personae.subjects.manifest import read_scenes
from personae.subjects.picture import read_picture
from personae.toons import scene

KINDS = {"distinct": "strangers", "alike": "look-alikes"}
PUBLISHED = {"distinct": (99, 84, 50, 10), "alike": (83, 30, 5, 1)}
BEST = "mudi, best of 4"
COUNTS = (2, 3, 4, 5)
COLORS = ("#1b6ca8", "#c2571a", "#5a8f29", "#7b4ba0", "#888888", "#bbbbbb")
WIDE, HIGH, LEFT, TOP = 380, 254, 50, 72


@dataclass(frozen=True)
class Point:
    """Where, how much, and its 95 in 100."""

    x: float
    y: float
    low: float
    high: float

    @property
    def text(self) -> str:
        return f"{self.y:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Line:
    """Points of one name; joined, or a cloud."""

    name: str
    points: list[Point]
    joined: bool = True


def folders_of(out: Path, kind: str, count: int, arm: str) -> list[Path]:
    """Casts whose arm is done."""
    found = sorted(out.glob(f"{kind}-{count}-*"))
    return [folder for folder in found if (folder / "rows" / slug(arm) / "summary.json").is_file()]


def by_cast(folders: Sequence[Path], arm: str, metric: str) -> list[np.ndarray]:
    """Of each cast, one value a scene."""
    held = (values_of(folder / "rows" / slug(arm), metric) for folder in folders)
    return [np.array([*one.values()]) for one in held if one]


def point(x: float, casts: Sequence[np.ndarray]) -> Point:
    low, high = np.quantile(resampled(casts), (0.025, 0.975))
    return Point(x, float(np.mean([part.mean() for part in casts])), float(low), float(high))


def counts_table(out: Path, kind: str, arms: Sequence[str]) -> list[Line]:
    """Success with two to five, then as a share of the own rate with two."""
    print(f"\nSuccess, {KINDS[kind]} (casts):")
    print(head("", *(f"{count} subjects" for count in COUNTS)))
    lines = []
    for arm in arms:
        points, cells, casts = [], [], {}
        for count in COUNTS:
            casts[count] = by_cast(folders_of(out, kind, count, arm), arm, "success")
            if casts[count]:
                points.append(point(count, casts[count]))
            cells.append(f"{points[-1].text} ({len(casts[count])})" if casts[count] else "-")
        print(line([arm, *cells]))
        lines.append(Line(arm, points))
        if points and points[0].y > 0:
            shares = [share(casts[count], casts[2]) for count in COUNTS[1:]]
            print(line([f"{arm}: of its own with two", "1", *shares]))
    told = PUBLISHED[kind]
    print(line(["MuDI as published (SDXL, judged by people)", *(f"{v / 100:.2f}" for v in told)]))
    print(line(["as published: of its own with two", *(f"{v / told[0]:.3f}" for v in told)]))
    published = [Point(c, v / 100, v / 100, v / 100) for c, v in zip(COUNTS, told, strict=True)]
    return [*lines, Line("MuDI as published", published)]


def share(casts: Sequence[np.ndarray], two: Sequence[np.ndarray]) -> str:
    """Of two means; both are drawn anew for the interval."""
    if not casts or not two:
        return "-"
    upper, lower = resampled(casts), np.random.default_rng(1).permutation(resampled(two))
    low, high = np.quantile(upper / np.maximum(lower, 1e-6), (0.025, 0.975))
    whole = np.mean([one.mean() for one in casts]) / np.mean([one.mean() for one in two])
    return f"{whole:.3f} [{low:.3f}, {high:.3f}]"


def gamma_arms(out: Path) -> dict[float, str]:
    """Gamma -> arm, of all that were drawn."""
    found = {0.0: "seg-mix", 1.0: "mudi"}
    for folder in out.glob("*-2-*/rows/mudi@*"):
        found[float(folder.name.partition("@")[2])] = folder.name
    return dict(sorted(found.items()))


def gamma_table(out: Path) -> tuple[list[Line], Line]:
    """Success and presence, and KID; all kinds together."""
    arms = gamma_arms(out)
    every = [{f for k in KINDS for f in folders_of(out, k, 2, arm)} for arm in arms.values()]
    folders = sorted(set.intersection(*every))
    if not folders:
        return [], Line("KID x 1000", [])
    truth = features_of_truth(folders)
    lines: dict[str, list[Point]] = {"success": [], "presence": []}
    quality: list[Point] = []
    print(f"\nGamma, {len(folders)} casts:\n" + head("gamma", *lines, "KID x 1000"))
    for gamma, arm in arms.items():
        for metric, points in lines.items():
            points.append(point(gamma, by_cast(folders, arm, metric)))
        quality.append(kid(gamma, features_of(folders, arm), truth))
        cells = [points[-1].text for points in lines.values()]
        last = quality[-1]
        print(line([f"{gamma:g}", *cells, last.text]))
    return [Line(name, points) for name, points in lines.items()], Line("KID x 1000", quality)


def features_of(folders: Sequence[Path], arm: str) -> np.ndarray:
    paths = [p for f in folders for p in sorted((f / "drawn" / slug(arm)).glob("images/*/*.png"))]
    return embedded([read_picture(path) for path in paths])


def features_of_truth(folders: Sequence[Path]) -> np.ndarray:
    """The drawn truth of every test scene of these casts."""
    pictures = []
    for folder in folders:
        kind, count, number = re.match(r"(\w+)-(\d)-(\d+)$", folder.name).groups()
        toons = members(kind, int(number), int(count))
        seeds = [int(one.id[-6:]) for one in read_scenes(folder / "scenes" / "scenes.jsonl").scenes]
        pictures += [scene(seed, toons=toons, split="test").image for seed in seeds]
    return embedded(pictures)


def embedded(pictures: Sequence[np.ndarray]) -> np.ndarray:
    parts = [np.stack(pictures[at : at + 32]) for at in range(0, len(pictures), 32)]
    tensors = (torch.from_numpy(part).permute(0, 3, 1, 2) / 255 for part in parts)
    return np.concatenate([picture_features(tensor) for tensor in tensors])


def kid(x: float, drawn: np.ndarray, truth: np.ndarray) -> Point:
    """KID x 1000, and 1.96 standard deviations of it over halves of the pictures."""
    rng = np.random.default_rng(0)

    def halved(rows: np.ndarray) -> np.ndarray:
        return rows[rng.permutation(len(rows))[: len(rows) // 2]]

    whole = 1000 * float(kernel_distance(drawn, truth))
    halves = [1000 * float(kernel_distance(halved(drawn), halved(truth))) for _ in range(100)]
    apart = 1.96 * float(np.std(halves)) / 2**0.5  # a half has twice the variance of the whole
    return Point(x, whole, whole - apart, whole + apart)


def similarity_table(out: Path, arms: Sequence[str]) -> list[Line]:
    """A point a cast: the examiner's cosine of the two toons' portraits, success."""
    witness = build_witnesses(EyesChoice(faces="examiner"), ("person",))["person"]
    print("\nHow alike the two are, and success:\n" + head("cast", "cosine", *arms))
    clouds: dict[str, list[Point]] = {arm: [] for arm in arms}
    for folder in sorted(out.glob("*-2-[0-9][0-9]")):
        done = [arm for arm in arms if (folder / "rows" / slug(arm) / "summary.json").is_file()]
        if not done:
            continue
        cosines = []
        for one in read_scenes(folder / "scenes" / "scenes.jsonl").scenes:
            known = witness.gallery(one.subjects).known
            first, second = known.values()
            cosines.append(float((first @ second.T).mean()))
        alike, cells = float(np.mean(cosines)), dict.fromkeys(arms, "-")
        for arm in done:
            clouds[arm].append(point(alike, by_cast([folder], arm, "success")))
            cells[arm] = clouds[arm][-1].text
        print(line([folder.name, f"{alike:.3f}", *cells.values()]))
    for arm, points in clouds.items():
        if len(points) > 3 and len({one.y for one in points}) > 1:
            found = spearmanr([one.x for one in points], [one.y for one in points])
            print(f"{arm}: rank correlation {found[0]:+.2f} (p {found[1]:.2f}, n {len(points)})")
    return [Line(arm, points, joined=False) for arm, points in clouds.items()]


def panel(title: str, label: str, lines: Sequence[Line], corner: tuple[int, int]) -> list[str]:
    """Lines or clouds over one span, SVG."""
    points = [one for held in lines for one in held.points]
    if not points:
        return []
    marks = ticks(min(0.0, *(p.low for p in points)), max(p.high for p in points))
    across = ticks(min(p.x for p in points), max(p.x for p in points), 3)

    def x(value: float) -> float:
        part = (value - across[0]) / (across[-1] - across[0])
        return corner[0] + LEFT + (WIDE - LEFT - 20) * part

    def y(value: float) -> float:
        part = (value - marks[0]) / (marks[-1] - marks[0])
        return corner[1] + HIGH - 38 - (HIGH - 38 - TOP) * part

    parts = [f'<text x="{corner[0] + LEFT}" y="{corner[1] + 16}" class="t">{title}</text>']
    for mark in marks:
        parts.append(
            f'<line x1="{x(across[0]):.1f}" x2="{x(across[-1]):.1f}" y1="{y(mark):.1f}" '
            f'y2="{y(mark):.1f}" stroke="#e4e4e4"/><text x="{x(across[0]) - 8:.1f}" '
            f'y="{y(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>'
        )
    low = corner[1] + HIGH
    for mark in across:
        parts.append(f'<text x="{x(mark):.1f}" y="{low - 22}" text-anchor="middle">{mark:g}</text>')
    middle = (x(across[0]) + x(across[-1])) / 2
    parts.append(f'<text x="{middle:.1f}" y="{low - 6}" text-anchor="middle">{label}</text>')
    for number, held in enumerate(lines):
        color, aside = COLORS[number], 2.5 * (number - (len(lines) - 1) / 2)
        key = corner[0] + LEFT + (WIDE - LEFT - 20) * (number % 2) / 2
        spot = corner[1] + 32 + 13 * (number // 2)
        parts.append(
            f'<circle cx="{key + 4}" cy="{spot - 4}" r="3.5" fill="{color}"/>'
            f'<text x="{key + 12}" y="{spot}">{held.name}</text>'
        )
        spots = [(x(p.x) + aside, y(p.y)) for p in held.points]
        if held.joined:
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{color}"/>')
        for (a, b), one in zip(spots, held.points, strict=True):
            parts.append(
                f'<line x1="{a:.1f}" x2="{a:.1f}" y1="{y(one.low):.1f}" y2="{y(one.high):.1f}" '
                f'stroke="{color}" opacity=".5"/>'
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.8" fill="{color}"/>'
            )
    return parts


def write_chart(path: Path, panels: Sequence[tuple[str, str, Sequence[Line]]]) -> None:
    parts: list[str] = []
    for number, (title, label, lines) in enumerate(panels):
        parts += panel(title, label, lines, (WIDE * (number % 2), HIGH * (number // 2)))
    wide, high = 2 * WIDE, HIGH * -(-len(panels) // 2)
    style = "text{font:11px sans-serif;fill:#444}.t{font-weight:600;font-size:12px;fill:#222}"
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" '
        f'height="{high}"><style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
        + "".join(parts)
        + "</svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", default=["dreambooth", "mudi", BEST])
    parser.add_argument("--chart", type=Path)
    choice = parser.parse_args()
    for name in choice.arms:
        arm_of(name)
    counts = {kind: counts_table(choice.out, kind, choice.arms) for kind in KINDS}
    gammas, quality = gamma_table(choice.out)
    clouds = similarity_table(choice.out, [arm for arm in choice.arms if arm in ARMS])
    if choice.chart:
        panels = [(f"Success, {KINDS[k]}", "subjects", counts[k]) for k in KINDS]
        panels.append(("Strength of the starting noise's shift", "gamma", gammas))
        panels.append(("Quality (lower is better)", "gamma", [quality]))
        panels.append(("Two that are more or less alike", "cosine of the two", clouds))
        write_chart(choice.chart, panels)


if __name__ == "__main__":
    main()
