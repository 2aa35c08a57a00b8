"""Two toons from five pictures each: MuDI, its baselines and its ablations, by the examiner.

    python benchmarks/personalize.py OUT [--kinds distinct alike] [--casts 4] [--arms mudi ...]
        [--count 2] [--scenes 16] [--seeds 2] [--part 0/2] [--table] [--sheet FILE.png]

Each cast is learned by itself by `recipes/mudi_toons.toml` with the settings of an arm, and its
test scenes are drawn without references in context. The examiner compares with portraits that
nothing was trained on. ``--part I/N`` does every N-th cast (one process a core); ``--table`` only
reads what is there. Resumes. Intervals resample casts, then their scenes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from personae.toons import (
    CastToon,
    Toon,
    identities,
    look_alike,
    scene,
    toon,
    write_cast,
    write_places,
    write_scenes,
)
from personae.training.finetune import finetune
from personae.training.recipe import read_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "mudi_toons.toml"
TOKENS = ("olis", "hta", "ult", "amg", "lun")
METRICS = (
    "success",
    "presence",
    "strict_detect_and_compare",
    "strict_id_confusion",
    "strict_id_similarity",
    "prompt_fidelity",
    "strangers",
)
RESAMPLES = 2000


@dataclass(frozen=True)
class Arm:
    """What is trained, and how it is drawn; ``run`` is shared by arms that train the same."""

    run: str
    settings: tuple[str, ...] = ()
    drawing: Mapping[str, object] = field(default_factory=dict)


INIT = {"init": "mean-shift", "gamma": 1.0, "layout": "planned"}
DREAMBOOTH = ("data.cast.mix=none",)
CUT_MIX = ("data.cast.mix=cut_mix", "data.cast.seg_mix.backgrounds=['white']")
INVERSION = ("data.cast.mix=none", "data.cache_text=false", "tokens.alone=true")
PLAIN = ("data.cast.descriptive=false",)
ARMS: dict[str, Arm] = {
    "textual-inversion": Arm("inversion", INVERSION),
    "dreambooth": Arm("dreambooth", DREAMBOOTH),
    "dreambooth+regions": Arm("dreambooth", DREAMBOOTH, {"regions": True, "layout": "planned"}),
    "cut-mix": Arm("cut-mix", CUT_MIX),
    "seg-mix": Arm("seg-mix"),
    "mudi": Arm("seg-mix", (), INIT),
    "mudi, no seg-mix": Arm("dreambooth", DREAMBOOTH, INIT),
    "mudi, plain nouns": Arm("plain", PLAIN, INIT),
    "mudi+iterative": Arm("iterative", (), INIT),
    "mudi, best of 4": Arm("seg-mix", (), {**INIT, "best_of": 4}),
}


def members(kind: str, number: int, count: int) -> list[Toon]:
    """The toons of a cast: strangers to each other, or look-alikes of the first."""
    start = 1000 * count + 10 * number
    first = toon(identities("test", 1, start)[0])
    if kind == "alike":
        return [first, *(look_alike(first, start + place, 1) for place in range(1, count))]
    return [first, *(toon(identities("test", 1, start + p)[0]) for p in range(1, count))]


def write_inputs(folder: Path, kind: str, number: int, choice: argparse.Namespace) -> None:
    """The cast, places to mix before, test scenes as they are examined and as they are drawn."""
    if (folder / "scenes" / "drawn.jsonl").is_file():
        return
    toons = members(kind, number, choice.count)
    cast = {n: CastToon(t, k) for n, t, k in zip("abcde", toons, TOKENS, strict=False)}
    write_cast(cast, folder / "cast", start=100 * number)
    write_places(folder / "places", size=size_of(choice))
    seeds = range(5000 + 100 * number, 5000 + 100 * number + choice.scenes)
    path = write_scenes([scene(s, toons=toons, split="test") for s in seeds], folder / "scenes")
    lines = []
    for text in path.read_text().splitlines():
        told = json.loads(text)
        for name, subject in told["subjects"].items():
            photos = [f"../cast/{name}/{place:02d}.png" for place in range(5)]
            subject |= {"token": cast[name].token, "references": photos}
            subject.pop("target")
        lines.append(json.dumps(told))
    (folder / "scenes" / "drawn.jsonl").write_text("\n".join(lines) + "\n")


def size_of(choice: argparse.Namespace) -> tuple[int, int]:
    return (128 if choice.count <= 3 else 192, 128)


def common(folder: Path, choice: argparse.Namespace) -> list[str]:
    counts = [1.0] * (choice.count - 1)
    return [
        f"data.cast.file={folder / 'cast' / 'cast.jsonl'}",
        f"data.cast.backgrounds={folder / 'places'}",
        f"data.sizes=[{list(size_of(choice))}]",
        f"data.cast.seg_mix.counts={counts}",
        f"training.threads={torch.get_num_threads()}",
        f"training.steps={choice.steps}",
    ]


def train(folder: Path, arm: Arm, choice: argparse.Namespace) -> None:
    out = folder / "runs" / arm.run
    if (out / "adapter").is_dir() or (out / "tokens").is_dir():
        return
    recipe = read_recipe(RECIPE, [*common(folder, choice), *arm.settings])
    if arm.run == "inversion":
        recipe = read_recipe(RECIPE, [*common(folder, choice), *arm.settings])
    finetune(recipe, out, resume=True)
