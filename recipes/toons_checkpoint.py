"""The toon checkpoint from nothing, in stages that resume: pictures, autoencoder, start, model.

    python recipes/toons_checkpoint.py OUT [--small] [--device cuda] [--stage STAGE] [--threads N]

`pictures` draws what the autoencoder sees, `autoencoder` teaches it, `start` makes an ordinary
diffusers folder of it with a tokenizer taught on captions and random weights for the rest.
On a GPU `personae train recipes/toons_base_gpu.toml --set base=OUT/start` teaches those. On a CPU,
portraits first, whose short prompts and 16 tokens a picture cost a third of a scene:

    personae train recipes/toons_portraits.toml --set base=OUT/start_portraits --out OUT/portraits
    python recipes/toons_checkpoint.py OUT --stage scenes
    personae train recipes/toons_base.toml --set base=OUT/start_scenes --out OUT/early
    personae train recipes/toons_base_late.toml --set base=OUT/early/model --out OUT/base

`--stage decoder` would teach the decoder alone for as long again, with the noise of drawn latents,
and put it into OUT/base/model; the shipped one is without, for it was no better (docs/log.md).
"""

import argparse
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from personae.diffusion.backbone import Limits, write_limits
from personae.diffusion.klein import KleinConfig, new_klein, train_tokenizer
from personae.diffusion.load import load_backbone
from personae.toons import MAX_TOONS, scene
from personae.training.autoencoder import (
    AutoencoderRecipe,
    measure_latents,
    psnr,
    train_autoencoder,
)

# For a CPU: 2.3 million parameters in the transformer. A larger one would see too few of the 1e5
# examples for which there is time.
SMALL = {
    "shift": 1.0,
    "num_heads": 4,
    "head_dim": 32,
    "axes_dims_rope": (8, 8, 8, 8),
    "num_double_blocks": 2,
    "num_single_blocks": 5,
    "text_width": 128,
    "text_mlp": 256,
}
# At 64 tokens the shift of FLUX.2 (6 at 20 steps) would spend nearly all steps on pure noise.
FULL = {"shift": 1.0}
LIMITS = Limits(
    max_subjects=MAX_TOONS,
    sizes=((128, 128), (192, 128)),
    reference_px=64,
    prompt_tokens=40,
    text_layers=(1, 2, 3),
    steps=20,
    guidance=1.0,
    reference_guidance=3.0,
    subject_words="{noun}{index}",
)
WEIGHTS = "diffusion_pytorch_model.safetensors"
PORTRAIT_TOKENS = 8  # of a prompt that is one word
# Seeds of scenes that only the autoencoder sees, far from those of training.
FIRST_SEED = 10_000_000


def drawn(seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    one = scene(seed, count=1 + seed % 3)
    return one.image, [member.reference.image for member in one.members]


def pictures(out: Path, count: int) -> None:
    with ProcessPoolExecutor() as pool:
        made = list(pool.map(drawn, range(FIRST_SEED, FIRST_SEED + count), chunksize=64))
    np.save(out / "scenes.npy", np.stack([image for image, _ in made]))
    np.save(out / "references.npy", np.stack([r for _, references in made for r in references]))


def autoencoder(out: Path, device: str, steps: int, batch: int, minutes: float) -> None:
    vae = new_klein(config_of(out), tokenizer(), seed=0).vae
    vae = vae.to(device, memory_format=torch.channels_last)
    seen = [np.load(out / "scenes.npy"), np.load(out / "references.npy")]

    def tell(row: dict[str, float]) -> None:
        if row["step"] % 50 == 0:
            print(json.dumps(row), flush=True)

    recipe = AutoencoderRecipe(batch=batch)
    folder = out / "autoencoder"
    train_autoencoder(vae, seen, recipe, steps, folder, max_seconds=60 * minutes, on_step=tell)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe) | {"steps": steps}))


