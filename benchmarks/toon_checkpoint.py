"""How well a model draws unseen toons: strict protocol, by the examiner, with intervals.

    python benchmarks/toon_checkpoint.py OUT [--model toons] [--counts 2 3 4 5] [--scenes 200]

For each number of toons four folders of pictures of the same scenes (test identities) go through
the same ruler: what the model drew; the truth; the truth through the model's own autoencoder (the
ceiling); and the truth of the next scene (strangers: what chance gives). Resumes.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from toon_tables import METRICS, cell, head, line, measured, write_truth

from personae.diffusion.load import load_backbone
from personae.generation import Drawing, generate
from personae.subjects.manifest import read_scenes
from personae.subjects.picture import read_picture
from personae.vision.embedders.crops import image_tensor


def write_copies(folder: Path, backbone) -> None:
    """The ceiling and the strangers, both made from the truth."""
    ids = [one.id for one in read_scenes(folder / "scenes.jsonl").scenes]
    for name, following in zip(ids, [*ids[1:], ids[0]], strict=True):
        truth = read_picture(folder / "truth" / name / "0.png")
        through = folder / "ceiling" / name / "0.png"
        if not through.is_file():
            pixels = image_tensor(truth)[None]
            with torch.no_grad():
                given = backbone.decode(backbone.encode_image(pixels.to(backbone.device)))
            save(given[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy(), through)
        other = folder / "others" / name / "0.png"
        if not other.is_file():
            save(read_picture(folder / "truth" / following / "0.png") / 255, other)


def save(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture * 255 + 0.5).astype(np.uint8)).save(path)


KINDS = ("count", "place", "relation", "wears", "action")


def rows_of(out: Path, metric: str) -> list[dict]:
    lines = (out / "results.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["metric"] == metric]


def share_with_all(out: Path) -> str:
    """Pictures in which everybody is there."""
    there: dict[tuple, list[float]] = {}
    for row in rows_of(out, "presence"):
        if row["value"] is not None:
            there.setdefault((row["scene"], row["seed"]), []).append(row["value"])
    whole = np.array([min(values) > 0 for values in there.values()], float)
    return shares(whole, np.ones(len(whole)))


def share_kept(out: Path, kind: str) -> str:
    """Claims of one kind that the pictures keep."""
    rows = [row["details"]["kinds"] for row in rows_of(out, "prompt_fidelity")]
    counts = np.array([row[kind] for row in rows if kind in row], float).reshape(-1, 2)
    return shares(counts[:, 0], counts[:, 1])


def shares(part: np.ndarray, whole: np.ndarray) -> str:
    """Sum over sum, with a bootstrap interval over pictures."""
    if not len(whole):
        return "-"
    chosen = np.random.default_rng(0).integers(len(whole), size=(2000, len(whole)))
    low, high = np.quantile(part[chosen].sum(1) / whole[chosen].sum(1), (0.025, 0.975))
    return f"{part.sum() / whole.sum():.3f} [{low:.3f}, {high:.3f}]"


def table(folder: Path, choice: argparse.Namespace, backbone, count: int, alike: bool) -> None:
    scenes = write_truth(folder, choice.scenes, count, alike)
    write_copies(folder, backbone)
    drawing = Drawing(
        steps=choice.steps,
        guidance=choice.guidance,
        reference_guidance=choice.reference_guidance,
    )
    asked = read_scenes(scenes).scenes
    made = generate(asked, backbone, folder / "drawn", drawing, seeds=choice.seeds)
    kinds = {
        "drawn": folder / "drawn" / "images",
        "ceiling": folder / "ceiling",
        "truth": folder / "truth",
        "strangers": folder / "others",
    }
    results = {
        name: measured(scenes, images, folder / f"rows-{name}-{choice.faces}", choice.faces)
        for name, images in kinds.items()
    }
    seconds = made.seconds / max(made.num_drawn_now, 1)
    print(
        f"\n{count} toons{', look-alikes' if alike else ''}: {choice.scenes} scenes, "
        f"{made.num_pictures} pictures drawn, {seconds:.2f} s a picture"
    )
    print(head("metric", *kinds))
    for metric in METRICS:
        print(line([metric, *(cell(found.get(metric)) for found in results.values())]))
    folders = [folder / f"rows-{name}-{choice.faces}" for name in kinds]
    print(line(["all present", *map(share_with_all, folders)]))
    for kind in KINDS:
        print(line([f"claims: {kind}", *(share_kept(out, kind) for out in folders)]))
    drawn, top, chance = (
        results[name]["strict_id_similarity"]["mean"] for name in ("drawn", "ceiling", "strangers")
    )
    print(
        f"matched similarity: {(drawn - chance) / (top - chance):.3f} of the way from strangers "
        "to the ceiling",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="toons")
    parser.add_argument("--counts", type=int, nargs="+", default=[2, 3, 4, 5])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=None)
    parser.add_argument("--reference-guidance", type=float, default=None)
    parser.add_argument("--faces", default="examiner")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--look-alikes", action="store_true")
    choice = parser.parse_args()
    backbone = load_backbone(choice.model, device=choice.device)
    kinds = (False, True) if choice.look_alikes else (False,)
    for count, alike in itertools.product(choice.counts, kinds):
        table(choice.out / f"{count}{'-alike' if alike else ''}", choice, backbone, count, alike)


if __name__ == "__main__":
    main()
