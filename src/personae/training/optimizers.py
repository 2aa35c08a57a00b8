"""Who steps which parameter, and how far at which step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from personae.errors import DataError, RequestError
from personae.training.muon import Muon
from personae.training.sharding import cut_as

__all__ = [
    "OptimizerRecipe",
    "is_hidden_matrix",
    "lr_factor",
    "make_optimizers",
    "optimizer_tensors",
    "restore_optimizers",
    "set_lr",
]

# Matrices that face the outside (tokens, latents, time) or scale whole blocks, by diffusers' and
# transformers' names: Muon's source leaves those to AdamW, and so rows of learned tokens.
_OUTWARD = ("embed", "proj_out", "norm_out", "lm_head", "modulation")
_TOKENS = "tokens."


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """How parameters are stepped.

    Attributes:
        name: ``adamw``; ``adamw8bit``, whose moments take a quarter of the memory (bitsandbytes;
            Dettmers et al. 2022, arXiv 2110.02861); or ``muon`` for hidden matrices with AdamW for
            the rest, which its source reports to learn more from an example.
        lr: learning rate of AdamW at its highest.
        muon_lr: of Muon; its steps are scaled to the size of AdamW's. None: the same as ``lr``.
        weight_decay: of matrices; vectors (norms, biases) have none.
        betas: of AdamW.
        momentum: of Muon.
        warm_up: steps over which the learning rate rises from 0.
        schedule: after that ``constant``; ``cosine`` to ``final`` at the last step; or
            ``trapezoid``, constant and then straight to ``final`` over the last fifth.
        final: share of the learning rate that is left at the end.
        clip: largest norm of the gradient; longer ones are shortened to it; 0 is no limit.
    """

    name: Literal["adamw", "adamw8bit", "muon"] = "adamw"
    lr: float = 1e-4
    muon_lr: float | None = None
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.95
    warm_up: int = 100
    schedule: Literal["constant", "cosine", "trapezoid"] = "constant"
    final: float = 0.0
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.lr <= 0 or (self.muon_lr is not None and self.muon_lr <= 0):
            raise RequestError(f"optimizer: expected lr above 0; got {self.lr}, {self.muon_lr}")
        if min(self.warm_up, self.clip, self.weight_decay, self.final) < 0:
            raise RequestError("optimizer: warm_up, clip, weight_decay and final cannot be below 0")


def lr_factor(step: int, total: int, recipe: OptimizerRecipe) -> float:
    """Share of the learning rate at a step, in [0, 1]; the first step is number 0.

    >>> settings = OptimizerRecipe(warm_up=2, schedule="cosine")
    >>> [round(lr_factor(step, 10, settings), 2) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if step < recipe.warm_up:
        return (step + 1) / recipe.warm_up
    if recipe.schedule == "constant":
        return 1.0
    span = max(1, total - recipe.warm_up)
    done = min(1.0, (step - recipe.warm_up) / span)
    if recipe.schedule == "cosine":
        left = 0.5 * (1 + math.cos(math.pi * done))
    else:
        left = min(1.0, (1 - done) / 0.2)
    return recipe.final + (1 - recipe.final) * left


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Is this a matrix between hidden activations, which Muon may step?

    >>> weight = torch.zeros(4, 4)
    >>> is_hidden_matrix("blocks.0.to_q.weight", weight), is_hidden_matrix("x_embedder.w", weight)
    (True, False)
    """
    is_outward = name.startswith(_TOKENS) or any(part in name for part in _OUTWARD)
    return parameter.ndim == 2 and not is_outward


def make_optimizers(params: Mapping[str, nn.Parameter], recipe: OptimizerRecipe) -> list[Optimizer]:
    """The optimizers of all parameters; every group keeps its highest rate as ``peak_lr``."""
    hidden = {
        name
        for name, param in params.items()
        if recipe.name == "muon" and is_hidden_matrix(name, param)
    }
    rest = [param for name, param in params.items() if name not in hidden]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizers: list[Optimizer] = []
    if groups:
        make = _make_adamw8bit if recipe.name == "adamw8bit" else _make_adamw
        optimizers.append(make(groups, recipe))
    if hidden:
        optimizers.append(
            Muon(
                [params[name] for name in params if name in hidden],
                lr=recipe.muon_lr or recipe.lr,
                weight_decay=recipe.weight_decay,
                momentum=recipe.momentum,
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def _make_adamw(groups: list[dict[str, Any]], recipe: OptimizerRecipe) -> Optimizer:
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=True)


def _make_adamw8bit(groups: list[dict[str, Any]], recipe: OptimizerRecipe) -> Optimizer:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise RequestError(
            f"optimizer.name: 'adamw8bit' needs bitsandbytes ({error}); run `pip install "
            "bitsandbytes` (or `pip install 'personae[quantize]'`), or set it to 'adamw'"
        ) from error
    made: Optimizer = AdamW8bit(groups, lr=recipe.lr, betas=recipe.betas)
    return made


def set_lr(optimizers: Sequence[Optimizer], factor: float) -> None:
    """Set every group to this share of its highest learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor


def optimizer_tensors(
    params: Mapping[str, nn.Parameter], optimizers: Sequence[Optimizer]
) -> dict[str, Tensor]:
    """All state of the optimizers as ``parameter/key`` -> tensor: safetensors, no pickle."""
    tensors: dict[str, Tensor] = {}
    for name, param in params.items():
        for optimizer in optimizers:
            state: Mapping[str, Any] = optimizer.state.get(param, {})
            tensors |= {f"{name}/{key}": torch.as_tensor(value) for key, value in state.items()}
    return tensors


def restore_optimizers(
    tensors: Mapping[str, Tensor],
    params: Mapping[str, nn.Parameter],
    optimizers: Sequence[Optimizer],
) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises:
        DataError: state of a parameter that this run does not train.
    """
    owners = {id(p): o for o in optimizers for group in o.param_groups for p in group["params"]}
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition("/")
        if parameter not in params:
            raise DataError(
                f"optimizer state of {parameter!r}: this run trains no such parameter; "
                "resume with the recipe that the run was started with"
            )
        param = params[parameter]
        is_count = tensor.ndim == 0 and not tensor.is_floating_point()  # bitsandbytes' step
        value = int(tensor) if is_count else cut_as(tensor.to(param.device), param)
        owners[id(param)].state[param][key] = value
