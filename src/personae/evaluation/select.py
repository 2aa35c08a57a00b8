"""The best of what was drawn, as examples to learn from: the middle of iterative training.

MuDI (arXiv 2404.04243, its appendix on iterative training): draw many pictures with the
mean-shifted start, keep those with the highest Detect-and-Compare, and train an additional adapter
on them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personae.compute.runs import read_rows, write_atomic
from personae.errors import DataError, RequestError
from personae.metrics.cards import METRICS

__all__ = ["Selection", "select_examples"]


@dataclass(frozen=True)
class Selection:
    """What was kept.

    Attributes:
        path: examples.jsonl.
        num_kept: pictures in it.
        num_seen: pictures that were drawn and measured.
        num_unmeasured: drawn and not measured: never kept.
        least: the value of the worst one kept; None: nothing was kept.
    """

    path: Path
    num_kept: int
    num_seen: int
    num_unmeasured: int
    least: float | None


def select_examples(
    drawn: Path,
    results: Path,
    *,
    by: str = "strict_detect_and_compare",
    top: float = 0.25,
    at_least: float | None = None,
) -> Selection:
    """Write ``examples.jsonl`` into the folder of drawn pictures: the best ones with their prompts.

    Metrics of subjects count as their worst subject's, so that a picture is as good as the one who
    is worst off in it. Ties go by scene and seed.

    Args:
        drawn: what ``personae generate`` filled.
        results: what ``personae evaluate`` made of it.
        by: a metric.
        top: share of the measured pictures that is kept, in (0, 1].
        at_least: and how good they are at least.

    Raises:
        RequestError: an unknown metric, or a share outside (0, 1].
        DataError: no picture was drawn, or none was measured by this metric.
    """
    if by not in METRICS or not 0 < top <= 1:
        raise RequestError(
            f"by {by!r}, top {top}: expected one of {sorted(METRICS)}, and a share in (0, 1]"
        )
    prompts = _prompts(drawn / "images.jsonl")
    values = _values(results / "results.jsonl", by)
    measured = {key: values[key] for key in prompts if key in values}
    if not measured:
        raise DataError(
            f"{results}: no picture of {drawn} was measured by {by}; run `personae evaluate` on it"
        )
    sign = -1.0 if METRICS[by].higher_is_better else 1.0
    best = sorted(measured, key=lambda key: (sign * measured[key], key))
    best = best[: max(1, round(top * len(best)))]
    if at_least is not None:
        best = [key for key in best if sign * measured[key] <= sign * at_least]
    lines = [_line(*key, prompts[key]) for key in best]
    path = drawn / "examples.jsonl"
    write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines))
    least = measured[best[-1]] if best else None
    return Selection(path, len(best), len(prompts), len(prompts) - len(measured), least)


def _prompts(path: Path) -> dict[tuple[str, int], Mapping[str, Any]]:
    """The rows of pictures that were drawn, by scene and seed."""
    rows: dict[tuple[str, int], Mapping[str, Any]] = {
        (str(row["scene"]), int(row["seed"])): row for row in read_rows(path) if row.get("image")
    }
    if not rows:
        raise DataError(f"{path}: no picture was drawn; run `personae generate` first")
    return rows


def _values(path: Path, metric: str) -> dict[tuple[str, int], float]:
    """One number a picture: of a subject's metric the worst. What is unmeasured is left out."""
    found: dict[tuple[str, int], list[float | None]] = defaultdict(list)
    for row in read_rows(path):
        if row["metric"] == metric:
            found[str(row["scene"]), int(row["seed"])].append(row["value"])
    worst = min if METRICS[metric].higher_is_better else max
    known = {key: [v for v in held if v is not None] for key, held in found.items()}
    return {key: worst(held) for key, held in known.items() if len(held) == len(found[key])}


def _line(scene: str, seed: int, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{scene}-{seed}",
        "image": row["image"],
        "prompt": row["prompt"],
        "references": [],
    }
