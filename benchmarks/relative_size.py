"""Relative size asked against drawn: how high is the second subject, to the first?

    python benchmarks/relative_size.py OUT [--model toons] [--adapter DIR] [--scenes 30]
        [--casts FOLDER ...] [--ratios 1 0.75 0.5] [--layout planned] [--gamma 0.3] [--regions]

Scenes of two toons (or those of --scenes FILE.jsonl, with the same two ids in each; or those of
each cast that `personalize.py` left, drawn by its Seg-Mix adapter without context), drawn from
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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Cast:
    """Scenes of two, and the adapter that knows them, if any."""

    name: str
    scenes: Path
    examined: Path
    adapter: Path | None


def casts_of(choice: argparse.Namespace) -> list[Cast]:
    if not choice.casts:
        path = scenes_file(choice.scenes, choice.out)
        return [Cast(".", path, path, choice.adapter)]
    return [
        Cast(
            folder.name,
            folder / "cast" / "scenes.jsonl",
            folder / "scenes" / "scenes.jsonl",
            folder / "runs" / "seg-mix" / "adapter",
        )
        for folder in choice.casts
    ]


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
    parser.add_argument("--casts", type=Path, nargs="+", help="folders of personalize.py")
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


def draw_cast(choice: argparse.Namespace, cast: Cast, ratio: float) -> dict[str, list]:
    """Ratios of one cast, of the collages and of what is drawn."""
    backbone = load_backbone(choice.model, device=choice.device)
    if cast.adapter:
        load_lora(backbone, cast.adapter)
    scenes = read_scenes(cast.scenes).scenes
    if any(len(one.subjects) != 2 or one.subjects.keys() != scenes[0].subjects.keys()
           for one in scenes):  # fmt: skip
        raise SystemExit("expected two subjects a scene, with the same ids in all scenes")
    _, second = scenes[0].subjects
    drawing = Drawing(
        init="mean-shift",
        gamma=choice.gamma,
        layout=choice.layout,
        regions=choice.regions,
        in_context=choice.context and not choice.casts,
        steps=choice.steps,
        adapter=cast.name if choice.casts else choice.adapter,
        relative_sizes={second: ratio},
    )
    out = choice.out / cast.name / f"ratio-{ratio:g}"
    generate(scenes, backbone, out, drawing, seeds=choice.seeds)
    collages(scenes, backbone, drawing, out / "collages")
    found = {}
    for kind, folder in (("collage", "collages"), ("drawn", "images")):
        rows = out / f"{kind}-rows"
        measured(cast.examined, out / folder, rows, choice.faces)
        own = ratios(rows / "results.jsonl")
        found[kind] = [(f"{cast.name} {scene}", value) for scene, value in own]
    return found


def main() -> None:
    choice = arguments()
    casts = casts_of(choice)
    lines, rows = [head("asked", "collage", "drawn")], []
    print(lines[0])
    for ratio in choice.ratios:
        parts = [draw_cast(choice, cast, ratio) for cast in casts]
        found = {
            kind: summed([one for part in parts for one in part[kind]])
            for kind in ("collage", "drawn")
        }
        lines.append(line([f"{ratio:g}", *(cell(found[kind]) for kind in found)]))
        print(lines[-1], flush=True)
        rows.append({"asked": ratio, **found})
    asked = {name: str(value) for name, value in vars(choice).items() if value is not None}
    write_json(choice.out / "sizes.json", {"asked": asked, "rows": rows})
    write_atomic(choice.out / "sizes.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
