"""Examples a second of training a toon-sized model, and where a step's time goes.

    python benchmarks/train_steps.py [--batch 32] [--references 2] [--tokens 40] [--threads 1]
                                     [--steps 5] [--compile] [--rendering 64]
                                     [--device cuda --precision bf16]

The model has the sizes of the toon checkpoint and random weights. Seconds are of this process
(all its threads together), so that a busy machine tells the same; examples a second are by them,
and, beside, by the wall clock. "loop" is what finetune adds to the bare passes and steps.
``--rendering N`` measures making and encoding N examples instead.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from personae.data.examples import ToonExamples
from personae.data.latents import encode_examples
from personae.diffusion.backbone import Limits
from personae.diffusion.flux2 import Flux2Backbone
from personae.diffusion.klein import KleinConfig, new_klein, train_tokenizer
from personae.training.methods import Finetuning
from personae.training.processes import Ranks
from personae.training.recipe import (
    DataRecipe,
    OptimizerRecipe,
    Recipe,
    ToonsRecipe,
    TrainingRecipe,
)
from personae.training.session import Session


def make_backbone(tokens: int, device: str = "cpu") -> Flux2Backbone:
    """The toon checkpoint's sizes, random weights."""
    limits = Limits(
        max_subjects=5,
        sizes=((128, 128), (192, 128)),
        reference_px=64,
        prompt_tokens=tokens,
        text_layers=(1, 2, 3),
        steps=20,
        guidance=1.0,
        subject_words="{noun} {index}",
    )
    prompts = [ToonExamples(count=64)[number].prompt for number in range(64)]
    pipeline = new_klein(KleinConfig(), train_tokenizer(prompts, 512), 0).to(device)
    return Flux2Backbone(pipeline, name="random", limits=limits)


def timed(work: Callable[[], object], times: int) -> tuple[float, float]:
    """Seconds of this process and of the clock, for one time."""
    own, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.process_time() - own) / times, (time.perf_counter() - wall) / times


def make_recipe(args: argparse.Namespace, folder: Path) -> Recipe:
    weights = (0.0,) * (args.references - 1) + (1.0,)
    toons = ToonsRecipe(count=args.batch, weights=weights)
    return Recipe(
        base="random",
        device=args.device,
        data=DataRecipe(toons=toons, folder=folder, workers=1),
        training=TrainingRecipe(
            steps=10_000,
            batch_size=args.batch,
            ema_decay=0.999,
            train_text_encoder=True,
            compile=args.compile,
            precision=args.precision,
        ),
        optimizer=OptimizerRecipe(name="muon", lr=1e-3),
    )


def measure_steps(args: argparse.Namespace, folder: Path) -> None:
    recipe = make_recipe(args, folder)
    backbone = make_backbone(args.tokens, args.device)
    run = Session(recipe, folder / "run", Ranks(torch.device(args.device)), backbone)
    start = time.perf_counter()
    run.take_step()
    print(f"first step {time.perf_counter() - start:.1f} s")
    clock = 1 if args.device != "cpu" else 0  # a GPU's work shows on the wall clock only
    both = timed(run.take_step, args.steps)
    whole, wall = both[clock], both[1]

    def passes() -> None:
        Finetuning().passes(run)

    parts = {"forward and backward": timed(passes, args.steps)[clock]}
    for optimizer in run.optimizers:
        parts[type(optimizer).__name__] = timed(optimizer.step, args.steps)[clock]
    ema = run.ema
    assert ema is not None
    parts["running mean"] = timed(lambda: ema.update(100), args.steps)[clock]
    parts["loop"] = whole - sum(parts.values())
    count = sum(param.numel() for param in run.params.values())
    print(
        f"{count / 1e6:.1f} million parameters, batch {args.batch}, {args.references} references, "
        f"{args.tokens} text tokens, {args.threads} threads, compiled: {args.compile}"
    )
    for name, seconds in parts.items():
        print(f"{name:22} {seconds:7.3f} s  {100 * seconds / whole:5.1f} %")
    print(
        f"{'step':22} {whole:7.3f} s; {args.batch / whole:.1f} examples a second of this process, "
        f"{args.batch / wall:.1f} by the clock"
    )


def measure_rendering(args: argparse.Namespace, folder: Path) -> None:
    source = ToonExamples(count=args.rendering)
    render = timed(lambda: [source[number] for number in range(len(source))], 1)[0]
    backbone = make_backbone(args.tokens)
    encode = timed(lambda: encode_examples(source, backbone, folder), 1)[0] - render
    print(
        f"{len(source)} examples: rendering {1000 * render / len(source):.1f} ms each, encoding "
        f"{1000 * encode / len(source):.1f} ms each, of this process"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--references", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="no", choices=["no", "bf16"])
    parser.add_argument("--rendering", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        measure = measure_rendering if args.rendering else measure_steps
        measure(args, Path(name))


if __name__ == "__main__":
    main()
