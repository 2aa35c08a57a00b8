"""Training the toon eyes: five small networks, one recipe each, resumable and repeatable."""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from personae.compute.device import limited_threads
from personae.compute.runs import make_folder, write_atomic
from personae.errors import RequestError, WorkError
from personae.training.eyes_album import Album, AlbumPlan, album
from personae.training.eyes_learners import LEARNERS, EyesLearner
from personae.training.muon import Muon
from personae.vision.toons.layers import channels_last
from personae.vision.toons.shipped import weights_bytes

__all__ = ["EYES_RECIPES", "EyesRecipe", "train_eyes"]

_SAVE_EVERY = 100
Tell = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class EyesRecipe:
    """How one network is trained."""

    steps: int
    """Batches in all; the learning rate falls to 0 over them, so fewer is another training."""
    batch: int
    """Pictures a batch (detectors), or faces (the others)."""
    rate: float = 2e-3
    """Highest learning rate of AdamW, after a warm-up of a twentieth of the steps."""
    muon_rate: float = 5e-3
    """The same of Muon, where a learner has it."""
    decay: float = 0.02
    """Weight decay of matrices and filters."""
    ema: float = 0.995
    """How much of the averaged weights, the ones that are shipped, a step keeps."""
    seed: int = 0
    """Of the first weights and of every batch."""
    plan: AlbumPlan = field(default_factory=lambda: AlbumPlan(split="train", families=2000))
    """What is learned from."""


# Embedders learn 6,000 toons by heart: 98 traits in 100 right on those, 75 on others.
_MANY = AlbumPlan(split="train", families=30_000, likes=0)

EYES_RECIPES: Mapping[str, EyesRecipe] = MappingProxyType(
    {
        "toon-centers": EyesRecipe(steps=700, batch=10, seed=11),
        "toon-identity": EyesRecipe(steps=3600, batch=96, seed=12, plan=_MANY),
        "examiner-regions": EyesRecipe(steps=1000, batch=12, seed=23),
        "examiner-patches": EyesRecipe(steps=4500, batch=96, rate=1e-3, seed=24, plan=_MANY),
        "examiner-figures": EyesRecipe(
            steps=900,
            batch=96,
            seed=25,
            plan=AlbumPlan(split="train", families=9000, likes=0, portraits=0, busy=True),
        ),
    }
)
"""The recipes of the shipped networks; seconds in weights/README.md."""


class _State:
    """Everything a run needs to go on: weights, averages, the optimizer's moments, the step."""

    def __init__(self, name: str, recipe: EyesRecipe) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.learner: EyesLearner = channels_last(LEARNERS[name]())
        self.recipe, self.step, self.seconds = recipe, 0, 0.0
        self.average = {k: v.clone() for k, v in _floats(self.learner.network).items()}
        self.optimizers = _optimizers(self.learner, recipe)

    def advance(self, data: Album) -> dict[str, float]:
        """One step; the losses before it."""
        self.learner.train()
        factor = _factor(self.recipe, self.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = factor * group["rate"]
        # Dropout asks the global generator, which a resumed run would find elsewhere.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
            losses = self.learner.losses(data, self.recipe.batch, self.recipe.seed, self.step)
        total = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(total)):
            raise WorkError(
                f"the loss of step {self.step} is {float(total)}; weights are as they were before "
                "it, lower the rate and resume"
            )
        self.learner.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learner.parameters(), 5.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for name, value in _floats(self.learner.network).items():
            self.average[name].lerp_(value, 1 - keep)
        return {name: float(value.detach()) for name, value in losses.items()}

    def tensors(self) -> dict[str, Tensor]:
        """All that is kept of a run."""
        kept = {f"now.{k}": v for k, v in self.learner.state_dict().items()}
        kept |= {f"average.{k}": v for k, v in self.average.items()}
        for name, parameter in self.learner.named_parameters():
            for optimizer in self.optimizers:
                for part, value in optimizer.state.get(parameter, {}).items():
                    kept[f"{part}.{name}"] = value
        return {k: v.detach().contiguous() for k, v in kept.items()}

    def restore(self, path: Path) -> None:
        """Go on where a file of `tensors` stopped."""
        with safe_open(path, framework="pt") as opened:
            facts = opened.metadata()
            kept = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if facts["recipe"] != _as_text(self.recipe):
            raise RequestError(
                f"{path} was made by another recipe; give another --out, or remove the file"
            )
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        self.learner.load_state_dict(_part(kept, "now."))
        self.average = _part(kept, "average.")
        parameters = dict(self.learner.named_parameters())
        for part in ("step", "exp_avg", "exp_avg_sq", "momentum"):
            for name, value in _part(kept, f"{part}.").items():
                self._optimizer_of(parameters[name]).state[parameters[name]][part] = value

    def _optimizer_of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        return next(
            optimizer
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            if any(parameter is one for one in group["params"])
        )


