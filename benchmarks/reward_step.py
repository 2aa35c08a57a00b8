"""A reward step at real size: seconds, memory, and the same step written most directly beside it.

    python benchmarks/reward_step.py --json rows.json                     # one GPU of 80 GB or more
    python benchmarks/reward_step.py --device cpu --tiny --json rows.json # tries the program out

FLUX.2 Klein 4B's true shapes with random weights and two references: one ReReFL step (rollout of
25 steps, the fifth from the end with a gradient, reward through the decoder, flow-matching loss,
update), one GRPO iteration (MixGRPO's window of 4), with and without checkpointing, compilation
and a small decoder; and ReReFL as plain calls of the pipeline's parts (`reward_step_plain`).
Each row is written when it is done, and a row that is there is not measured again.
`--depth N` takes N blocks only, `--tiny` makes everything tiny. Faces are looked for and embedded
in earnest, but random pictures have none, so two fixed places count as found.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from reward_step_parts import make_reward, random_examples
from reward_step_plain import PlainReReFL

from personae.config import build_config
from personae.diffusion.backbone import Backbone
from personae.diffusion.configs import KNOWN_MODELS, ModelConfigs
from personae.diffusion.decoder import new_small_decoder, save_small_decoder
from personae.diffusion.lora import add_lora
from personae.diffusion.sized import Flops, build_sized, count_flops, shrunk
from personae.training.chosen import Chosen
from personae.training.grpo import Grpo
from personae.training.processes import Ranks
from personae.training.recipe import Recipe
from personae.training.rerefl import ReReFL
from personae.training.session import Session

MODEL = "black-forest-labs/FLUX.2-klein-base-4B"
REFERENCES = 2
FROM_THE_END = 5  # mean of UMO's window [1, 10] of 25, so every step costs the same


@dataclass(frozen=True)
class Setup:
    """What all rows share."""

    args: argparse.Namespace
    configs: ModelConfigs
    device: torch.device
    folder: Path
    flops: dict[int, Flops] = field(default_factory=dict)

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def model(self) -> Backbone:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return build_sized(self.configs, self.device, self.dtype)

    def examples(self, resolution: int) -> Path:
        return random_examples(self.folder / str(resolution), resolution, 2 * self.args.batch)

    def recipe(self, row: Mapping[str, Any], small: Path | None) -> Recipe:
        args, size = self.args, row["resolution"]
        data: dict[str, Any] = {
            "base": "random",
            "device": str(self.device),
            "data": {
                "file": str(self.examples(size)),
                "sizes": [[size, size]],
                "folder": str(self.folder / "latents"),
                "workers": 1,
                "cache_text": True,
            },
            "lora": {"rank": args.rank},
            "training": {
                "steps": 10_000,
                "batch_size": 1 if row["what"] == "grpo" else args.batch,
                "caption_dropout": 0.0,
                "precision": "bf16" if self.dtype == torch.bfloat16 else "no",
                "gradient_checkpointing": row["checkpointing"],
                "compile": row["compile"],
            },
            "rewards": {"faces": args.faces},
        }
        if row["what"] == "grpo":
            window = min(4, args.grpo_steps - 1)
            group = {"group": args.group, "prompts": 1, "minibatch": args.batch, "window": window}
            data |= {"grpo": group, "rollout": {"steps": args.grpo_steps, "guidance": 1.0}}
        else:
            late = [min(FROM_THE_END, args.steps)] * 2
            data |= {"rerefl": {"window": late, "decoder": small and str(small)}}
            data |= {"rollout": {"steps": args.steps, "guidance": 1.0}}
        return build_config(Recipe, data)


def timed(work: Callable[[], object], setup: Setup, warm: int) -> dict[str, Any]:
    """Seconds of a call after ``warm`` uncounted ones, and the most memory it took.

    On a CPU the seconds are this process's, all threads together: a busy machine tells the same.
    """
    is_gpu, took = setup.device.type == "cuda", []
    clock = time.perf_counter if is_gpu else time.process_time
    for number in range(warm + setup.args.repeats):
        if is_gpu and number == warm:
            torch.cuda.reset_peak_memory_stats()
        start = clock()
        work()
        if is_gpu:
            torch.cuda.synchronize()
        took.append(clock() - start)
    row = {"seconds": statistics.median(took[warm:]), "all_seconds": took[warm:]}
    peak = torch.cuda.max_memory_allocated() / 1e9 if is_gpu else None
    return {**row, "first_seconds": took[0], "peak_gb": peak}


def measure_ours(setup: Setup, row: Mapping[str, Any]) -> dict[str, Any]:
    backbone, small = setup.model(), None
    if row["small_decoder"]:
        width, blocks = (8, (1, 1, 1, 0)) if setup.args.tiny else (64, (3, 3, 3, 1))
        small = setup.folder / "small"
        save_small_decoder(new_small_decoder(backbone, width, blocks), small)
    recipe, reward = setup.recipe(row, small), make_reward(setup.args.faces, setup.device)
    method: Any
    if row["what"] == "grpo":
        assert recipe.grpo is not None
        method = Grpo(recipe.grpo, recipe.rollout, reward)
    else:
        assert recipe.rerefl is not None
        method = ReReFL(recipe.rerefl, recipe.rollout, reward)
    with tempfile.TemporaryDirectory(dir=setup.folder) as out:
        ranks, chosen = Ranks(setup.device), Chosen(method, None)
        run = Session(recipe, Path(out), ranks, backbone, chosen=chosen)
        return timed(run.take_step, setup, warm=2 if row["compile"] else 1)


def measure_plain(setup: Setup, row: Mapping[str, Any]) -> dict[str, Any]:
    args, backbone = setup.args, setup.model()
    reward = make_reward(args.faces, setup.device)
    start = args.steps - min(FROM_THE_END, args.steps)
    pictures, frozen = setup.examples(row["resolution"]), row["what"] == "plain_frozen"
    plain = PlainReReFL(backbone, reward, pictures, args.rank, frozen=frozen)
    return timed(lambda: plain.step(args.batch, args.steps, start), setup, warm=1)


def measure_ceiling(setup: Setup) -> dict[str, Any]:
    """Operations a second of the best of a few matrix products."""
    best = 0.0
    shrink = 16 if setup.device.type == "cpu" else 1
    for sizes in ((8192, 8192, 8192), (3584, 3072, 9216), (3584, 3072, 27648)):
        rows, width, out = (size // shrink for size in sizes)
        first = torch.randn(rows, width, device=setup.device, dtype=setup.dtype)
        second = torch.randn(width, out, device=setup.device, dtype=setup.dtype)

        def products(first: torch.Tensor = first, second: torch.Tensor = second) -> None:
            for _ in range(20):
                first @ second

        seconds = timed(products, setup, warm=2)["seconds"]
        best = max(best, 20 * 2 * rows * width * out / seconds)
    return {"flops_a_second": best}


def flops_of(setup: Setup, row: Mapping[str, Any]) -> float:
    """What the model has to compute in a step, with nothing counted twice that is recomputed."""
    args, size = setup.args, row["resolution"]
    if size not in setup.flops:
        meta = build_sized(setup.configs, "meta", torch.float32)
        add_lora(meta, args.rank, float(args.rank))
        setup.flops[size] = count_flops(meta, size, size, REFERENCES)
    one = setup.flops[size]
    if row["what"] == "grpo":
        window = min(4, args.grpo_steps - 1)
        drawn = args.grpo_steps * one.forward + window * one.both + one.decode
        return float(args.group * drawn)
    start = args.steps - min(FROM_THE_END, args.steps)
    decode = 0 if row["small_decoder"] else one.decode_both  # a small one's are below 1 in 100
    return float(args.batch * (start * one.forward + 2 * one.both + decode))


def rows_to_measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    shared = {"rank": args.rank, "depth": args.depth, "tiny": args.tiny}
    rows: list[dict[str, Any]] = [{"what": "ceiling", **shared}]
    flags = [(False, False, False), (True, False, False), (True, False, True)]
    flags += [(True, True, False), (False, True, True)] if args.compile else []
    for resolution in args.resolution:
        of = {"resolution": resolution, "batch": args.batch, "steps": args.steps, **shared}
        names = ("checkpointing", "compile", "small_decoder")
        rows += [{"what": "rerefl", **dict(zip(names, flag, strict=True)), **of} for flag in flags]
        rows += [
            {"what": what, **dict.fromkeys(names, False), **of}
            for what in ("plain_frozen", "plain")
        ]
        grpo = {**of, "steps": args.grpo_steps, "group": args.group, "small_decoder": False}
        kinds = [(False, False), (True, False)] + [(False, True)] * args.compile
        rows += [
            {"what": "grpo", "checkpointing": kept, "compile": made, **grpo} for kept, made in kinds
        ]
    return [row for row in rows if not args.only or row["what"] in (*args.only, "ceiling")]


def measure(setup: Setup, row: Mapping[str, Any], ceiling: float | None) -> dict[str, Any]:
    if row["what"] == "ceiling":
        return measure_ceiling(setup)
    try:
        found = (measure_plain if row["what"].startswith("plain") else measure_ours)(setup, row)
    except torch.OutOfMemoryError as error:
        return {"error": str(error).split("\n")[0]}
    flops = flops_of(setup, row)
    share = {} if ceiling is None else {"utilization": flops / found["seconds"] / ceiling}
    return {**found, "model_flops": flops, **share}


def summary(rows: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> None:
    """Ours against the plain way, and what a whole run would take."""
    for resolution in args.resolution:
        here = [row for row in rows if row.get("resolution") == resolution and "seconds" in row]
        ours = [row for row in here if row["what"] == "rerefl"]
        for plain in (row for row in here if row["what"].startswith("plain")):
            for row in ours:
                times = plain["seconds"] / row["seconds"]
                print(
                    f"{resolution} px, {_flags(row)}: {times:.2f} times as fast as {plain['what']}"
                )
        if ours:
            best = min(ours, key=lambda row: row["seconds"])
            hours = 2000 * 8 / args.batch * best["seconds"] / 3600
            told = f"{resolution} px: 2,000 updates of batch 8 would take {hours:.2f} h"
            print(f"{told} ({_flags(best)})")


def _flags(row: Mapping[str, Any]) -> str:
    names = [name for name in ("checkpointing", "compile", "small_decoder") if row.get(name)]
    return " + ".join(names) or "no option"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--resolution", type=int, nargs="+")
    parser.add_argument("--batch", type=int, default=1, help="pictures of a pass")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--steps", type=int, help="of a ReReFL rollout")
    parser.add_argument("--grpo-steps", type=int, help="of a GRPO rollout")
    parser.add_argument("--group", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--faces", choices=("dlib", "toons"))
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction)
    parser.add_argument("--only", nargs="+", choices=("rerefl", "grpo", "plain", "plain_frozen"))
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    args.resolution = args.resolution or ([64] if args.tiny else [512, 768])
    args.steps, args.grpo_steps = args.steps or (6 if args.tiny else 25), args.grpo_steps or 10
    args.group = args.group or (4 if args.tiny else 8)
    args.faces = args.faces or ("toons" if args.tiny else "dlib")
    args.compile = not args.tiny if args.compile is None else args.compile
    rows = json.loads(args.json.read_text()) if args.json.is_file() else []
    device = torch.device(args.device)
    with tempfile.TemporaryDirectory() as name:
        configs = shrunk(KNOWN_MODELS[MODEL], args.depth, tiny=args.tiny)
        setup = Setup(args, configs, device, Path(name))
        for wanted in rows_to_measure(args):
            if any(wanted.items() <= row.items() for row in rows):
                continue
            best = next((r["flops_a_second"] for r in rows if "flops_a_second" in r), None)
            row = {**wanted, **measure(setup, wanted, best)}
            rows.append(row)
            args.json.write_text(json.dumps(rows, indent=1) + "\n")
            print(json.dumps(row), flush=True)
    summary(rows, args)


if __name__ == "__main__":
    main()
