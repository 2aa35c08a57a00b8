"""Each option of ReReFL against the plain one: short runs from one seed, on unseen identities.

    python benchmarks/reward_options.py OUT [--steps 75] [--batch 8] [--count 64] [--only NAME ...]

Every run sees the same scenes in the same order with the same noise and differs from its plain one
in what the table names. Then the running means of its weights draw the same validation scenes:
the reward (without the option), the examiner, which no reward uses, the distance of pictures to
true ones (KID) and how much two seeds of a scene differ. In brackets the difference to the plain
run, 95 in 100, paired by scene. Resumes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from reward_curve import looked_at, true_features
from toon_tables import difference, head, line
from torch import Tensor

from personae.compute.runs import read_rows
from personae.diffusion.load import load_backbone
from personae.metrics.quality import kernel_distance, seed_diversity
from personae.training.checkpoint import checkpoints, load_checkpoint
from personae.training.choose import choose
from personae.training.recipe import read_recipe
from personae.training.trainable import make_trainable

RECIPE = Path(__file__).parents[1] / "recipes" / "umo_toons.toml"
SHOWN = ("reward", "examiner_presence", "examiner_similarity", "examiner_confusion")
MIMR, MIXED = "rewards.weights={mimr=1.0}", "data.toons.weights=[1.0, 1.0, 1.0]"


@dataclass(frozen=True)
class Option:
    """A run: what is set (None: it is not run), and what it is compared with."""

    words: str
    settings: tuple[str, ...] | None = ()
    against: str = "plain"


OPTIONS = {
    "plain": Option("strict matching, the gradient of all 8 steps"),
    "base": Option("before training", None),
    "one": Option(
        "one step of the last 3 (UMO: of the last 10 of 25)",
        ("rerefl.window=[1, 3]", "rerefl.gradient_steps=1"),
    ),
    "three": Option("the last 3 steps (DRaFT-3)", ("rerefl.gradient_steps=3",)),
    "guided": Option(
        "the last 3, guided as users draw",
        ("rerefl.gradient_steps=3", "rollout.reference_guidance=3.0"),
        "three",
    ),
    "half": Option("half the reward's weight", ("rerefl.reward_weight=0.5",)),
    "penalty": Option("velocity penalty 1", ("rerefl.penalty=1.0",)),
    "jitter": Option("crops jittered by 0.1", ("rewards.jitter=0.1",)),
    "no-flow": Option("without flow matching", ("rerefl.flow_weight=0.0",)),
    "mimr": Option("MIMR as released", (MIMR,)),
    "margin": Option("MIMR, unmatched_margin 0.3", (MIMR, "rewards.unmatched_margin=0.3"), "mimr"),
    "mixed": Option("MIMR, one to three toons", (MIMR, MIXED), "mimr"),
    "per-subject": Option(
        "the same, per_subject", (MIMR, MIXED, "rewards.per_subject=true"), "mixed"
    ),
}


def trained(folder: Path, option: Option, choice: argparse.Namespace) -> dict[str, Tensor]:
    """The weights of a run, which is begun, gone on with, or there; none of one that is not run."""
    if option.settings is None:
        return {}
    kept = checkpoints(folder / "checkpoints")
    if kept and kept[-1].name == f"step-{choice.steps:08d}":
        return dict(load_checkpoint(kept[-1]).ema)
    settings = [
        f"training.steps={choice.steps}",
        f"training.batch_size={choice.batch}",
        f"data.folder={choice.out / 'latents'}",
        "validation.every=0",
        "samples.every=0",
        "rerefl.reward_weight=1.0",  # the paper's, not the recipe's
        *option.settings,
    ]
    command = [sys.executable, "-m", "personae", "train", str(RECIPE), "--out", str(folder)]
    command += ["--resume"] if (folder / "recipe.resolved.toml").is_file() else []
    for one in settings:
        command += ["--set", one]
    subprocess.run(command, check=True)
    return dict(load_checkpoint(checkpoints(folder / "checkpoints")[-1]).ema)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=75)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--only", nargs="*", choices=tuple(OPTIONS), default=tuple(OPTIONS))
    choice = parser.parse_args()
    choice.out = choice.out.resolve()
    recipe = read_recipe(RECIPE)
    recipe = replace(recipe, validation=replace(recipe.validation, count=choice.count, seeds=2))
    backbone = load_backbone(recipe.base, device="cpu")
    validation = choose(recipe, backbone, backbone.device).validation
    truth = true_features(recipe, backbone)
    params = make_trainable(backbone, recipe)
    untrained = {key: value.detach().clone() for key, value in params.items()}
    rows: dict[str, dict[str, np.ndarray]] = {}
    print(head("", *SHOWN, "KID x 1000", "diversity", "seconds"))
    for name in choice.only:
        option = OPTIONS[name]
        weights = trained(choice.out / name, option, choice)
        path = choice.out / f"{name}.npz"
        if not path.is_file():
            for key, value in {**untrained, **weights}.items():
                params[key].data.copy_(value)
            np.savez(path, **looked_at(validation, backbone, recipe.seed))
        rows[name] = dict(np.load(path))
        against = rows.get(option.against, rows[name])
        cells = [difference(rows[name][shown], against[shown]) for shown in SHOWN]
        cells.append(f"{1000 * float(kernel_distance(rows[name]['pixels'], truth)):.2f}")
        cells.append(difference(spread(rows[name]), spread(against)))
        print(line([option.words, *cells, seconds(choice.out / name)]), flush=True)


def seconds(run: Path) -> str:
    log = run / "log.jsonl"
    return (
        f"{[row['seconds'] for row in read_rows(log) if 'seconds' in row][-1]:.0f}"
        if log.is_file()
        else "-"
    )


def spread(row: dict[str, np.ndarray]) -> np.ndarray:
    """(scenes,) of a look at all scenes with two seeds, one seed after the other."""
    order = np.argsort(row["order"], kind="stable")
    return np.asarray(seed_diversity(row["pixels"][order].reshape(-1, 2, row["pixels"].shape[1])))


if __name__ == "__main__":
    main()
