"""The whole road without a download: draw toons that the model never saw, score them, report.

Usage: python examples/02_draw_toons.py [FOLDER] [MODEL]
"""

import sys
from pathlib import Path

from personae.cli.output import number, print_table
from personae.compute.runs import read_json
from personae.diffusion.load import load_backbone
from personae.evaluation.evaluate import Evaluation, evaluate
from personae.generation import generate
from personae.metrics.witnesses import EyesChoice
from personae.report import write_report
from personae.subjects.manifest import read_scenes
from personae.toons import scene, write_scenes

if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out") / "toons"
    model = sys.argv[2] if len(sys.argv) > 2 else "toons"

    # Six scenes of two and six of three, all of identities kept for tests; two pictures of each.
    scenes = [scene(seed, count=2 + seed % 2, split="test") for seed in range(12)]
    path = write_scenes(scenes, out)
    made = generate(read_scenes(path).scenes, load_backbone(model), out / "drawn", seeds=2)
    print(f"{made.num_pictures} pictures in {made.seconds:.0f} s")

    eyes = EyesChoice(faces="examiner")
    evaluate(Evaluation(scenes=path, images=out / "drawn/images", out=out / "rows", eyes=eyes))
    table = [
        [row["metric"], number(row["mean"]), f"{row['n']}", f"{row['n_absent']}"]
        for row in read_json(out / "rows/summary.json")["metrics"]
    ]
    print_table("by the examiner", ["metric", "mean", "n", "absent"], table)
    print(f"Look at {write_report(out / 'rows', out / 'report.html')}")
