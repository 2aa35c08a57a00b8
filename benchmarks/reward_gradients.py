"""How far a reward's gradients agree from picture to picture, by where the gradient begins.

    python benchmarks/reward_gradients.py [--pictures 48] [--reward strict_matching]

Two halves of a batch of training scenes, each rolled out from its own noise; the cosine between
the two halves' gradients of the mean reward. 0 is noise; a gradient that agrees between pictures
is one that a step can follow. ``step`` is the first of ``K`` steps with a gradient, of T.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor

from personae.data.examples import Example, ToonExamples
from personae.diffusion.backbone import Backbone, Context
from personae.diffusion.load import load_backbone
from personae.training.asking import asked_of
from personae.training.rewards.combined import CombinedReward
from personae.training.rewards.make import make_reward
from personae.training.rewards.recipe import RewardsRecipe
from personae.training.rollout import Guides, clean_estimates, roll_out

# (step with the first gradient, K) of T = 8.
PLACES = ((2, 1), (4, 1), (5, 1), (6, 1), (7, 1), (6, 2), (5, 3), (3, 5), (0, 8))


def pixels(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def guides_of(backbone: Backbone, examples: list[Example]) -> Guides:
    columns = zip(*(example.references for example in examples), strict=True)
    references = tuple(backbone.encode_image(pixels(list(column))) for column in columns)
    context = Context(backbone.encode_prompt([one.prompt for one in examples]), references)
    return Guides(context, reference_guidance=backbone.limits.reference_guidance)


def gradient(
    backbone: Backbone, reward: CombinedReward, examples: list[Example], noise: Tensor, place: tuple
) -> tuple[Tensor, float]:
    start, num_steps = place
    params = [p for p in backbone.denoiser.parameters() if p.requires_grad]
    guides, times = guides_of(backbone, examples), backbone.times(8, 128, 128)
    starts = torch.full((len(examples),), start)
    x = roll_out(backbone, noise, times, starts, guides)
    clean, _ = clean_estimates(backbone, x, times, starts, guides, num_steps, save_memory=True)
    told = reward(backbone.decode(clean), [asked_of(one) for one in examples])
    grads = torch.autograd.grad(told.values.mean(), params)
    return torch.cat([one.flatten() for one in grads]), float(told.values.detach().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--reward", default="strict_matching")
    choice = parser.parse_args()
    backbone = load_backbone("toons", device="cpu", dtype=torch.float32)
    backbone.pipeline.vae.requires_grad_(False)
    backbone.denoiser.requires_grad_(False)
    for param in backbone.denoiser.parameters():
        param.requires_grad_(param.ndim == 2)
    recipe = RewardsRecipe(weights={choice.reward: 1.0}, faces="toons")
    reward = make_reward(recipe, torch.device("cpu"), ("person",))
    source = ToonExamples(
        count=choice.pictures,
        start=3_000_000,
        weights=(0.0, 1.0),
        look_alike_share=0.0,
        subject_words=backbone.limits.subject_words,
    )
    examples = [source[number] for number in range(choice.pictures)]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(examples), *backbone.latent_shape(128, 128), generator=generator)
    middle = len(examples) // 2
    print(f"{choice.reward}, 2 x {middle} pictures\n| step | K | cosine | norm | reward |")
    print("|---|---|---|---|---|")
    for place in PLACES:
        (a, left), (b, right) = (
            gradient(backbone, reward, examples[rows], noise[rows], place)
            for rows in (slice(0, middle), slice(middle, None))
        )
        cosine = float(torch.cosine_similarity(a, b, dim=0))
        told = f"{cosine:.3f} | {float(a.norm()):.2f} | {(left + right) / 2:.3f}"
        print(f"| {place[0]} | {place[1]} | {told} |", flush=True)


if __name__ == "__main__":
    main()
