"""The main job on real photographs: make six pictures, score them, print a table, write a report.

Usage: python examples/01_demo_photos.py [FOLDER]
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

from demo_pictures import demo_pictures, reference_photos
from PIL import Image

from personae.cli.output import number, print_table
from personae.compute.runs import read_rows
from personae.evaluation.evaluate import Evaluation, evaluate
from personae.report import write_report

NOUNS = {"astronaut": "smiling astronaut", "cat": "tabby cat", "cup": "red coffee cup"}
KINDS = {"astronaut": "person", "cat": "animal", "cup": "object"}


def write_inputs(folder: Path) -> None:
    """References, pictures, and scenes.jsonl with one scene for each picture."""
    for name in ("references", "images"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    subjects = {}
    for name, photo in reference_photos().items():
        Image.fromarray(photo).save(folder / "references" / f"{name}.png")
        reference = f"references/{name}.png"
        subjects[name] = {"noun": NOUNS[name], "kind": KINDS[name], "references": [reference]}
    lines = []
    for name, picture in demo_pictures().items():
        Image.fromarray(picture).save(folder / "images" / f"{name}.png")
        scene = {"id": name, "prompt": "{astronaut}, {cat} and {cup} at dusk", "subjects": subjects}
        lines.append(json.dumps({**scene, "relation": ["astronaut", "left of", "cup"]}) + "\n")
    (folder / "scenes.jsonl").write_text("".join(lines))


def print_scores(results: Path) -> None:
    """One line a metric, one column a picture; averaged over the picture's subjects."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in read_rows(results / "results.jsonl"):
        if row["value"] is not None:
            values[row["metric"]][row["scene"]].append(row["value"])
    pictures = list(values["presence"])
    means = {metric: {n: sum(v) / len(v) for n, v in by.items()} for metric, by in values.items()}
    table = [[metric, *(number(mean.get(n)) for n in pictures)] for metric, mean in means.items()]
    print_table("six pictures", ["metric", *pictures], table)


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out")
    run = out / "six-pictures"
    write_inputs(out)
    evaluate(Evaluation(scenes=out / "scenes.jsonl", images=out / "images", out=run))
    print_scores(run)
    print(f"Look at {write_report(run, out / 'report.html')}")
