"""The main job on real photographs: draw six pictures, score them, print a table, write a report.

Usage: python examples/01_demo_photos.py [FOLDER]
"""

import json
import sys
from pathlib import Path

from demo_pictures import demo_pictures, reference_photos
from PIL import Image

from personae.cli.output import number, print_table
from personae.compute.runs import read_rows
from personae.evaluation.evaluate import Evaluation, evaluate
from personae.report import write_report

NOUNS = {
    "astronaut": ("smiling astronaut", "person"),
    "cat": ("tabby cat", "animal"),
    "cup": ("red coffee cup", "object"),
}


def write_inputs(folder: Path) -> None:
    """scenes.jsonl with one scene for each picture, references and pictures."""
    for name, photo in reference_photos().items():
        (folder / "references").mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(folder / "references" / f"{name}.png")
    subjects = {
        name: {"noun": noun, "kind": kind, "references": [f"references/{name}.png"]}
        for name, (noun, kind) in NOUNS.items()
    }
    (folder / "images").mkdir(exist_ok=True)
    with (folder / "scenes.jsonl").open("w") as scenes:
        for name, picture in demo_pictures().items():
            Image.fromarray(picture).save(folder / "images" / f"{name}.png")
            prompt = "{astronaut}, {cat} and {cup} under an evening sky"
            relation = ["astronaut", "left of", "cup"]
            line = {"id": name, "prompt": prompt, "subjects": subjects, "relation": relation}
            scenes.write(json.dumps(line) + "\n")


def print_scores(results: Path) -> None:
    """One line a metric, one column a picture; what belongs to subjects is averaged over them."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in read_rows(results / "results.jsonl"):
        if row["value"] is not None:
            values.setdefault(row["metric"], {}).setdefault(row["scene"], []).append(row["value"])
    pictures = list(next(iter(values.values())))
    table = [
        [metric, *(number(sum(v) / len(v)) if (v := by.get(name)) else "-" for name in pictures)]
        for metric, by in values.items()
    ]
    print_table("six pictures", ["metric", *pictures], table)


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out")
    write_inputs(out)
    task = Evaluation(scenes=out / "scenes.jsonl", images=out / "images", out=out / "six-pictures")
    evaluate(task)
    print_scores(out / "six-pictures")
    print(f"Look at {write_report(out / 'results', out / 'report.html')}")
