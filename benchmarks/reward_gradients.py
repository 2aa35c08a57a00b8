"""What a reward's gradient is worth, by where it begins and how pictures are guided.

    python benchmarks/reward_gradients.py [--pictures 64] [--others 128] [--step 2e-4]

The gradient of the mean reward with respect to all matrices, over two halves of some training
scenes: ``cosine`` says how far the halves agree. Then every number of the matrices moves by
``step`` in the direction of the sum's sign, and against it: ``gain`` is the difference between the
rewards of other scenes, drawn from the same noise with the model's usual guidance (in brackets
95 in 100). A gradient can agree with itself and gain nothing. ``cost``: passes forward, a backward
pass counted twice. ``first`` is the first of ``K`` steps with a gradient, of 8.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np
import torch
from toon_tables import head, line
from torch import Tensor

from personae.data.examples import Example, ToonExamples
from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.training.asking import asked_of
from personae.training.rewards.asked import Reward
from personae.training.rewards.make import make_reward
from personae.training.rewards.recipe import RewardsRecipe
from personae.training.rolling import guides_of
from personae.training.rollout import clean_estimates, roll_out

STEPS = 8
# (first step with a gradient, K, guidance by the references; None: the model's own).
PLACES = ((4, 1, None), (7, 1, None), (5, 3, None), (0, 8, None), (5, 3, 1.0), (0, 8, 1.0))
_AT_ONCE = 32


@dataclass
class Trial:
    backbone: Backbone
    reward: Reward
    examples: list[Example]
    noise: Tensor

    @property
    def params(self) -> list[Tensor]:
        return [param for param in self.backbone.denoiser.parameters() if param.requires_grad]

    def rewards(self, rows: slice, start: int, count: int, scale: float | None) -> Tensor:
        """Of pictures whose last ``count`` steps have a gradient."""
        backbone, examples = self.backbone, self.examples[rows]
        guides = guides_of(backbone, examples, backbone.encode_prompt([""]))
        if scale is not None:
            guides = replace(guides, reference_guidance=scale)
        times = backbone.times(STEPS, 128, 128)
        starts = torch.full((len(examples),), start)
        x = roll_out(backbone, self.noise[rows], times, starts, guides)
        if count:
            x, _ = clean_estimates(backbone, x, times, starts, guides, count, save_memory=True)
        return self.reward(backbone.decode(x), [asked_of(one) for one in examples]).values

    def gradient(self, rows: slice, place: tuple) -> list[Tensor]:
        told = self.rewards(rows, *place)
        return list(torch.autograd.grad(told.mean(), self.params))

    @torch.no_grad()
    def after(self, move: list[Tensor], others: range) -> np.ndarray:
        """Rewards of other pictures with the weights moved, for as long as it takes."""
        for param, by in zip(self.params, move, strict=True):
            param.add_(by)
        found = [
            self.rewards(slice(k, min(k + _AT_ONCE, others.stop)), STEPS, 0, None)
            for k in range(others.start, others.stop, _AT_ONCE)
        ]
        for param, by in zip(self.params, move, strict=True):
            param.sub_(by)
        return torch.cat(found).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--others", type=int, default=128)
    parser.add_argument("--step", type=float, default=2e-4)
    parser.add_argument("--reward", default="strict_matching")
    choice = parser.parse_args()
    backbone = load_backbone("toons", device="cpu", dtype=torch.float32)
    backbone.pipeline.vae.requires_grad_(False)
    backbone.denoiser.requires_grad_(False)
    for param in backbone.denoiser.parameters():
        param.requires_grad_(param.ndim == 2)
    count = choice.pictures + choice.others
    source = ToonExamples(
        count=count,
        start=3_000_000,
        weights=(0.0, 1.0),
        look_alike_share=0.0,
        subject_words=backbone.limits.subject_words,
    )
    recipe = RewardsRecipe(weights={choice.reward: 1.0}, faces="toons")
    generator = torch.Generator().manual_seed(0)
    trial = Trial(
        backbone,
        make_reward(recipe, torch.device("cpu"), ("person",)),
        [source[number] for number in range(count)],
        torch.randn(count, *backbone.latent_shape(128, 128), generator=generator),
    )
    middle, others = choice.pictures // 2, range(choice.pictures, count)
    print(f"{choice.reward}, 2 x {middle} pictures, {choice.others} others")
    print(head("first", "K", "guidance", "cost", "cosine", "norm", "gain"))
    usual = backbone.limits.reference_guidance
    for place in PLACES:
        start, num, scale = place
        left, right = (
            trial.gradient(rows, place) for rows in (slice(0, middle), slice(middle, 2 * middle))
        )
        flat = [torch.cat([one.flatten() for one in side]) for side in (left, right)]
        cosine = float(torch.cosine_similarity(*flat, dim=0))
        move = [choice.step * (a + b).sign() for a, b in zip(left, right, strict=True)]
        gain = trial.after(move, others) - trial.after([-by for by in move], others)
        wide = 1.96 * gain.std(ddof=1) / len(gain) ** 0.5
        cost = (start + 3 * num) * (1 if scale == 1 or usual == 1 else 2)
        told = [f"{cosine:.3f}", f"{float(flat[0].norm()):.2f}"]
        cells = [str(start), str(num), f"{usual if scale is None else scale:g}", str(cost), *told]
        print(line([*cells, f"{gain.mean():+.3f} +- {wide:.3f}"]), flush=True)


if __name__ == "__main__":
    main()
