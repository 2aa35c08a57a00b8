"""What reward training does to what a model draws: arms side by side, by the examiner.

    python benchmarks/reward_training.py OUT --arm sft=RUN1 --arm strict=RUN2@0.8:2 [--against sft]

An arm is a folder with an adapter, or a run: its last one, or the best one by the third measure
(``--which``), at a strength (1) and with a reference guidance (the model's own); the first arm is
always ``base``, the model without one. Each arm draws the same test scenes with the same seeds.
Strict protocol, intervals by bootstrap over scenes, differences paired by scene and seed. Quality
is the kernel distance between features of drawn and true pictures, diversity what differs between
seeds, both by an embedder that no training uses. Resumes.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from PIL import Image
from toon_tables import METRICS, cell, head, line, measured, picture_features, write_truth

from personae.compute.runs import read_rows
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.evaluation.compare import compare_runs
from personae.generation import Drawing, generate
from personae.metrics.quality import kernel_distance, seed_diversity
from personae.subjects.manifest import read_scenes
from personae.subjects.picture import read_picture
from personae.toons import ADAPTERS
from personae.vision.embedders.crops import image_tensor

RESAMPLES = 2000


def adapter_of(folder: Path, which: str) -> Path:
    """Of a run the last adapter or the best one by the third measure; or any other adapter."""
    if str(folder) in ADAPTERS:
        return folder
    run = folder / "best" if which == "best" else folder
    for place in (run / "adapter", folder):
        if (place / "pytorch_lora_weights.safetensors").is_file():
            return place
    raise SystemExit(f"{folder}: no adapter in it; expected a finished run or an adapter's folder")


def draw_arm(scenes: Path, out: Path, arm: str | None, choice: argparse.Namespace) -> dict:
    backbone = load_backbone(choice.model, device=choice.device)
    drawing = Drawing(steps=choice.steps)
    if arm is not None:
        folder, _, how = arm.partition("@")
        scale, _, guidance = how.partition(":")
        load_lora(backbone, adapter_of(Path(folder), choice.which), scale=float(scale or 1))
        toward = float(guidance) if guidance else None
        drawing = replace(drawing, adapter=out.name, reference_guidance=toward)
    generate(read_scenes(scenes).scenes, backbone, out / "drawn", drawing, seeds=choice.seeds)
    return measured(scenes, out / "drawn" / "images", out / "rows")


def features(paths: list[Path]) -> np.ndarray:
    rows = []
    for path in paths:
        pixels = image_tensor(read_picture(path))[None]
        rows.append(picture_features(pixels)[0])
    return np.array(rows)


def kept_features(folder: Path, name: str, paths: list[Path]) -> np.ndarray:
    path = folder / f"features-{name}.npy"
    if path.is_file():
        return np.load(path)
    made = features(paths)
    np.save(path, made)
    return made


def seen(folder: Path, choice: argparse.Namespace, ids: list[str]) -> np.ndarray:
    """(scenes, seeds, d)."""
    paths = [folder / "drawn/images" / one / f"{s}.png" for one in ids for s in range(choice.seeds)]
    return kept_features(folder, "drawn", paths).reshape(len(ids), choice.seeds, -1)


def interval(values: np.ndarray) -> str:
    low, high = np.quantile(values, (0.025, 0.975))
    return f"[{low:.3f}, {high:.3f}]"


def quality_of(drawn: np.ndarray, truth: np.ndarray, chosen: np.ndarray) -> float:
    width = drawn.shape[-1]
    return float(kernel_distance(drawn[chosen].reshape(-1, width), truth[chosen]))


def set_rows(arms: dict[str, np.ndarray], truth: np.ndarray, against: str) -> list[list[str]]:
    """Quality and diversity of each arm, and their paired differences."""
    rng, count = np.random.default_rng(0), len(truth)
    everybody = np.arange(count)
    # Without repeats: a picture twice would be a pair of its own.
    parts = [rng.permutation(count)[: count // 2] for _ in range(200)]
    rows: list[list[str]] = []
    quality = {n: quality_of(held, truth, everybody) for n, held in arms.items()}
    halves = {n: np.array([quality_of(held, truth, p) for p in parts]) for n, held in arms.items()}
    spread = {n: np.asarray(seed_diversity(held)) for n, held in arms.items()}
    chosen = rng.integers(count, size=(RESAMPLES, count))
    for name in arms:
        # A half drawn without repeats spreads as much as a new whole does: s^2 / (n / 2) (1 - 1/2).
        apart = quality[name] - quality[against]
        wide = 1.96 * (halves[name] - halves[against]).std()
        difference = spread[name] - spread[against]
        rows.append(
            [
                name,
                f"{1000 * quality[name]:.2f}",
                f"{1000 * apart:+.2f} +- {1000 * wide:.2f}",
                f"{spread[name].mean():.3f} {interval(spread[name][chosen].mean(1))}",
                f"{difference.mean():+.3f} {interval(difference[chosen].mean(1))}",
            ]
        )
    return rows


def cost(arm: str | None) -> str:
    """Seconds and pictures drawn in training, from the run's log."""
    log = None if arm is None else Path(arm.partition("@")[0]) / "log.jsonl"
    if log is None or not log.is_file():
        return "-"
    rows = [row for row in read_rows(log) if "seconds" in row]
    return f"{rows[-1]['seconds']:.0f} s, {rows[-1]['step']} steps" if rows else "-"


