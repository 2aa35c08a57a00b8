"""Where does a reward begin to be over-optimized? A run's checkpoints, on unseen identities.

    python benchmarks/reward_curve.py RUN OUT [--every 50] [--count 64] [--until STEP]

Each kept checkpoint (the running mean of its weights) draws the same validation scenes with the
same noise as step 0: the reward that was followed, the third measure that chooses, the examiner
that neither asks, and the distance of pictures to true ones (KID, an embedder that no training
uses). In brackets the difference to step 0 with its 95 in 100, paired by scene. Resumes;
curve_chart.py draws what it finds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from toon_tables import difference, head, line, picture_features

from personae.diffusion.load import load_backbone
from personae.metrics.quality import kernel_distance
from personae.training.checkpoint import checkpoints, load_checkpoint
from personae.training.choose import choose
from personae.training.recipe import read_recipe
from personae.training.rolling import guides_of
from personae.training.sources import validation_examples
from personae.training.trainable import make_trainable

SHOWN = ("reward", "features", "examiner_presence", "examiner_similarity", "examiner_confusion")


def looked_at(validation, backbone, seed: int) -> dict[str, np.ndarray]:
    guides = partial(guides_of, backbone, empty=backbone.encode_prompt([""]).detach())
    held: dict[str, list] = {}
    order: list[int] = []
    for places, pictures in validation.drawn(backbone, seed, guides):
        found = {**validation.scores(places, pictures), "pixels": picture_features(pictures)}
        order += places
        for name, numbers in found.items():
            held.setdefault(name, []).append(np.asarray(numbers))
    return {"order": np.array(order), **{k: np.concatenate(v) for k, v in held.items()}}


def true_features(recipe, backbone) -> np.ndarray:
    """(scenes, d) of the pictures that the validation scenes were written for."""
    pictures = np.stack([one.image for one in validation_examples(recipe, backbone)])
    return picture_features(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--until", type=int)
    parser.add_argument("--count", type=int, default=64)
    choice = parser.parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    recipe = read_recipe(choice.run / "recipe.resolved.toml")
    recipe = replace(recipe, validation=replace(recipe.validation, count=choice.count))
    backbone = load_backbone(recipe.base, device="cpu")
    validation = choose(recipe, backbone, backbone.device).validation
    truth = true_features(recipe, backbone)
    np.save(choice.out / "truth.npy", truth)
    params = make_trainable(backbone, recipe)
    found = {int(path.name.split("-")[1]): path for path in checkpoints(choice.run / "checkpoints")}
    steps = [step for step in found if step % choice.every == 0 and step <= (choice.until or step)]
    rows: dict[int, dict[str, np.ndarray]] = {}
    print(head("step", *SHOWN, "quality (KID x 1000)"))
    for step in [0, *steps]:
        path = choice.out / f"step-{step}.npz"
        if not path.is_file():
            if step:
                kept = load_checkpoint(found[step])
                for name, value in (kept.ema or kept.weights).items():
                    params[name].data.copy_(value)
            np.savez(path, **looked_at(validation, backbone, recipe.seed))
        rows[step] = dict(np.load(path))
        cells = [difference(rows[step][name], rows[0][name]) for name in SHOWN if name in rows[0]]
        quality = 1000 * float(kernel_distance(rows[step]["pixels"], truth))
        print(line([str(step), *cells, f"{quality:.2f}"]), flush=True)
    if all("features" in row for row in rows.values()):
        kept = max(rows, key=lambda step: np.nanmean(rows[step]["features"]))
        print(f"\nkept by the third measure: step {kept}")


if __name__ == "__main__":
    main()
