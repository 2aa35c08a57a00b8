"""Real photographs at toon scale: prepare, learn, draw, score, and show it as it is.

    PERSONAE_DATA=... python benchmarks/photographs.py OUT [--pair monster robot] [--steps 1200]
        [--sheet FILE.png]

The toon checkpoint has never seen a photograph: 128 pixels, 2.3 million parameters, words for
toons. So this shows that the whole road holds for real photographs on a laptop, and what comes of
it; not what a real model makes of them. Photos are cut out without being told a mask.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from toon_tables import cell, head, line

from personae.compute.runs import read_json
from personae.data.prepare import Preparation, prepare
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.evaluation.evaluate import Evaluation, evaluate
from personae.generation import Drawing, generate
from personae.subjects.manifest import read_scenes
from personae.subjects.picture import read_picture
from personae.training.finetune import finetune
from personae.training.recipe import read_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "mudi_toons.toml"
NOUNS = {
    "monster": "red monster plush",
    "robot": "white robot toy",
    "corgi": "corgi",
    "chow": "chow chow",
}
METRICS = (
    "success",
    "presence",
    "strict_subject_consistency",
    "strict_id_confusion",
    "strict_detect_and_compare",
)
SCENES, SEEDS = 8, 2
INIT = {"init": "mean-shift", "gamma": 1.0, "layout": "halves"}


def bare_photos(data: Path, pair: list[str], out: Path) -> Path:
    """The photos without their masks."""
    for name in pair:
        (out / name).mkdir(parents=True, exist_ok=True)
        for path in sorted((data / "photos" / "subjects" / name).glob("*.jpg")):
            shutil.copy(path, out / name)
    return out


def write_scenes(cast: Path) -> Path:
    lines = [json.loads(text) for text in cast.read_text().splitlines()]
    subjects = {
        one["id"]: {
            **{key: one[key] for key in ("noun", "kind", "token")},
            "references": [photo["image"] for photo in one["references"]],
        }
        for one in lines
    }
    prompt = " and ".join("{" + name + "}" for name in subjects)
    told = [{"id": f"s{n}", "prompt": prompt, "subjects": subjects} for n in range(SCENES)]
    path = cast.with_name("scenes.jsonl")
    path.write_text("".join(json.dumps(one) + "\n" for one in told))
    return path


def draw_and_score(scenes: Path, adapter: Path, out: Path, how: dict) -> dict[str, dict]:
    backbone = load_backbone("toons")
    load_lora(backbone, adapter)
    drawing = Drawing(in_context=False, **how)
    generate(read_scenes(scenes).scenes, backbone, out, drawing, seeds=SEEDS)
    evaluate(Evaluation(scenes=scenes, images=out / "images", out=out / "rows"))
    return {row["metric"]: row for row in read_json(out / "rows" / "summary.json")["metrics"]}


def tile(path: Path) -> np.ndarray:
    picture = Image.fromarray(read_picture(path))
    return np.asarray(ImageOps.pad(picture, (128, 128), color="white"))


def write_sheet(path: Path, cast: Path, drawn: list[Path]) -> None:
    photos = sorted(p for p in cast.parent.glob("*/0?.*") if ".mask" not in p.name)
    rows = [[tile(photo) for photo in photos]]
    for folder in drawn:
        rows.append([tile(p) for p in sorted(folder.glob("images/*/*.png"))[: len(photos)]])
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = [
        np.pad(np.concatenate(r, 1), ((3, 3), (0, 0), (0, 0)), constant_values=255) for r in rows
    ]
    Image.fromarray(np.concatenate(bands)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pair", nargs=2, default=["monster", "robot"])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--sheet", type=Path)
    choice = parser.parse_args()
    out = choice.out.resolve()
    photos = bare_photos(Path(os.environ["PERSONAE_DATA"]), choice.pair, out / "photos")
    nouns = {name: NOUNS[name] for name in choice.pair}
    kinds = dict.fromkeys(choice.pair, "object")
    made = prepare(Preparation(photos=photos, out=out / "cast", nouns=nouns, kinds=kinds))
    print(f"{made.num_photos} photos, {len(made.doubtful)} doubtful, by {made.eyes}")
    cast = out / "cast" / "cast.jsonl"
    settings = [
        f"data.cast.file={cast}",
        "data.cast.seg_mix.backgrounds=['white']",
        "data.cast.own_captions=false",
        f"training.steps={choice.steps}",
        f"training.threads={choice.threads}",
    ]
    run = finetune(read_recipe(RECIPE, settings), out / "run", resume=(out / "run").exists())
    print(f"{run.steps} steps in {run.seconds:.0f} s")
    scenes = write_scenes(cast)
    print(head("", *METRICS))
    for name, how in (("plain", {}), ("shifted", INIT)):
        found = draw_and_score(scenes, out / "run" / "adapter", out / name, how)
        print(line([name, *(cell(found.get(metric)) for metric in METRICS)]))
    if choice.sheet:
        write_sheet(choice.sheet, cast, [out / "plain", out / "shifted"])


if __name__ == "__main__":
    main()