def print_tables(out: Path, told: dict[str, dict], costs: list[str], against: str) -> None:
    print(head("", *told))
    for metric in METRICS:
        print(line([metric, *(cell(rows.get(metric)) for rows in told.values())]))
    print(line(["training", *costs]))
    others = [name for name in told if name != against]
    print(f"\nPaired difference to {against}:\n{head('', *others)}")
    apart = {
        name: {
            d.metric: asdict(d) for d in compare_runs(out / against / "rows", out / name / "rows")
        }
        for name in others
    }
    for metric in METRICS:
        print(line([metric, *(cell(rows.get(metric), "+") for rows in apart.values())]))


def write_sheet(path: Path, out: Path, arms: list[str], scenes: Path, count: int = 8) -> None:
    """The first scenes: references, the truth, then each arm's first picture; two scenes a row."""
    cards = []
    for one in read_scenes(scenes).scenes[:count]:
        faces = [subject.references[0].image for subject in one.subjects.values()]
        shown = [out / "truth" / one.id / "0.png"]
        shown += [out / name / "drawn/images" / one.id / "0.png" for name in arms]
        column = np.concatenate([read_picture(face) for face in faces])
        card = np.concatenate([column, *map(read_picture, shown)], 1)
        cards.append(np.pad(card, ((4, 4), (8, 8), (0, 0)), constant_values=255))
    pairs = [np.concatenate(cards[start : start + 2], 1) for start in range(0, count, 2)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(pairs)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--arm", action="append", default=[], metavar="NAME=FOLDER[@STRENGTH[:GUIDANCE]]"
    )
    parser.add_argument("--against", default="base")
    parser.add_argument("--which", choices=("last", "best"), default="last")
    parser.add_argument("--model", default="toons")
    parser.add_argument("--count", type=int, default=2)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--look-alikes", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path, help="PNG of the first scenes, nothing chosen")
    choice = parser.parse_args()
    arms: dict[str, str | None] = {"base": None}
    for text in choice.arm:
        name, _, arms[name] = text.partition("=")
    out = choice.out
    scenes = write_truth(out, choice.scenes, choice.count, choice.look_alikes)
    told = {name: draw_arm(scenes, out / name, arm, choice) for name, arm in arms.items()}
    ids = [one.id for one in read_scenes(scenes).scenes]
    truth = kept_features(out, "truth", [out / "truth" / one / "0.png" for one in ids])
    if choice.sheet:
        write_sheet(choice.sheet, out, list(arms), scenes)
    print(f"\n{choice.scenes} scenes of {choice.count}, {choice.seeds} seeds")
    print_tables(out, told, [cost(arm) for arm in arms.values()], choice.against)
    print("\n" + head("", "quality (KID x 1000)", "against", "diversity", "against"))
    for row in set_rows({n: seen(out / n, choice, ids) for n in arms}, truth, choice.against):
        print(line(row))


if __name__ == "__main__":
    main()
