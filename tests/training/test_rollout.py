"""Rollouts agree with the pipeline's own drawing, row by row, with and without guidance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personae.diffusion.backbone import Backbone, Context
from personae.training.rerefl import gradient_steps
from personae.training.rollout import Guides, clean_estimates, guided_velocity, roll_out


def guides_of(
    backbone: Backbone, size: int, guidance: float, by_references: float
) -> tuple[Guides, list[str], list[np.ndarray]]:
    prompts = ["girl 1 in a park", "a cat 1 on a beach", "man 1"][:size]
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(size)]
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        references = (backbone.encode_image(pixels),)
    context = Context(backbone.encode_prompt(prompts), references)
    empty = backbone.encode_prompt([""]).expand(size, -1, -1)
    return Guides(context, empty, guidance, by_references), prompts, pictures


def noise_of(backbone: Backbone, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randn(size, *backbone.latent_shape(64, 64), generator=generator)


@pytest.mark.parametrize(("guidance", "by_references"), [(1.0, 1.0), (1.0, 2.5), (2.0, 1.5)])
def test_a_whole_rollout_is_what_the_pipeline_draws(
    backbone: Backbone, guidance: float, by_references: float
) -> None:
    guides, prompts, pictures = guides_of(backbone, 2, guidance, by_references)
    noise = torch.randn(
        2, *backbone.latent_shape(64, 64), generator=torch.Generator().manual_seed(0)
    )
    times = backbone.times(4, 64, 64)
    x = roll_out(backbone, noise, times, torch.tensor([4, 4]), guides)
    for row, (prompt, picture) in enumerate(zip(prompts, pictures, strict=True)):
        ends: list[torch.Tensor] = []
        backbone.draw(
            prompt,
            [picture],
            width=64,
            height=64,
            latents=noise[row : row + 1],
            steps=4,
            guidance=guidance,
            reference_guidance=by_references,
            on_step=lambda step, latents, ends=ends: ends.append(latents),
        )
        torch.testing.assert_close(x[row], ends[-1][0], atol=2e-4, rtol=1e-3)


def test_each_picture_stops_where_it_is_told(backbone: Backbone) -> None:
    guides, *_ = guides_of(backbone, 3, 1.0, 2.0)
    noise = torch.randn(
        3, *backbone.latent_shape(64, 64), generator=torch.Generator().manual_seed(1)
    )
    times = backbone.times(5, 64, 64)
    x = roll_out(backbone, noise, times, torch.tensor([0, 2, 5]), guides)
    assert torch.equal(x[0], noise[0])
    for row, stop in ((1, 2), (2, 5)):
        rows = torch.tensor([row])
        alone = roll_out(backbone, noise[rows], times, torch.tensor([stop]), guides[rows])
        torch.testing.assert_close(x[row], alone[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("num_steps", "save"), [(1, False), (3, False), (3, True)])
def test_a_clean_estimate_is_the_slow_one_and_has_its_gradient(
    backbone: Backbone, num_steps: int, save: bool
) -> None:
    guides, *_ = guides_of(backbone, 2, 1.0, 2.0)
    x = noise_of(backbone, 2)
    times = backbone.times(6, 64, 64)
    starts = torch.tensor([1, 2])
    param = next(p for p in backbone.denoiser.parameters() if p.ndim == 2)
    param.requires_grad_(True)
    clean, velocity = clean_estimates(
        backbone, x, times, starts, guides, num_steps, save_memory=save
    )
    (fast,) = torch.autograd.grad(clean.square().sum(), param)
    slow = []
    for row in (0, 1):
        here, rows = x[row : row + 1], torch.tensor([row])
        for offset in range(num_steps):
            step = int(starts[row]) + offset
            said = guided_velocity(backbone, here, times[step : step + 1], guides[rows])
            estimate = here - times[step] * said
            here = here + (times[step + 1] - times[step]) * said
        slow.append(estimate)
    stacked = torch.cat(slow)
    torch.testing.assert_close(clean, stacked, atol=1e-5, rtol=1e-4)
    (wanted,) = torch.autograd.grad(stacked.square().sum(), param)
    torch.testing.assert_close(fast, wanted, atol=1e-4, rtol=1e-3)
    assert velocity.shape == x.shape


def test_the_step_with_a_gradient_is_drawn_evenly_from_the_window() -> None:
    drawn = gradient_steps((1, 10), 25, 20_000, [3])
    counts = torch.bincount(drawn, minlength=25)
    assert counts[:15].sum() == 0
    assert (counts[15:].float() / 20_000 - 0.1).abs().max() < 0.01
    assert torch.equal(drawn, gradient_steps((1, 10), 25, 20_000, [3]))
