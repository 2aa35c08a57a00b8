"""Recall and precision of the reference-guided detector on collages with known boxes.

    PERSONAE_DATA=... python benchmarks/detect_things.py [--count 12] [--half held-out]

References and pasted photos are never the same. Every picture is searched for all four subjects,
whichever are in it. The detector's settings were chosen on the half "tune" (photo 03 pasted,
references 00 to 02); "held-out" pastes photo 04 on other backgrounds, other seeds.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import thing_collages as tc
import torch

from personae.subjects.subject import Reference
from personae.vision.detectors import GuidedConfig, GuidedDetector
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.protocols import Detection


@dataclass(frozen=True)
class Counts:
    """What happened in one picture."""

    kind: str
    truths: int
    found: int
    said: int
    confused: int
    seconds: float
    ious: tuple[float, ...]


def count(collage: tc.Collage, detections: list[Detection], seconds: float) -> Counts:
    """Match detections, surest first, to the true boxes of their subject at IoU 0.5."""
    free = list(range(len(collage.truth)))
    found, confused, ious = 0, 0, []
    for item in detections:
        best = max(
            (i for i in free if collage.truth[i][0] == item.subject),
            key=lambda i: collage.truth[i][1].iou(item.box), default=None,
        )  # fmt: skip
        iou = collage.truth[best][1].iou(item.box) if best is not None else 0.0
        if best is not None and iou >= 0.5:
            free.remove(best)
            found += 1
            ious.append(iou)
        else:
            others = [b for name, b in collage.truth if name != item.subject]
            confused += any(b.iou(item.box) >= 0.5 for b in others)
    truths, said = len(collage.truth), len(detections)
    return Counts(collage.kind, truths, found, said, confused, seconds, tuple(ious))


def share(rows: list[Counts], top: str, bottom: str) -> str:
    """A ratio of sums with its 95% interval by bootstrap over pictures."""
    pairs = np.array([[getattr(r, top), getattr(r, bottom)] for r in rows], float)
    if not pairs[:, 1].sum():
        return "-"
    draws = np.random.default_rng(0).integers(len(pairs), size=(2000, len(pairs)))
    sums = pairs[draws].sum(1)
    low, high = np.quantile(sums[:, 0] / np.maximum(sums[:, 1], 1), [0.025, 0.975])
    total = pairs.sum(0)
    return f"{total[0] / total[1]:.3f} [{low:.3f}, {high:.3f}]"


def table(rows: list[Counts]) -> None:
    """Print a line for each kind of picture and one for all."""
    print("| pictures | n | things | recall | precision | confused | mean IoU | s/picture |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in [*dict.fromkeys(row.kind for row in rows), "all"]:
        part = [row for row in rows if kind in (row.kind, "all")]
        ious = [iou for row in part for iou in row.ious]
        print(
            f"| {kind} | {len(part)} | {sum(r.truths for r in part)} "
            f"| {share(part, 'found', 'truths')} | {share(part, 'found', 'said')} "
            f"| {sum(r.confused for r in part)} of {sum(r.said for r in part)} "
            f"| {np.mean(ious) if ious else float('nan'):.2f} "
            f"| {np.median([r.seconds for r in part]):.2f} |"
        )


def measure(
    detector: GuidedDetector, cast: dict[str, list[Reference]], pictures: list[tc.Collage]
) -> list[Counts]:
    """Detect in every picture."""
    rows = []
    for picture in pictures:
        start = time.perf_counter()
        detections = detector.detect(picture.image, cast, tc.NOUNS)
        rows.append(count(picture, detections, time.perf_counter() - start))
    return rows


def absent(
    detector: GuidedDetector, cast: dict[str, list[Reference]], pictures: list[tc.Collage]
) -> None:
    """Search each picture for one subject alone that is not in it, though others are."""
    said, searched = 0, 0
    for picture in pictures:
        present = {name for name, _ in picture.truth}
        for name in sorted(set(cast) - present) if present else []:
            said += len(detector.detect(picture.image, {name: cast[name]}, tc.NOUNS))
            searched += 1
    print(f"absent subjects searched for alone: {said} false finds in {searched} searches")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=12, help="pictures of each kind")
    parser.add_argument("--half", choices=["tune", "held-out"], default="held-out")
    parser.add_argument("--references", default="0,1,2", help="photos that are references")
    parser.add_argument("--pasted", help="photos that are pasted (3 for tune, 4 for held-out)")
    parser.add_argument("--no-masks", action="store_true", help="references without masks")
    parser.add_argument("--absent", action="store_true", help="count false finds of absent ones")
    parser.add_argument("--candidates", type=int, default=GuidedConfig().candidates)
    parser.add_argument("--seed", type=int)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = Path(os.environ["PERSONAE_DATA"])
    tune = args.half == "tune"
    pasted = [int(i) for i in (args.pasted or ("3" if tune else "4")).split(",")]
    chosen = [int(i) for i in args.references.split(",")]
    assert not set(pasted) & set(chosen), "a pasted photo may not be a reference"
    cast = {name: [tc.photo(data, name, i) for i in chosen] for name in tc.NAMES}
    if args.no_masks:
        cast = {n: [Reference(r.image, None, r.path) for r in refs] for n, refs in cast.items()}
    seed = args.seed if args.seed is not None else (1 if tune else 1000)
    pictures = tc.collages(args.half, data, pasted, args.count, seed)
    detector = GuidedDetector(EfficientNetEmbedder(), GuidedConfig(candidates=args.candidates))
    start = time.perf_counter()
    detector.detect(np.zeros((640, 640, 3), np.uint8), cast, tc.NOUNS)
    print(f"{args.half}: references {chosen}, pasted {pasted}, masks {not args.no_masks}; "
          f"prepared {len(cast)} subjects in {time.perf_counter() - start:.1f} s")  # fmt: skip
    if args.absent:
        absent(detector, cast, pictures)
    else:
        table(measure(detector, cast, pictures))


if __name__ == "__main__":
    main()
