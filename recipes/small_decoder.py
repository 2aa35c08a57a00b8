"""A small decoder distilled from a model's own, for rewards whose gradient goes through it.

    python recipes/small_decoder.py --model toons --out DIR [--steps 2000] [--minutes 10]
                                    [--examples FILE --size W H] [--device cuda] [--threads N]

Two kinds of latents are taught: those of pictures, with a little noise, and the clean estimates
that a rollout arrives at. For both the small decoder (DecoderTiny of diffusers) is to give the
big one's pixels back; asking for the same face descriptors too made each step twice as dear and
was worse at equal time. `DIR/decoder` is what a recipe's `rerefl.decoder` takes. What is in DIR
already (pairs to learn from, a decoder) is not made again.
"""

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from personae.data.examples import Example, ExampleFile, ToonExamples
from personae.data.latents import bucket_name
from personae.diffusion.backbone import Backbone, Context
from personae.diffusion.decoder import (
    SmallDecoder,
    load_small_decoder,
    new_small_decoder,
    save_small_decoder,
)
from personae.diffusion.load import load_backbone
from personae.training.asking import asked_of
from personae.training.autoencoder import psnr, reconstruction_loss
from personae.training.muon import Muon
from personae.training.rewards.asked import Reward
from personae.training.rewards.make import make_reward
from personae.training.rewards.recipe import RewardsRecipe
from personae.training.rollout import Guides, clean_estimates, roll_out

FIRST_SEED = 20_000_000  # of scenes that nothing else is taught or measured on
HELD_OUT = 30_000_000


@dataclass
class Shown:
    """Latents of one shape, and what the big decoder makes of them."""

    latents: Tensor
    pixels: Tensor


def examples(choice: argparse.Namespace, backbone: Backbone, count: int, first: int) -> list:
    """Examples of one number of references a picture, toons or a file's."""
    if choice.examples:
        source = ExampleFile(choice.examples, (tuple(choice.size),), backbone.limits.reference_px)
        start = 0 if first == FIRST_SEED else max(0, len(source) - count)
        return [source[start + k] for k in range(min(count, len(source)))]
    words = backbone.limits.subject_words
    toons = ToonExamples(
        count=count, start=first, split="train", weights=(1.0, 2.0, 1.0), subject_words=words
    )
    return [toons[k] for k in range(count)]


def batches(made: list[Example], size: int) -> list[list[Example]]:
    """Examples of one shape together."""
    by_shape = defaultdict(list)
    for one in made:
        by_shape[bucket_name(one)].append(one)
    return [held[at : at + size] for held in by_shape.values() for at in range(0, len(held), size)]


def encoded(backbone: Backbone, part: list[np.ndarray]) -> Tensor:
    pixels = torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2) / 255
    return backbone.encode_image(pixels.to(backbone.device, backbone.dtype))


@torch.no_grad()
def noisy(backbone: Backbone, part: list[Example], most: float, rng: torch.Generator) -> Tensor:
    """Latents of the pictures, each with its own share of noise from 0 to ``most``."""
    clean = encoded(backbone, [one.image for one in part])
    spread = torch.rand(len(clean), 1, 1, 1, generator=rng) * most
    noise = torch.randn(clean.shape, generator=rng) * spread
    return clean + noise.to(clean)


@torch.no_grad()
def estimated(backbone: Backbone, part: list[Example], steps: int, rng: torch.Generator) -> Tensor:
    """What ReReFL's reward is shown of these examples: estimates from a late step of a rollout."""
    text = backbone.encode_prompt([one.prompt for one in part])
    columns = zip(*(one.references for one in part), strict=True)
    context = Context(text, tuple(encoded(backbone, list(column)) for column in columns))
    empty = backbone.encode_prompt([""]).expand(len(part), -1, -1)
    limits = backbone.limits
    guides = Guides(context, empty, limits.guidance, limits.reference_guidance)
    height, width = part[0].image.shape[:2]
    noise = torch.randn(len(part), *backbone.latent_shape(width, height), generator=rng)
    times = backbone.times(steps, width, height)
    starts = torch.randint(0, steps, (len(part),), generator=rng)
    x = roll_out(backbone, noise.to(backbone.device, backbone.dtype), times, starts, guides)
    return clean_estimates(backbone, x, times, starts, guides, 1)[0]


