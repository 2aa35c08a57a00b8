"""Teaching a small autoencoder of the FLUX.2 family to give pictures back, from nothing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from personae.compute.runs import write_atomic
from personae.errors import WorkError
from personae.training.muon import Muon

__all__ = [
    "AutoencoderRecipe",
    "measure_latents",
    "psnr",
    "reconstruction_loss",
    "train_autoencoder",
]


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """How the autoencoder is taught.

    Attributes:
        crop_px: side of the random squares it sees.
        batch: squares a step.
        learning_rate: at its height, after ``warmup`` steps; falls to 0 as a cosine. Of Muon for
            convolutions (a decibel ahead of AdamW after 150 steps) and of AdamW for the rest.
        warmup: steps in which the learning rate rises.
        gradient_weight: weight of the edges' L1 beside the pixels'.
        kl_weight: weight of the divergence from a standard normal, which keeps latents small.
        noise: standard deviation of the noise on latents, in units of their own spread, that the
            decoder has to bear: a drawn latent is never exact.
        decoder_only: leave the encoder as it is, so that a model which was taught on its latents
            stays as it is, and its pictures get sharper.
        seed: of crops and noise.
        save_every: steps between checkpoints.
    """

    crop_px: int = 64
    batch: int = 16
    learning_rate: float = 5e-3
    warmup: int = 20
    gradient_weight: float = 1.0
    kl_weight: float = 1e-4
    noise: float = 0.1
    decoder_only: bool = False
    seed: int = 0
    save_every: int = 200


def reconstruction_loss(given: Tensor, wanted: Tensor, gradient_weight: float) -> Tensor:
    r"""Mean absolute error of pixels, and of their differences to the right and below.

    .. math:: |x - y|_1 + w \, |\nabla x - \nabla y|_1

    (B, 3, H, W) in any range -> scalar. Without the second part edges come out soft.

    >>> reconstruction_loss(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4), 1.0)
    tensor(1.)
    """
    error = given - wanted
    edges = (error[..., 1:] - error[..., :-1]).abs().mean()
    edges = edges + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + gradient_weight * edges


def psnr(given: Tensor, wanted: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, pictures (B, 3, H, W) in [0, 1] -> (B,); higher is better.

    >>> psnr(torch.full((1, 3, 2, 2), 0.1), torch.zeros(1, 3, 2, 2)).round()
    tensor([20.])
    """
    return -10 * torch.log10((given - wanted).square().mean((1, 2, 3)).clamp(min=1e-10))


