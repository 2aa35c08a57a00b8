"""Relative size asked against drawn: how high is the second subject, to the first?

    python benchmarks/relative_size.py OUT [--model toons] [--adapter DIR] [--scenes 30]
        [--ratios 1 0.75 0.5] [--layout planned] [--gamma 0.3] [--regions]

Scenes of two toons (or those of --scenes FILE.jsonl, with the same two ids in each), drawn from
noise whose mean is shifted towards a collage in which the second subject is so much lower than the
first. Drawn is the ratio of the heights of the boxes that the examiner matches to the two (of faces
for people), as the geometric mean with its 95 in 100 over scenes; pictures in which one is absent
have no ratio, and the table says how many. The column of the collage is what the same eyes say of
the collages: whether they can measure such a ratio at all, of toons that are small.
OUT/sizes.json and OUT/sizes.md hold the table. Goes on where it stopped.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image
from toon_tables import head, line, measured, scenes_file

from personae.compute.runs import read_rows, write_atomic, write_json
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.generation import LAYOUTS, Drawing, generate, plan_scene
from personae.generation.drawing import layout_of
from personae.generation.start import start_picture
from personae.metrics.summary import cluster_bootstrap
from personae.subjects.manifest import read_scenes


def ratios(results: Path) -> list[tuple[str, float | None]]:
    """Scene and second height over first, of each picture; None where one is absent."""
    found = []
    for row in read_rows(results):
        if row["metric"] != "strict_matching_reward" or row["unmeasured"] is not None:
            continue
        boxes, match = row["details"]["boxes"], row["details"]["match"]
        both = len(match) == 2 and None not in match
        heights = [boxes[place][3] - boxes[place][1] for place in match] if both else None
        found.append((row["scene"], heights[1] / heights[0] if heights else None))
    return found


def summed(found: list[tuple[str, float | None]]) -> dict[str, object]:
    """Geometric mean, its interval over scenes, and how many pictures have none."""
    logs = [(scene, math.log(ratio)) for scene, ratio in found if ratio is not None]
    values, scenes = [value for _, value in logs], [scene for scene, _ in logs]
    ends = cluster_bootstrap(values, scenes) if values else None
    return {
        "ratio": math.exp(float(np.mean(values))) if values else None,
        "ci95": None if ends is None else [math.exp(end) for end in ends],
        "n": len(values),
        "n_absent": len(found) - len(values),
    }


def cell(found: dict) -> str:
    if found["ratio"] is None:
        return f"- (n 0, absent {found['n_absent']})"
    ends = "" if found["ci95"] is None else " [{:.3f}, {:.3f}]".format(*found["ci95"])
    return f"{found['ratio']:.3f}{ends} (n {found['n']}, absent {found['n_absent']})"


def collages(scenes, backbone, drawing: Drawing, out: Path) -> None:
    """What the noise of seed 0 was shifted towards, as pictures to be looked at."""
    for one in scenes:
        plan = plan_scene(one, backbone.limits, drawing)
        picture, _ = start_picture(layout_of(plan, drawing, 0), plan.photos, plan.size)
        path = out / one.id / "0.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="toons")
    parser.add_argument("--adapter")
    parser.add_argument("--scenes", default="30", help="how many, or a scenes.jsonl")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--ratios", type=float, nargs="+", default=[1.0, 0.75, 0.5])
    parser.add_argument("--layout", default="planned", choices=[x for x in LAYOUTS if x != "llm"])
    parser.add_argument("--gamma", type=float, default=0.3)
    parser.add_argument("--regions", action="store_true")
    parser.add_argument("--context", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--faces", default="examiner")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def main() -> None:
    choice = arguments()
    backbone = load_backbone(choice.model, device=choice.device)
    if choice.adapter:
        load_lora(backbone, choice.adapter)
    path = scenes_file(choice.scenes, choice.out)
    scenes = read_scenes(path).scenes
    if any(len(one.subjects) != 2 or one.subjects.keys() != scenes[0].subjects.keys()
           for one in scenes):  # fmt: skip
        raise SystemExit("expected two subjects a scene, with the same ids in all scenes")
    settings = {
        "init": "mean-shift",
        "gamma": choice.gamma,
        "layout": choice.layout,
        "regions": choice.regions,
        "in_context": choice.context,
        "steps": choice.steps,
        "adapter": choice.adapter,
    }
    lines, rows = [head("asked", "collage", "drawn")], []
    print(lines[0])
    for ratio in choice.ratios:
        name = f"ratio-{ratio:g}"
        out = choice.out / name
        _, second = scenes[0].subjects
        drawing = Drawing(**settings, relative_sizes={second: ratio})
        generate(scenes, backbone, out, drawing, seeds=choice.seeds)
        collages(scenes, backbone, drawing, out / "collages")
        found = {}
        for kind, folder in (("collage", "collages"), ("drawn", "images")):
            rows_folder = choice.out / f"{name}-{kind}-rows"
            measured(path, out / folder, rows_folder, choice.faces)
            found[kind] = summed(ratios(rows_folder / "results.jsonl"))
        lines.append(line([f"{ratio:g}", *(cell(found[kind]) for kind in found)]))
        print(lines[-1], flush=True)
        rows.append({"asked": ratio, **found})
    asked = {name: str(value) for name, value in vars(choice).items() if value is not None}
    write_json(choice.out / "sizes.json", {"asked": asked, "rows": rows})
    write_atomic(choice.out / "sizes.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
