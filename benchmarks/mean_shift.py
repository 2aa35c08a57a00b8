"""Does noise with a shifted mean bring more subjects into the picture? By the examiner.

    python benchmarks/mean_shift.py OUT [--model toons] [--scenes 50] [--sheet FILE.png]

Scenes of two unseen toons, drawn from plain noise and from noise shifted towards a collage of the
segmented references (gamma), each with references in context and without: the second is a model
that was never tuned to these subjects and knows of them by the noise alone. The sheet shows what
the model takes the picture to be over the steps, for the first scenes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from toon_tables import cell, head, line, measured

from personae.diffusion.load import load_backbone
from personae.generation import Drawing, generate, trace
from personae.subjects.manifest import read_scenes
from personae.toons import scene, write_scenes

GAMMAS = (0.0, 0.15, 0.3, 0.6, 1.5)
METRICS = ("presence", "strict_id_similarity", "strict_id_confusion", "prompt_fidelity")
SHOWN = (0, 1, 2, 4, 6, 9, 13, 20)


def drawing_of(gamma: float, in_context: bool) -> Drawing:
    if not gamma:
        return Drawing(in_context=in_context)
    return Drawing(init="mean-shift", gamma=gamma, layout="halves", in_context=in_context)


def sheet(scenes, backbone, path: Path) -> None:
    rows = []
    for one in scenes:
        for gamma in (0.0, 0.3):
            glimpses = trace(backbone, one, 0, drawing_of(gamma, True))
            shown = [glimpses[min(step, len(glimpses) - 1)].picture for step in SHOWN]
            rows.append(np.concatenate(shown, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, 0)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="toons")
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path)
    choice = parser.parse_args()
    backbone = load_backbone(choice.model, device=choice.device)
    path = choice.out / "scenes.jsonl"
    if not path.is_file():
        drawn = (scene(seed, count=2, split="test") for seed in range(choice.scenes))
        write_scenes(drawn, choice.out)
    scenes = read_scenes(path).scenes
    if choice.sheet:
        sheet(scenes[:2], backbone, choice.sheet)
    print(head("references in context", "gamma", *METRICS))
    for in_context in (True, False):
        for gamma in GAMMAS:
            name = f"{'seen' if in_context else 'unseen'}-{gamma:g}"
            out = choice.out / name
            generate(scenes, backbone, out, drawing_of(gamma, in_context), seeds=choice.seeds)
            found = measured(path, out / "images", choice.out / f"{name}-rows")
            cells = [cell(found[metric]) for metric in METRICS]
            print(line(["yes" if in_context else "no", f"{gamma:g}", *cells]), flush=True)


if __name__ == "__main__":
    main()
