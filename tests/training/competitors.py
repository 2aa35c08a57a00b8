"""What the tests of GRPO share: plain rewards, a small recipe, a run that is caught."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from personae.diffusion.load import load_backbone
from personae.training.grpo import Grpo
from personae.training.methods import Pass
from personae.training.processes import Ranks
from personae.training.recipe import Recipe
from personae.training.rewards.asked import Asked, Rewards
from personae.training.session import Session
from tests.training.conftest import MakeRecipe

CPU = torch.device("cpu")


class Plain:
    """A reward that is a function of one picture; text is a reason why there is none."""

    differentiable = False

    def __init__(self, judge: Callable[[Tensor], Tensor | str], name: str = "plain") -> None:
        self.judge, self.name = judge, name
        self.asked: list[Sequence[Asked]] = []
        self.pictures: list[Tensor] = []

    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> Rewards:
        assert not pictures.requires_grad
        assert not torch.is_grad_enabled()
        self.asked.append(asked)
        self.pictures.append(pictures)
        return Rewards.of([self.judge(picture) for picture in pictures], pictures.device)


def brightness() -> Plain:
    return Plain(lambda picture: picture.mean(), "brightness")


def blind() -> Plain:
    return Plain(lambda picture: "too dark to see", "blind")


SMALL = {"group": 4, "prompts": 2, "window": 2, "slide_every": 0, "minibatch": 4}


def competing(make_recipe: MakeRecipe, **sections: Any) -> Recipe:
    grpo = {**SMALL, **sections.pop("grpo", {})}
    training = {"batch_size": grpo["prompts"], "caption_dropout": 0.0, "steps": 2}
    return make_recipe(
        rewards={},
        grpo=grpo,
        training={**training, **sections.pop("training", {})},
        **{"lora": {"rank": 4}, "rollout": {"steps": 4, "reference_guidance": 2.0}, **sections},
    )


def session_of(recipe: Recipe, out: Path) -> Session:
    """With an adapter that is not zero, which would hide half of the gradient."""
    run = Session(recipe, out, Ranks(CPU), load_backbone(Path(recipe.base)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for param in run.params.values():
            param.copy_(torch.randn(param.shape, generator=generator) * 0.1)
    return run


def method_of(recipe: Recipe, reward: Any) -> Grpo:
    assert recipe.grpo is not None
    return Grpo(recipe.grpo, recipe.rollout, reward)


def weights_of(run: Session) -> dict[str, Tensor]:
    return {name: param.detach().clone() for name, param in run.params.items()}


def catch_gradient(run: Session) -> dict[str, Tensor]:
    """Instead of updates: the gradient, once there is one."""
    caught: dict[str, Tensor] = {}

    def update(passes: Sequence[Pass]) -> None:
        for name, param in run.params.items():
            if param.grad is not None:
                caught[name] = param.grad.clone()
                param.grad = None

    run.update = update  # type: ignore[method-assign]
    return caught


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def numbers(seen: Sequence[Pass], name: str) -> Tensor:
    return torch.cat([one.parts[name] for one in seen if name in one.parts])
