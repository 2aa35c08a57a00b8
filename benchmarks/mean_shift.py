"""Does noise with a shifted mean bring more subjects into the picture? By the examiner.

    python benchmarks/mean_shift.py OUT [--model toons] [--adapter DIR] [--scenes 50]
        [--gammas 0 0.15 0.3 0.6 1.5] [--layout halves] [--no-context] [--region-weight 0]
        [--sheet FILE.png]

Scenes of two unseen toons (or those of --scenes FILE.jsonl), drawn from plain noise and from noise
shifted towards a collage of the segmented references (gamma), each with references in context and
without: the second is a model that was never tuned to these subjects and knows of them by the noise
alone. ``--context`` or ``--no-context`` draws only the one. OUT/sweep.json and OUT/sweep.md hold
the table; what is drawn is kept, so that it goes on where it stopped. The sheet shows what the
model takes the picture to be over the steps, for the first scenes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from toon_tables import cell, head, line, measured, scenes_file

from personae.compute.runs import write_atomic, write_json
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.generation import LAYOUTS, Drawing, generate, trace
from personae.subjects.manifest import read_scenes

GAMMAS = (0.0, 0.15, 0.3, 0.6, 1.5)
METRICS = (
    "presence",
    "strict_id_similarity",
    "strict_id_confusion",
    "strict_position_score",
    "prompt_fidelity",
)
SHOWN = (0, 1, 2, 4, 6, 9, 13, 20)


def drawing_of(choice: argparse.Namespace, gamma: float, in_context: bool) -> Drawing:
    shared = {
        "in_context": in_context,
        "adapter": choice.adapter,
        "steps": choice.steps,
        "regions": choice.region_weight > 0,
        "region_weight": choice.region_weight,
        "layout": choice.layout,
    }
    return Drawing(init="mean-shift" if gamma else "plain", gamma=gamma or 0.3, **shared)


def sheet(choice, scenes, backbone, path: Path) -> None:
    rows = []
    for one in scenes:
        for gamma in (0.0, 0.3):
            glimpses = trace(backbone, one, 0, drawing_of(choice, gamma, True))
            shown = [glimpses[min(step, len(glimpses) - 1)].picture for step in SHOWN]
            rows.append(np.concatenate(shown, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, 0)).save(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="toons")
    parser.add_argument("--adapter")
    parser.add_argument("--scenes", default="50", help="how many, or a scenes.jsonl")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--gammas", type=float, nargs="+", default=list(GAMMAS))
    parser.add_argument("--layout", default="halves", choices=[x for x in LAYOUTS if x != "llm"])
    parser.add_argument("--region-weight", type=float, default=0.0, help="0: no regions")
    parser.add_argument("--context", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--faces", default="examiner")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path)
    return parser.parse_args()


def main() -> None:
    choice = arguments()
    backbone = load_backbone(choice.model, device=choice.device)
    if choice.adapter:
        load_lora(backbone, choice.adapter)
    path = scenes_file(choice.scenes, choice.out)
    scenes = read_scenes(path).scenes
    if choice.sheet:
        sheet(choice, scenes[:2], backbone, choice.sheet)
    lines, rows = [head("references in context", "gamma", *METRICS)], []
    print(lines[0])
    for in_context in (True, False) if choice.context is None else (choice.context,):
        for gamma in choice.gammas:
            name = f"{'seen' if in_context else 'unseen'}-{gamma:g}"
            out, drawing = choice.out / name, drawing_of(choice, gamma, in_context)
            generate(scenes, backbone, out, drawing, seeds=choice.seeds)
            found = measured(path, out / "images", choice.out / f"{name}-rows", choice.faces)
            cells = [cell(found.get(metric)) for metric in METRICS]
            lines.append(line(["yes" if in_context else "no", f"{gamma:g}", *cells]))
            print(lines[-1], flush=True)
            kept = {metric: found.get(metric) for metric in METRICS}
            rows.append({"in_context": in_context, "gamma": gamma, "metrics": kept})
    asked = {name: str(value) for name, value in vars(choice).items() if value is not None}
    write_json(choice.out / "sweep.json", {"asked": asked, "rows": rows})
    write_atomic(choice.out / "sweep.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
