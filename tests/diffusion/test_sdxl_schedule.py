"""Noise schedules against diffusers' own schedulers, and Stable Diffusion 2 by the same code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personae.diffusion.backbone import Context
from personae.diffusion.load import load_backbone
from personae.diffusion.sd import StableDiffusionBackbone
from personae.diffusion.sdxl_schedule import diffusion_of
from personae.errors import RequestError
from tests.diffusion.families import loosen, save_tiny, tiny_configs

SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def scheduler(prediction: str = "epsilon", **more):
    from diffusers import DDPMScheduler

    return DDPMScheduler(**SCALED, prediction_type=prediction, **more)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_points_and_targets_are_those_of_diffusers(prediction: str) -> None:
    theirs = scheduler(prediction)
    ours = diffusion_of(theirs, "m")
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(4, 2, 3, 3, generator=generator) for _ in range(2))
    steps = torch.tensor([0, 7, 500, 999])
    time = (steps + 1) / 1000
    mixed = theirs.add_noise(clean, noise, steps)
    torch.testing.assert_close(ours.mix(clean, noise, time), mixed)
    expected = noise if prediction == "epsilon" else theirs.get_velocity(clean, noise, steps)
    torch.testing.assert_close(ours.target(clean, noise, time), expected)
    for row, step in enumerate(steps.tolist()):
        one = slice(row, row + 1)
        origin = theirs.step(expected[one], step, mixed[one]).pred_original_sample
        estimate = ours.estimate(mixed[one], expected[one], time[one])
        torch.testing.assert_close(estimate.clamp(-1, 1), origin, atol=1e-4, rtol=1e-3)
        back = ours.noise(mixed[one], expected[one], time[one])
        torch.testing.assert_close(back, noise[one], atol=1e-4, rtol=1e-3)


def test_following_is_ddim(tmp_path) -> None:
    from diffusers import DDIMScheduler

    for prediction in ("epsilon", "v_prediction"):
        theirs = DDIMScheduler(**SCALED, prediction_type=prediction, clip_sample=False)
        theirs.set_timesteps(4)
        ours = diffusion_of(theirs, "m")
        generator = torch.Generator().manual_seed(0)
        x, said = (torch.randn(1, 2, 3, 3, generator=generator) for _ in range(2))
        expected = theirs.step(said, 750, x, eta=0.0).prev_sample
        here, there = torch.tensor([0.751]), torch.tensor([0.501])
        torch.testing.assert_close(ours.follow(x, said, here, there), expected)


def test_every_training_step_has_its_time() -> None:
    schedule = diffusion_of(scheduler(), "m")
    steps = torch.arange(1000)
    assert torch.equal(schedule.places((steps + 1).float() / 1000) - 1, steps)
    times = torch.linspace(0.0005, 0.9995, 1000)
    assert torch.equal(schedule.places(times) - 1, steps), "a step holds for the times up to it"


def test_what_is_no_such_schedule_is_refused() -> None:
    from diffusers import EDMEulerScheduler

    for wrong in (EDMEulerScheduler(), scheduler("sample")):
        with pytest.raises(RequestError, match="expected one with alphas_cumprod"):
            diffusion_of(wrong, "m")


def test_a_network_that_predicts_v_is_drawn_with(tmp_path) -> None:
    """The one line in the scheduler's file decides what is trained and what is drawn."""
    from diffusers import EulerDiscreteScheduler

    backbone = load_backbone(save_tiny(tmp_path / "sdxl", "sdxl"))
    backbone.pipeline.scheduler = EulerDiscreteScheduler.from_config(
        backbone.pipeline.scheduler.config, prediction_type="v_prediction"
    )
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    settings = {"width": 64, "height": 64, "steps": 3, "guidance": 1.0}
    seen = []
    backbone.draw("a cat", [], latents=latents, **settings, on_step=lambda k, x: seen.append(x))
    context, x = Context(backbone.encode_prompt(["a cat"])), latents
    times = backbone.times(3, 64, 64)
    with torch.no_grad():
        for step in range(3):
            here, there = times[step : step + 1], times[step + 1 : step + 2]
            x = backbone.follow(x, backbone.predict(x, here, context), here, there)
            torch.testing.assert_close(seen[step], x, atol=2e-3, rtol=1e-3)


def test_stable_diffusion_2_too(tmp_path) -> None:
    backbone = load_backbone(save_sd(tmp_path / "sd"))
    assert isinstance(backbone, StableDiffusionBackbone)
    assert (backbone.family, backbone.limits.guidance, backbone.limits.sizes) == (
        "sd",
        7.5,
        ((64, 64),),
    )
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    settings = {"width": 64, "height": 64, "steps": 3, "guidance": 4.0}
    (drawn,) = backbone.draw("a cat", [], latents=latents, **settings)
    text = backbone.encode_prompt(["a cat", ""])
    assert text.shape == (2, *backbone.text_shape)
    theirs = backbone.pipeline.encode_prompt("a cat", "cpu", 1, do_classifier_free_guidance=True)
    torch.testing.assert_close(text[:1], theirs[0])
    torch.testing.assert_close(text[1:], theirs[1])
    x, times = latents, backbone.times(3, 64, 64)
    with torch.no_grad():
        for step in range(3):
            here, there = times[step : step + 1], times[step + 1 : step + 2]
            said, unsaid = (backbone.predict(x, here, Context(row[None])) for row in text)
            x = backbone.follow(x, unsaid + 4 * (said - unsaid), here, there)
    pixels = (backbone.decode(x).clamp(0, 1) * 255).round()[0].permute(1, 2, 0)
    assert np.abs(pixels.detach().numpy() - drawn).max() <= 1


def save_sd(folder):
    """A tiny StableDiffusionPipeline that predicts v, of the parts of a tiny SDXL."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    from personae.diffusion.sized import build_sized

    parts = build_sized(tiny_configs("sdxl"), "cpu", torch.float32).pipeline
    config = dict(parts.unet.config) | {"addition_embed_type": None, "cross_attention_dim": 32}
    unet = UNet2DConditionModel.from_config(
        config | {"projection_class_embeddings_input_dim": None}
    )
    loosen(unet, 0)
    StableDiffusionPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(
            **SCALED, prediction_type="v_prediction", clip_sample=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder
