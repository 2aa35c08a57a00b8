"""What the benchmarks of drawn toons share: scenes with their truth, the examiner, cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from personae.compute.runs import read_json
from personae.evaluation.evaluate import Evaluation, evaluate
from personae.metrics.witnesses import EyesChoice
from personae.toons import scene, write_scenes
from personae.vision.embedders import EfficientNetEmbedder

METRICS = (
    "presence",
    "strict_id_similarity",
    "strict_id_confusion",
    "strict_position_score",
    "prompt_fidelity",
    "strangers",
    "copy_paste",
)


def write_truth(folder: Path, number: int, count: int, alike: bool = False) -> Path:
    """``number`` scenes of ``count`` test toons each, and the pictures they were written for."""
    path = folder / "scenes.jsonl"
    if not path.is_file():
        drawn = (
            scene(seed, count=count, split="test", look_alikes=alike) for seed in range(number)
        )
        write_scenes(drawn, folder, truth=True)
    return path


def scenes_file(wanted: str, folder: Path, count: int = 2) -> Path:
    """A scenes.jsonl that is named, or ``wanted`` scenes of ``count`` test toons each, written."""
    if not wanted.isdigit():
        return Path(wanted)
    path = folder / "scenes.jsonl"
    if not path.is_file():
        write_scenes(
            (scene(seed, count=count, split="test") for seed in range(int(wanted))), folder
        )
    return path


def measured(scenes: Path, images: Path, out: Path, faces: str = "examiner") -> dict[str, dict]:
    """Rows of the summary by metric."""
    evaluate(Evaluation(scenes=scenes, images=images, out=out, eyes=EyesChoice(faces=faces)))
    return {row["metric"]: row for row in read_json(out / "summary.json")["metrics"]}


def cell(row: Mapping | None, sign: str = "") -> str:
    """Mean and interval of a row of a summary, or of a comparison."""
    if row is None or row["mean"] is None:
        return "-"
    if row["ci95"] is None:
        return f"{row['mean']:{sign}.3f} (n {row['n']})"
    low, high = row["ci95"]
    return f"{row['mean']:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def difference(now: np.ndarray, before: np.ndarray) -> str:
    """Mean, and the paired difference with its 95 in 100."""
    apart = now - before
    apart = apart[np.isfinite(apart)]
    wide = 1.96 * apart.std(ddof=1) / len(apart) ** 0.5
    return f"{np.nanmean(now):.3f} ({apart.mean():+.3f} +- {wide:.3f})"


def head(*names: str) -> str:
    """The first two lines of a table."""
    return f"| {' | '.join(names)} |\n{'|---' * len(names)}|"


def line(cells: Sequence[str]) -> str:
    """Another."""
    return f"| {' | '.join(cells)} |"


@torch.no_grad()
def picture_features(pictures: torch.Tensor) -> np.ndarray:
    """(B, 3, H, W) in [0, 1] -> (B, 1280), by an embedder of photographs: no training's eyes."""
    return EfficientNetEmbedder().embed_scaled(pictures).numpy()
