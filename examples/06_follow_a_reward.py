"""Train by a reward, and see what it did: the same scenes, the same seeds, before and after.

Usage: python examples/06_follow_a_reward.py [FOLDER] [STEPS]
"""

import sys
from pathlib import Path

from personae.cli.output import number, print_table
from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.evaluation.compare import compare_runs
from personae.evaluation.evaluate import Evaluation, evaluate
from personae.generation import Drawing, generate
from personae.metrics.witnesses import EyesChoice
from personae.report import write_report
from personae.subjects.manifest import read_scenes
from personae.toons import scene, write_scenes
from personae.training.finetune import finetune
from personae.training.recipe import read_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "umo_toons.toml"


def draw_and_score(backbone: Backbone, scenes: Path, out: Path, adapter: str | None) -> Path:
    """Two pictures a scene, and what the examiner says of them; the folder of results."""
    drawing = Drawing(adapter=adapter)
    generate(read_scenes(scenes).scenes, backbone, out / "drawn", drawing, seeds=2)
    images, eyes = out / "drawn/images", EyesChoice(faces="examiner")
    evaluate(Evaluation(scenes=scenes, images=images, out=out, eyes=eyes))
    return out


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out") / "reward"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 140

    # Identities kept for tests, that neither the checkpoint nor this training has seen.
    path = write_scenes([scene(seed, count=2, split="test") for seed in range(32)], out)
    before = draw_and_score(load_backbone("toons"), path, out / "before", None)

    short = [f"training.steps={steps}", "training.batch_size=8", "data.toons.count=512"]
    # So few steps: pull as hard as the paper does, and take the mean of fewer of them.
    short += ["rerefl.reward_weight=1", "training.ema_decay=0.9"]
    quiet = ["samples.every=0", "validation.every=0", "validation.examine_every=0"]
    run = finetune(read_recipe(RECIPE, short + quiet), out / "run", resume=(out / "run").exists())
    if run.saved is None:
        raise SystemExit("stopped; run the same command again to go on")
    print(f"{run.steps} steps of ReReFL in {run.seconds:.0f} s")

    backbone = load_backbone("toons")
    load_lora(backbone, run.saved)
    after = draw_and_score(backbone, path, out / "after", "reward")
    table = [
        [
            row.metric,
            number(row.mean),
            "-" if row.ci95 is None else f"{row.ci95[0]:+.3f} {row.ci95[1]:+.3f}",
        ]
        for row in compare_runs(before, after)
    ]
    print_table("after minus before, by the examiner", ["metric", "mean", "95%"], table)
    print(f"Look at {write_report(after, out / 'report.html', against=before)}")
