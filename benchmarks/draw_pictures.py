"""Drawing: `personae.generation.generate` against a plain loop over the diffusers pipeline.

    python benchmarks/draw_pictures.py [--model NAME] [--pictures 8] [--steps 8] [--batch 4]

Both draw the same pictures (one scene of two subjects, the same noise) by turns, in one run; the
loop calls the pipeline once a picture and writes PNGs. Without --model it is a random model of the
toon checkpoint's sizes. Guidance by the references, which the pipeline lacks, is off. The first
turn checks that the two draw the same.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import print_ratio, ratios

from personae.diffusion.backbone import Limits
from personae.diffusion.flux2 import Flux2Backbone
from personae.diffusion.klein import KleinConfig, new_klein, train_tokenizer
from personae.diffusion.load import load_backbone
from personae.generation import Drawing, generate, initial_latents, plan_scene
from personae.subjects.scene import Scene
from personae.subjects.subject import ReferenceFile, Subject


def random_toons() -> Flux2Backbone:
    """A random model as large as the toon checkpoint."""
    pipeline = new_klein(KleinConfig(), train_tokenizer(["girl 1 and man 2 in a park"], 300), 0)
    for part in (pipeline.transformer, pipeline.text_encoder, pipeline.vae):
        part.eval().requires_grad_(False)
    limits = Limits(5, ((128, 128), (192, 128)), 64, 48, (1, 2, 3), 20, 1.0, "{noun} {index}")
    return Flux2Backbone(pipeline, name="random", limits=limits)


def pair(folder: Path, side: int) -> Scene:
    """Two subjects of noise."""
    cast = {}
    for index, name in enumerate(("ann", "bob")):
        pixels = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        photo = (ReferenceFile(folder / f"{name}.png"),)
        cast[name] = Subject(name, "girl", "person", photo)
    return Scene("pair", "{ann} and {bob} in a park", cast)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    backbone = (
        load_backbone(options.model, device=options.device) if options.model else random_toons()
    )
    with tempfile.TemporaryDirectory() as name:
        measure(backbone, Path(name), options)


def measure(backbone: Flux2Backbone, folder: Path, options: argparse.Namespace) -> None:
    scene = pair(folder, backbone.limits.reference_px)
    drawing = Drawing(steps=options.steps, reference_guidance=1.0).settled(backbone)
    plan = plan_scene(scene, backbone.limits, drawing)
    width, height = plan.size

    def ours() -> None:
        shutil.rmtree(folder / "ours", ignore_errors=True)
        generate(
            [scene],
            backbone,
            folder / "ours",
            drawing,
            seeds=options.pictures,
            batch=options.batch,
        )

    def loop() -> None:
        (folder / "loop").mkdir(exist_ok=True)
        for seed in range(options.pictures):
            noise = initial_latents(plan, backbone, drawing, seed)[None]
            picture = backbone.pipeline(
                image=[Image.fromarray(pixels) for pixels in plan.references],
                prompt=plan.prompt,
                width=width,
                height=height,
                num_inference_steps=options.steps,
                guidance_scale=drawing.guidance,
                latents=noise.to(backbone.device, backbone.dtype),
                max_sequence_length=backbone.limits.prompt_tokens,
                text_encoder_out_layers=backbone.limits.text_layers,
            ).images[0]
            picture.save(folder / "loop" / f"{seed}.png")

    times = ratios(ours, loop, options.repeats)
    check(folder, options.pictures)
    best = min(time for time, _ in times)
    print(
        f"{backbone.name}, {width}x{height}, {options.steps} steps, guidance {drawing.guidance}, "
        f"{options.threads} threads, {backbone.device}: {options.pictures / best:.2f} pictures/s "
        f"in batches of {options.batch}"
    )
    print_ratio(f"generate, {options.pictures} pictures", "loop over the pipeline", times)


def check(folder: Path, count: int) -> None:
    """Both drew the same pictures, but for the rounding of batches of one."""
    for seed in range(count):
        first, second = (
            np.asarray(Image.open(path)).astype(int)
            for path in (folder / f"ours/images/pair/{seed}.png", folder / f"loop/{seed}.png")
        )
        largest = np.abs(first - second).max()
        assert largest <= 2, f"seed {seed}: the two differ by {largest} levels"


if __name__ == "__main__":
    main()
