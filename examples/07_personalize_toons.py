"""Two toons from five pictures each, by MuDI: learn them, draw them together, examine, report.

Usage: python examples/07_personalize_toons.py [FOLDER] [STEPS]
"""

import sys
from pathlib import Path

from personae.cli.output import number, print_table
from personae.compute.runs import read_json
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.evaluation.evaluate import Evaluation, evaluate
from personae.generation import Drawing, generate
from personae.metrics.witnesses import EyesChoice
from personae.report import write_report
from personae.subjects.manifest import read_scenes
from personae.toons import (
    CastToon,
    identities,
    scene,
    toon,
    write_cast,
    write_cast_scenes,
    write_places,
)
from personae.training.finetune import finetune
from personae.training.recipe import read_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "mudi_toons.toml"

if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out") / "cast"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 800

    # Two identities kept for tests, alone in five places each; and places with nobody in them.
    ann, bob = (toon(seed) for seed in identities("test", 2, 0))
    cast = write_cast({"a": CastToon(ann, "olis"), "b": CastToon(bob, "hta")}, out)
    scenes = write_cast_scenes([scene(seed, toons=[ann, bob]) for seed in range(12)], cast)
    places = write_places(out / "places")

    settings = [f"data.cast.file={cast}", f"data.cast.backgrounds={places}"]
    settings += [f"training.steps={steps}"]
    run = finetune(read_recipe(RECIPE, settings), out / "run", resume=(out / "run").exists())
    print(f"{run.steps} steps of Seg-Mix in {run.seconds:.0f} s")

    backbone = load_backbone("toons")
    load_lora(backbone, run.saved)
    plain = Drawing(in_context=False)
    shifted = Drawing(in_context=False, init="mean-shift", gamma=1.0, layout="planned")
    for name, drawing in (("plain", plain), ("shifted", shifted)):
        generate(read_scenes(scenes).scenes, backbone, out / name, drawing, seeds=2)
        images, rows, eyes = (
            out / name / "images",
            out / name / "rows",
            EyesChoice(faces="examiner"),
        )
        evaluate(Evaluation(scenes=scenes, images=images, out=rows, eyes=eyes))
        found = [
            row for row in read_json(rows / "summary.json")["metrics"] if row["mean"] is not None
        ]
        print_table(name, ["metric", "mean"], [[r["metric"], number(r["mean"])] for r in found])
        print(write_report(rows))
