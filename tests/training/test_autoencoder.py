from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from personae.diffusion.klein import KleinConfig, new_klein, train_tokenizer
from personae.errors import WorkError
from personae.training.autoencoder import (
    AutoencoderRecipe,
    measure_latents,
    psnr,
    reconstruction_loss,
    train_autoencoder,
)

TINY = KleinConfig(
    num_heads=1,
    head_dim=16,
    axes_dims_rope=(4, 4, 4, 4),
    num_double_blocks=1,
    num_single_blocks=1,
    latent_channels=4,
    vae_channels=(8, 8, 8, 8),
    vae_norm_groups=4,
    text_width=16,
    text_heads=2,
    text_mlp=16,
)
RECIPE = AutoencoderRecipe(crop_px=32, batch=4, warmup=2, save_every=3)


def pictures() -> list[np.ndarray]:
    """Two-colored pictures of two sizes."""
    rng = np.random.default_rng(0)
    parts = []
    for side in (48, 32):
        part = np.zeros((6, side, side, 3), np.uint8)
        part[:] = rng.integers(0, 255, (6, 1, 1, 3))
        part[:, :, side // 2 :] = rng.integers(0, 255, (6, 1, 1, 3))
        parts.append(part)
    return parts


def autoencoder():
    return new_klein(TINY, train_tokenizer(["a"], 260), seed=0).vae


def test_it_learns(tmp_path) -> None:
    rows: list[dict[str, float]] = []
    recipe = AutoencoderRecipe(crop_px=16, batch=4, learning_rate=0.05, warmup=2)
    one = [pictures()[0][:1]]
    train_autoencoder(autoencoder(), one, recipe, 60, tmp_path, on_step=rows.append)
    assert len(rows) == 60
    first, last = (np.mean([row["psnr"] for row in part]) for part in (rows[:5], rows[-5:]))
    assert last > first + 4


def test_a_run_that_stopped_goes_on_as_if_it_had_not(tmp_path) -> None:
    whole, halves = autoencoder(), autoencoder()
    train_autoencoder(whole, pictures(), RECIPE, 6, tmp_path / "whole")
    train_autoencoder(halves, pictures(), RECIPE, 6, tmp_path / "halves", max_seconds=-1.0)
    assert json.loads((tmp_path / "halves" / "state.json").read_text())["step"] == 1
    halves = autoencoder()
    train_autoencoder(halves, pictures(), RECIPE, 6, tmp_path / "halves")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, halves.state_dict()[name]), name


def test_latents_come_out_normalized_in_the_order_of_the_pipeline(tmp_path) -> None:
    pipeline = new_klein(TINY, train_tokenizer(["a"], 260), seed=0)
    measure_latents(pipeline.vae, [pictures()[0]])
    from personae.diffusion.flux2 import Flux2Backbone

    backbone = Flux2Backbone(pipeline, name="tiny")
    seen = torch.from_numpy(pictures()[0]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        latents = backbone.encode_image(seen)
    assert latents.mean((0, 2, 3)).abs().max() < 0.01
    # A channel that hardly varies is divided by the norm's epsilon too.
    assert latents.std((0, 2, 3)).max() == pytest.approx(1.0, abs=0.05)


def test_the_loss_is_that_of_pixels_and_of_edges() -> None:
    wanted = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    given = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(1))
    across = down = 0.0
    for y in range(6):
        for x in range(5):
            if x:
                step = (given[..., y, x] - given[..., y, x - 1]) - (
                    wanted[..., y, x] - wanted[..., y, x - 1]
                )
                across += float(step.abs().sum()) / (2 * 3 * 6 * 4)
            if y:
                step = (given[..., y, x] - given[..., y - 1, x]) - (
                    wanted[..., y, x] - wanted[..., y - 1, x]
                )
                down += float(step.abs().sum()) / (2 * 3 * 5 * 5)
    pixels = float((given - wanted).abs().mean())
    loss = float(reconstruction_loss(given, wanted, 0.5))
    assert loss == pytest.approx(pixels + 0.5 * (across + down), rel=1e-5)


def test_psnr_against_its_definition() -> None:
    given, wanted = torch.rand(3, 3, 4, 4), torch.rand(3, 3, 4, 4)
    for value, a, b in zip(psnr(given, wanted), given, wanted, strict=True):
        expected = 10 * np.log10(1 / np.mean((a.numpy() - b.numpy()) ** 2))
        assert float(value) == pytest.approx(expected, abs=1e-4)


def test_a_loss_that_is_no_number_stops_with_a_reason(tmp_path) -> None:
    vae = autoencoder()
    with torch.no_grad():
        vae.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(WorkError, match="loss of step 0 is nan"):
        train_autoencoder(vae, pictures(), RECIPE, 2, tmp_path)


def test_the_decoder_alone_learns_and_latents_stay(tmp_path) -> None:
    recipe = replace(RECIPE, decoder_only=True, learning_rate=0.02)
    vae = autoencoder()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    train_autoencoder(vae, pictures(), recipe, 4, tmp_path)
    after = vae.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert "decoder.conv_in.weight" in changed
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in changed)
    assert all(param.requires_grad for param in vae.parameters())
    resumed = autoencoder()
    train_autoencoder(resumed, pictures(), recipe, 4, tmp_path)
    assert all(torch.equal(value, after[name]) for name, value in resumed.state_dict().items())
