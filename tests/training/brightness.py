"""A reward that needs no eyes, and a program that trains by it: for runs in processes of their own.

python tests/training/brightness.py RECIPE OUT [--resume]
python tests/training/brightness.py PLAN.json OUT

A plan holds [recipe, folder below OUT, resume?, ranks that see nothing] of runs that are made one
after the other, so that processes start once for all of them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from personae.training.rewards.asked import Asked, Rewards


class Brightness:
    """How bright the pictures are; ``blind`` places of a batch cannot be measured."""

    name = "brightness"
    differentiable = True

    def __init__(self, blind: Sequence[int] = ()) -> None:
        self.blind = set(blind)
        self.asked: list[Sequence[Asked]] = []

    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> Rewards:
        """See `Reward`."""
        self.asked.append(asked)
        values = [
            "too dark to see" if place in self.blind else value
            for place, value in enumerate(pictures.flatten(1).mean(1))
        ]
        return Rewards.of(values, pictures.device)


def main(recipe: str, out: str, *flags: str) -> None:
    """Train."""
    from personae.training.finetune import finetune
    from personae.training.recipe import read_recipe

    turns = [[recipe, "", "--resume" in flags, []]]
    if recipe.endswith(".json"):
        turns = json.loads(Path(recipe).read_text())
    for path, name, resume, blind in turns:
        places = range(100) if int(os.environ.get("RANK", "0")) in blind else ()
        reward = Brightness(places)
        finetune(read_recipe(Path(path)), Path(out) / name, resume=resume, reward=reward)


if __name__ == "__main__":
    main(*sys.argv[1:])