def decoder(out: Path, device: str, steps: int, batch: int, minutes: float) -> None:
    """The decoder alone, further; the latents that the transformer learned stay as they are."""
    vae = new_klein(config_of(out), tokenizer(), seed=0).vae
    vae.load_state_dict(load_file(out / "start" / "vae" / WEIGHTS))
    vae = vae.to(device, memory_format=torch.channels_last)
    seen = [np.load(out / "scenes.npy"), np.load(out / "references.npy")]

    def tell(row: dict[str, float]) -> None:
        if row["step"] % 50 == 0:
            print(json.dumps(row), flush=True)

    # What the transformer draws is further from the truth than what the encoder says: more noise.
    # After Zheng et al. (2025), arXiv 2510.11690, section 4.3 (noise-augmented decoding).
    recipe = AutoencoderRecipe(
        batch=batch, learning_rate=3e-3, decoder_only=True, noise=0.3, seed=1
    )
    folder, minutes = out / "decoder", 60 * minutes
    train_autoencoder(vae, seen, recipe, steps, folder, max_seconds=minutes, on_step=tell)
    weights = {k: v.cpu().contiguous() for k, v in vae.state_dict().items()}
    save_file(weights, out / "base" / "model" / "vae" / WEIGHTS, metadata={"format": "pt"})
    measure(out / "base" / "model")


def measure(folder: Path) -> None:
    """How well pictures survive the autoencoder: 64 scenes that it never saw."""
    backbone = load_backbone(str(folder))
    unseen = torch.from_numpy(np.stack([drawn(FIRST_SEED - 1 - i)[0] for i in range(0, 192, 3)]))
    wanted = unseen.permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        given = backbone.decode(backbone.encode_image(wanted)).clamp(0, 1)
    sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in parts(backbone.pipeline)}
    print(json.dumps({"psnr": float(psnr(given, wanted).mean()), "parameters": sizes}))


def start(out: Path) -> None:
    pipeline = new_klein(config_of(out), tokenizer(), seed=0)
    pipeline.vae.load_state_dict(load_file(out / "autoencoder" / "vae.safetensors"))
    seen = [np.load(out / "scenes.npy")[:500], np.load(out / "references.npy")[:500]]
    measure_latents(pipeline.vae, seen)
    pipeline.save_pretrained(out / "start", safe_serialization=True)
    write_limits(out / "start", LIMITS)
    shutil.copytree(out / "start", out / "start_portraits", dirs_exist_ok=True)
    write_limits(out / "start_portraits", replace(LIMITS, prompt_tokens=PORTRAIT_TOKENS))
    measure(out / "start")


def scenes(out: Path) -> None:
    """The model that was taught on portraits, with room for the prompt of a scene."""
    shutil.copytree(out / "portraits" / "model", out / "start_scenes", dirs_exist_ok=True)
    write_limits(out / "start_scenes", LIMITS)


def parts(pipeline):
    return [(n, getattr(pipeline, n)) for n in ("transformer", "text_encoder", "vae")]


def tokenizer():
    scenes = (scene(seed, count=1 + seed % 5) for seed in range(400))
    texts = (
        one.prompt.format(**{m.name: f"{m.toon.noun}{i}" for i, m in enumerate(one.members, 1)})
        for one in scenes
    )
    return train_tokenizer(texts, 512)


def config_of(out: Path) -> KleinConfig:
    given = json.loads((out / "config.json").read_text())
    return KleinConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--stage",
        choices=("pictures", "autoencoder", "start", "scenes", "decoder", "all"),
        default="all",
    )
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    choice = parser.parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(choice.threads)
    if not (choice.out / "config.json").is_file():
        (choice.out / "config.json").write_text(json.dumps(SMALL if choice.small else FULL))
    if choice.stage in {"pictures", "all"} and not (choice.out / "scenes.npy").is_file():
        pictures(choice.out, choice.count)
    if choice.stage in {"autoencoder", "all"}:
        autoencoder(choice.out, choice.device, choice.steps, choice.batch, choice.minutes)
    if choice.stage in {"start", "all"}:
        start(choice.out)
    if choice.stage == "scenes":
        scenes(choice.out)
    if choice.stage == "decoder":
        decoder(choice.out, choice.device, choice.steps, choice.batch, choice.minutes)


if __name__ == "__main__":
    main()
