"""A step of learning a cast at real size with random weights: seconds and memory.

    python benchmarks/personalize_step.py --json rows.json          # a GPU of 80 GB or more
    python benchmarks/personalize_step.py --device cpu --tiny --json rows.json    # tries it out

The recipes for SDXL, FLUX.1 and FLUX.2 Klein as they are shipped (checkpointing, batch, Seg-Mix),
on a cast of drawn toons: encoding, then ten steps after two that do not count. A row is written
when it is done, and one that is there is not measured again.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from personae.diffusion.configs import KNOWN_MODELS
from personae.diffusion.shrunk import shrunk
from personae.diffusion.sized import build_sized
from personae.toons import CastToon, identities, toon, write_cast
from personae.training.processes import Ranks
from personae.training.recipe import read_recipe
from personae.training.session import Session

RECIPES = Path(__file__).parents[1] / "recipes"
NAMES = ("mudi_sdxl", "mudi_flux2_klein", "mudi_flux1")


def settings(cast: Path, choice: argparse.Namespace, more: list[str]) -> list[str]:
    wanted = [f"data.cast.file={cast}", "data.cast.count=8", "data.workers=1", "samples.every=0"]
    wanted += ["training.save_every=0", f"device={choice.device}", *more]
    if choice.tiny:
        wanted += ["data.sizes=[[64, 64]]", "training.precision=no"]
    return wanted


def measure(name: str, more: list[str], choice: argparse.Namespace, folder: Path) -> dict[str, Any]:
    seeds = identities("test", 2, 0)
    members = zip(seeds, ("olis", "hta"), strict=True)
    cast = write_cast(
        {word: CastToon(toon(seed), word) for seed, word in members}, folder / "cast", photos=2
    )
    recipe = read_recipe(RECIPES / f"{name}.toml", settings(cast, choice, more))
    device = torch.device(choice.device)
    configs = shrunk(KNOWN_MODELS[recipe.base], tiny=choice.tiny)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = build_sized(configs, device, dtype)
    began = time.perf_counter()
    run = Session(recipe, folder / "run", Ranks(device), model)
    encoding = time.perf_counter() - began
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(choice.steps + 2):
        began = time.perf_counter()
        run.take_step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    training = recipe.training
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return {
        "recipe": name,
        "settings": more,
        "pictures_a_step": training.batch_size * training.accumulate,
        "seconds_a_step": statistics.median(seconds[2:]),
        "encoding_seconds": encoding,
        "peak_bytes": peak,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "tiny": choice.tiny,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tiny", action="store_true")
    choice = parser.parse_args()
    rows = json.loads(choice.json.read_text()) if choice.json.is_file() else []
    plans: list[tuple[str, list[str]]] = [(name, []) for name in NAMES]
    plans += [(name, ["training.gradient_checkpointing=false"]) for name in NAMES[:2]]
    plans += [("mudi_sdxl", ["objective.dco_beta=0"])]
    for name, more in plans:
        if any(row["recipe"] == name and row["settings"] == more for row in rows):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = measure(name, more, choice, Path(folder))
            except torch.cuda.OutOfMemoryError as error:
                row = {"recipe": name, "settings": more, "out_of_memory": str(error)[:200]}
        gc.collect()
        rows.append(row)
        choice.json.write_text(json.dumps(rows, indent=1) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