def show(choice: argparse.Namespace, backbone: Backbone) -> list[Shown]:
    """The pairs to learn from, made once."""
    path = choice.out / "shown.safetensors"
    if not path.is_file():
        rng = torch.Generator().manual_seed(0)
        kept: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        made = examples(choice, backbone, choice.pictures + choice.drawn, FIRST_SEED)
        jobs = [(part, False) for part in batches(made[: choice.pictures], 8)]
        jobs += [(part, True) for part in batches(made[choice.pictures :], 8)]
        for part, is_drawn in jobs:
            latents = (
                estimated(backbone, part, choice.rollout, rng)
                if is_drawn
                else noisy(backbone, part, choice.noise, rng)
            )
            with torch.no_grad():
                pixels = backbone.decode(latents)
            kept[tuple(latents.shape[1:])].append((latents.cpu().half(), pixels.cpu().half()))
        tensors = {}
        for number, pairs in enumerate(kept.values()):
            tensors[f"latents_{number}"] = torch.cat([pair[0] for pair in pairs])
            tensors[f"pixels_{number}"] = torch.cat([pair[1] for pair in pairs])
        save_file(tensors, path)
    held = load_file(path)
    return [Shown(held[f"latents_{k}"], held[f"pixels_{k}"]) for k in range(len(held) // 2)]


def teach(choice: argparse.Namespace, decoder: SmallDecoder, shown: list[Shown]) -> None:
    """Distill, for so many steps or minutes."""
    device = next(decoder.parameters()).device
    inner = [p for p in decoder.parameters() if p.ndim == 4 and min(p.shape[:2]) > 3]
    ids = {id(p) for p in inner}
    rest = [p for p in decoder.parameters() if id(p) not in ids]
    optimizers = [Muon(inner), torch.optim.AdamW(rest, betas=(0.9, 0.99))]
    shares = np.array([part.pixels.numel() for part in shown], float)
    begun, spent = time.monotonic(), 0.0
    for step in range(choice.steps):
        left = 1 - max(step / choice.steps, spent / (60 * choice.minutes))
        if left <= 0:
            break
        for optimizer in optimizers:  # up over 20 steps, then straight down to 0
            for group in optimizer.param_groups:
                group["lr"] = choice.lr * min(1.0, (step + 1) / 20) * left
        rng = np.random.default_rng([choice.seed, step])
        which = int(rng.choice(len(shown), p=shares / shares.sum()))
        rows = rng.choice(len(shown[which].latents), choice.batch)
        latents = shown[which].latents[rows].to(device, torch.float32)
        wanted = shown[which].pixels[rows].to(device, torch.float32)
        given = decoder(latents)
        loss = reconstruction_loss(given, wanted, 1.0)
        decoder.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        spent = time.monotonic() - begun
        if step % 50 == 0:
            near = psnr(given.detach().clamp(0, 1), wanted.clamp(0, 1)).mean()
            row = {
                "step": step,
                "loss": float(loss.detach()),
                "psnr": float(near),
                "seconds": spent,
            }
            print(json.dumps(row), flush=True)
    save_small_decoder(decoder, choice.out / "decoder")


def milliseconds(work, batch: int, repeats: int) -> float:
    """Of this process for one picture, the least of several."""
    is_gpu, took = torch.cuda.is_available(), []
    for _ in range(repeats + 1):
        start = time.perf_counter() if is_gpu else time.process_time()
        work()
        if is_gpu:
            torch.cuda.synchronize()
        took.append((time.perf_counter() if is_gpu else time.process_time()) - start)
    return 1000 * min(took[1:]) / batch


def rewarded(decode, latents: Tensor, asked: list, reward: Reward) -> tuple[Tensor, Tensor]:
    """(B,) rewards, NaN where unmeasured, and their (B, ...) gradients with respect to latents."""
    leaf = latents.clone().requires_grad_()
    told = reward(decode(leaf).float(), asked)
    if told.values.requires_grad:
        told.values.sum().backward()
    gradient = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
    return told.values.detach().masked_fill(~told.measured, torch.nan), gradient.flatten(1)


def compare(choice: argparse.Namespace, backbone: Backbone) -> dict[str, object]:
    """Speed, likeness, and what the reward makes of both, on examples that were never taught."""
    small, rng = load_small_decoder(choice.out / "decoder", backbone), torch.Generator()
    reward = make_reward(RewardsRecipe(faces=choice.faces), backbone.device, ("person",))
    made = examples(choice, backbone, 2 * choice.held_out, HELD_OUT)
    halves = {"pictures": made[: choice.held_out], "estimates": made[choice.held_out :]}
    row: dict[str, object] = speeds(backbone, small, made[0])
    for kind, held in halves.items():
        found = []
        for part in batches(held, 8):
            rng.manual_seed(len(found))
            latents = (
                noisy(backbone, part, 0.0, rng)
                if kind == "pictures"
                else estimated(backbone, part, choice.rollout, rng)
            )
            asked = [asked_of(one) for one in part]
            with torch.no_grad():
                near = psnr(small(latents).clamp(0, 1), backbone.decode(latents).clamp(0, 1))
            ours = rewarded(small, latents, asked, reward)
            theirs = rewarded(backbone.decode, latents, asked, reward)
            along = torch.nn.functional.cosine_similarity(ours[1], theirs[1])
            found.append(torch.stack([near, ours[0], theirs[0], along], 1))
        row[kind] = agreement(torch.cat(found).cpu())
    return row


def agreement(found: Tensor) -> dict[str, float]:
    """Means and correlations of (n, 4): PSNR, reward by small and by big, gradients' cosine."""
    measured = found[torch.isfinite(found).all(1)]
    ranks = measured[:, 1:3].argsort(0).argsort(0).double()
    moving = measured[:, 3] != 0
    return {
        "psnr": float(found[:, 0].mean()),
        "reward_small": float(measured[:, 1].mean()),
        "reward_big": float(measured[:, 2].mean()),
        "correlation": float(torch.corrcoef(measured[:, 1:3].T.double())[0, 1]),
        "rank_correlation": float(torch.corrcoef(ranks.T)[0, 1]),
        "mean_difference": float((measured[:, 1] - measured[:, 2]).abs().mean()),
        "gradient_cosine": float(measured[moving, 3].mean()),
        "n": len(measured),
        "unmeasured": len(found) - len(measured),
    }


def speeds(backbone: Backbone, small, example: Example) -> dict[str, object]:
    """Milliseconds a picture, forward and backward, in turns of the same run."""
    batch, (height, width) = 8, example.image.shape[:2]
    leaf = torch.randn(batch, *backbone.latent_shape(width, height), device=backbone.device)
    leaf = leaf.to(backbone.dtype).requires_grad_()
    took = {"small": [], "big": []}
    for _ in range(3):
        took["small"].append(milliseconds(lambda: small(leaf).mean().backward(), batch, 2))
        took["big"].append(milliseconds(lambda: backbone.decode(leaf).mean().backward(), batch, 2))
    least = {f"{name}_ms": min(held) for name, held in took.items()}
    pairs = [big / ours for big, ours in zip(took["big"], took["small"], strict=True)]
    return {"size": [width, height], **least, "times_as_fast": pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model", default="toons")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--examples", type=Path, help="examples.jsonl instead of toons")
    parser.add_argument("--size", type=int, nargs=2, default=(512, 512))
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--drawn", type=int, default=256)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--rollout", type=int, default=8, help="steps of a rollout")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--blocks", type=int, nargs="+", default=(2, 1, 1, 0))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--faces", default="toons")
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    choice = parser.parse_args()
    torch.set_num_threads(choice.threads)
    choice.out.mkdir(parents=True, exist_ok=True)
    backbone = load_backbone(choice.model, device=choice.device)
    if not (choice.out / "decoder" / "config.json").is_file():
        shown = show(choice, backbone)
        decoder = new_small_decoder(backbone, choice.channels, tuple(choice.blocks), choice.seed)
        teach(choice, decoder.to(backbone.device, memory_format=torch.channels_last), shown)
    row = compare(choice, backbone)
    print(json.dumps(row, indent=1))
    (choice.out / "compared.json").write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