def train_autoencoder(
    vae: Any,
    pictures: Sequence[np.ndarray],
    recipe: AutoencoderRecipe,
    steps: int,
    folder: Path,
    *,
    max_seconds: float | None = None,
    on_step: Callable[[dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Teach ``vae`` (an ``AutoencoderKLFlux2``) in place; resumes from ``folder``.

    Args:
        vae: the autoencoder, on its device.
        pictures: arrays (N_i, H_i, W_i, 3) uint8, each of pictures of one size.
        recipe: the settings.
        steps: in all, with those done before.
        folder: holds ``vae.safetensors``, ``optimizer.safetensors``, ``state.json``, ``log.jsonl``.
        max_seconds: stop after these, with a checkpoint.
        on_step: called with each row of the log.

    Returns:
        The last row of the log.

    Raises:
        WorkError: the loss is no number any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizers = _optimizers(vae, recipe)
    step, spent = _resume(vae, optimizers, folder)
    if step == 0 and not recipe.decoder_only:
        _calm(vae)
    begun, row = time.monotonic(), {}
    vae.train()
    while step < steps:
        _set_rate(optimizers, recipe, step, steps)
        loss, pixels = _step(vae, optimizers, _crops(pictures, recipe, step), recipe, step)
        if not math.isfinite(loss):
            raise WorkError(
                f"{folder}: the loss of step {step} is {loss}; lower learning_rate "
                f"(now {recipe.learning_rate}) and start again from the last checkpoint"
            )
        step += 1
        seconds = spent + time.monotonic() - begun
        row = {"step": step, "loss": loss, "psnr": pixels, "seconds": round(seconds, 1)}
        if on_step is not None:
            on_step(row)
        late = max_seconds is not None and time.monotonic() - begun > max_seconds
        if step % recipe.save_every == 0 or step == steps or late:
            _save(vae, optimizers, folder, step, seconds, row)
        if late:
            break
    vae.eval().requires_grad_(True)
    return row


_Optimizers = Sequence[torch.optim.Optimizer]


def _optimizers(vae: nn.Module, recipe: AutoencoderRecipe) -> _Optimizers:
    left = ("encoder.", "quant_conv.") if recipe.decoder_only else ()
    for name, param in vae.named_parameters():
        param.requires_grad_(not name.startswith(left))
    taught = [p for p in vae.parameters() if p.requires_grad]
    inner = [p for p in taught if p.ndim == 4 and min(p.shape[:2]) > 3]
    ids = {id(p) for p in inner}
    rest = [p for p in taught if id(p) not in ids]
    return Muon(inner), torch.optim.AdamW(rest, betas=(0.9, 0.99))


@torch.no_grad()
def _calm(vae: nn.Module) -> None:
    """Let residual branches start small: a decibel and a half ahead after 100 steps."""
    for name, param in vae.named_parameters():
        if name.endswith("conv2.weight"):
            param.mul_(0.05)


def _step(
    vae: Any, optimizers: _Optimizers, crops: Tensor, recipe: AutoencoderRecipe, step: int
) -> tuple[float, float]:
    device = next(vae.parameters()).device
    crops = crops.to(device, memory_format=torch.channels_last)
    code = vae.encode(crops * 2 - 1).latent_dist
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    noise = torch.randn(code.mean.shape, generator=generator).to(device)
    spread = code.mean.detach().std((0, 2, 3), keepdim=True)
    given = vae.decode(code.mean + (code.std + recipe.noise * spread) * noise).sample
    wanted = crops * 2 - 1
    loss = reconstruction_loss(given, wanted, recipe.gradient_weight)
    loss = loss + recipe.kl_weight * code.kl().mean() / code.mean[0].numel()
    vae.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    with torch.no_grad():
        return float(loss), float(psnr((given + 1) / 2, crops).mean())


def _crops(pictures: Sequence[np.ndarray], recipe: AutoencoderRecipe, step: int) -> Tensor:
    """The batch of a step, a pure function of seed and step: (B, 3, side, side) in [0, 1]."""
    rng = np.random.default_rng([recipe.seed, step])
    shares = np.array([len(part) * part.shape[1] * part.shape[2] for part in pictures], float)
    side, crops = recipe.crop_px, []
    for which in rng.choice(len(pictures), recipe.batch, p=shares / shares.sum()):
        part = pictures[which]
        top = int(rng.integers(part.shape[1] - side + 1))
        left = int(rng.integers(part.shape[2] - side + 1))
        crop = part[int(rng.integers(len(part))), top : top + side, left : left + side]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    batch = np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))
    return torch.from_numpy(batch).float() / 255


def _set_rate(optimizers: _Optimizers, recipe: AutoencoderRecipe, step: int, steps: int) -> None:
    rising = min(1.0, (step + 1) / recipe.warmup)
    falling = 0.5 * (1 + math.cos(math.pi * step / max(steps, 1)))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rising * falling


def _save(
    vae: Any,
    optimizers: _Optimizers,
    folder: Path,
    step: int,
    seconds: float,
    row: dict[str, float],
) -> None:
    save_file(
        {name: value.contiguous() for name, value in vae.state_dict().items()},
        folder / "vae.safetensors",
    )
    moments = {
        f"{which}.{index}.{name}": value.contiguous()
        for which, optimizer in enumerate(optimizers)
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    save_file(moments, folder / "optimizer.safetensors")
    write_atomic(folder / "state.json", json.dumps({"step": step, "seconds": seconds}).encode())
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(row) + "\n")


def _resume(vae: Any, optimizers: _Optimizers, folder: Path) -> tuple[int, float]:
    if not (folder / "state.json").is_file():
        return 0, 0.0
    vae.load_state_dict(load_file(folder / "vae.safetensors"))
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for key, value in load_file(folder / "optimizer.safetensors").items():
        which, index, name = key.split(".", 2)
        states[int(which)].setdefault(int(index), {})[name] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    saved = json.loads((folder / "state.json").read_text())
    return int(saved["step"]), float(saved["seconds"])


@torch.no_grad()
def measure_latents(vae: Any, pictures: Sequence[np.ndarray], batch: int = 16) -> None:
    """Set the batch norm by which the pipeline normalizes latents: mean and variance of a patch.

    ``pictures`` are arrays (N_i, H_i, W_i, 3) uint8.
    """
    patches = []
    for part in pictures:
        for start in range(0, len(part), batch):
            x = torch.from_numpy(part[start : start + batch]).permute(0, 3, 1, 2).float() / 127.5
            patches.append(_patches(vae.encode(x - 1).latent_dist.mode()))
    every = torch.cat(patches)
    vae.bn.running_mean.copy_(every.mean(0))
    vae.bn.running_var.copy_(every.var(0))


def _patches(latents: Tensor) -> Tensor:
    """(B, C, h, w) -> (B * h/2 * w/2, 4 C), in the order in which the pipeline packs a patch."""
    return F.pixel_unshuffle(latents, 2).permute(0, 2, 3, 1).flatten(0, 2)