def _optimizers(learner: EyesLearner, recipe: EyesRecipe) -> list[torch.optim.Optimizer]:
    """AdamW for matrices and filters, the slow ones among them, and all that is not to decay.

    Muon takes the network's inner ones, if the learner says so: those that do not see colors.
    """
    groups: list[dict[str, Any]] = [
        {"params": [], "rate": recipe.rate},
        {"params": [], "rate": 0.1 * recipe.rate},
        {"params": [], "rate": recipe.rate, "weight_decay": 0.0},
    ]
    inner = []
    for name, parameter in learner.named_parameters():
        slow = name.startswith(learner.slow) if learner.slow else False
        deep = parameter.ndim in {2, 4} and parameter.shape[1] > 3
        if learner.muon and deep and name.startswith("network."):
            inner.append(parameter)
        else:
            groups[2 if parameter.ndim <= 1 else int(slow)]["params"].append(parameter)
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=recipe.rate,
            weight_decay=recipe.decay,
            betas=(0.9, 0.98),
            foreach=True,
        )
    ]
    if inner:
        made.append(Muon([{"params": inner, "rate": recipe.muon_rate}], lr=recipe.muon_rate))
    return made


def _part(kept: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {k.removeprefix(start): v for k, v in kept.items() if k.startswith(start)}


def _floats(network: nn.Module) -> dict[str, Tensor]:
    state = network.state_dict()
    return {name: value.detach() for name, value in state.items() if value.is_floating_point()}


def _factor(recipe: EyesRecipe, step: int) -> float:
    """Of the learning rates: linear up over a twentieth of the steps, half a cosine down to 0."""
    warm = max(1, recipe.steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (recipe.steps - warm)))


def _as_text(recipe: EyesRecipe) -> str:
    return json.dumps(asdict(recipe), sort_keys=True)


def _save(state: _State, folder: Path, name: str) -> None:
    facts = {
        "recipe": _as_text(state.recipe),
        "step": str(state.step),
        "seconds": f"{state.seconds:.1f}",
    }
    write_atomic(folder / "state.safetensors", save(state.tensors(), metadata=facts))
    network = copy.deepcopy(state.learner.network)
    network.load_state_dict(state.average, strict=False)
    write_atomic(folder / f"{name}.safetensors", weights_bytes(network, {"name": name, **facts}))


def train_eyes(
    name: str,
    recipe: EyesRecipe,
    out: Path,
    *,
    albums: Path,
    max_seconds: float = math.inf,
    tell: Tell | None = None,
) -> Path:
    """Train one network of `EYES_RECIPES`; returns its file of averaged, half-precision weights.

    ``out`` keeps ``state.safetensors`` (to go on from, exactly), ``log.jsonl`` and the weights;
    ``albums`` the renderings. Every batch is a function of seed and step. One thread. With
    ``max_seconds`` it stops early, after a step at least, and goes on the next time.

    Raises:
        RequestError: an unknown name, or ``out`` holds a run of another recipe.
        WorkError: the loss is no number, or the disk is full.
    """
    if name not in LEARNERS:
        raise RequestError(f"no toon eyes are called {name!r}; known are {sorted(LEARNERS)}")
    make_folder(out)
    data, state = album(recipe.plan, albums), _State(name, recipe)
    if (out / "state.safetensors").is_file():
        state.restore(out / "state.safetensors")
    with limited_threads(1):
        state.learner.prepare(data, recipe.seed, albums)
    began, before = time.perf_counter(), state.seconds
    with limited_threads(1), (out / "log.jsonl").open("a") as log:
        while state.step < recipe.steps:
            losses = state.advance(data)
            state.seconds = before + time.perf_counter() - began
            if state.step % 20 == 0 or state.step == recipe.steps:
                row = {"step": state.step, "seconds": round(state.seconds, 1), **losses}
                log.write(json.dumps(row) + "\n")
                log.flush()
                if tell:
                    tell(row)
            if time.perf_counter() - began >= max_seconds:
                break
            if state.step % _SAVE_EVERY == 0:
                _save(state, out, name)
    _save(state, out, name)
    return out / f"{name}.safetensors"


def _main() -> None:
    parser = argparse.ArgumentParser(description="Train one of the toon eyes.")
    parser.add_argument("name", choices=sorted(LEARNERS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--albums", type=Path, default=None)
    parser.add_argument("--minutes", type=float, default=math.inf)
    given = parser.parse_args()
    train_eyes(
        given.name,
        EYES_RECIPES[given.name],
        given.out,
        albums=given.albums or given.out.parent / "albums",
        max_seconds=60 * given.minutes,
    )


if __name__ == "__main__":
    _main()
