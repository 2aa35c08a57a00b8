"""A small decoder: its gradient, its folder, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from personae.diffusion.backbone import Backbone
from personae.diffusion.decoder import (
    SmallDecoder,
    load_small_decoder,
    new_small_decoder,
    save_small_decoder,
)
from personae.diffusion.load import load_backbone
from personae.errors import RequestError, WeightsError
from tests.diffusion.tiny import save_tiny_klein


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load_backbone(save_tiny_klein(tmp_path_factory.mktemp("tiny") / "klein"))


def noise(backbone: Backbone) -> torch.Tensor:
    return torch.randn(
        2, *backbone.latent_shape(64, 48), generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("blocks", [(1, 1, 1, 0), (1, 0, 0, 0, 0)])
def test_a_saved_decoder_comes_back_and_lets_gradients_through(
    backbone: Backbone, tmp_path: Path, blocks: tuple[int, ...]
) -> None:
    made = new_small_decoder(backbone, 8, blocks, seed=3)
    save_small_decoder(made, tmp_path)
    read = load_small_decoder(tmp_path, backbone)
    latents = noise(backbone).requires_grad_()
    pixels = read(latents)
    assert pixels.shape == (2, 3, 48, 64)
    assert torch.allclose(pixels, made(latents), atol=1e-6)
    pixels.square().sum().backward()
    assert latents.grad is not None
    assert torch.isfinite(latents.grad).all() and (latents.grad != 0).double().mean() > 0.9
    assert isinstance(read, SmallDecoder)
    assert not any(param.requires_grad for param in read.parameters())


def test_it_reads_what_diffusers_writes_and_unfolds_as_the_pipeline_does(
    backbone: Backbone, tmp_path: Path
) -> None:
    from diffusers import AutoencoderTiny

    tiny = AutoencoderTiny(
        latent_channels=8,
        encoder_block_out_channels=(4, 4, 4, 4),
        decoder_block_out_channels=(4, 4, 4, 4),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
        scaling_factor=2.0,
        shift_factor=0.25,
    )
    tiny.save_pretrained(tmp_path)
    latents = noise(backbone)
    unfolded = backbone.pipeline._unpatchify_latents(latents) / 2 + 0.25
    expected = tiny.decode(unfolded, return_dict=False)[0] / 2 + 0.5
    assert torch.allclose(load_small_decoder(tmp_path, backbone)(latents), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"latent_channels": 16}, r"16 latent channels.*latents of 32 channels.*8 channels with 8"),
        ({"num_decoder_blocks": [1, 1]}, "2 times as large"),
        ({"scaling_factor": 0.0}, "scaling_factor 0.0: expected a number above 0"),
        ({"out_channels": 4}, "expected 3 out_channels"),
    ],
)
def test_a_decoder_for_other_latents_is_refused(
    backbone: Backbone, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    save_small_decoder(new_small_decoder(backbone, 4, (0, 0, 0, 0)), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RequestError, match=words):
        load_small_decoder(tmp_path, backbone)
    with pytest.raises(RequestError, match="8 channels with 8 times"):
        new_small_decoder(backbone, 4, (1,) * 6)


def test_a_damaged_folder_says_what_to_do(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"recipes/small_decoder\.py"):
        load_small_decoder(tmp_path, backbone)
    save_small_decoder(new_small_decoder(backbone, 4, (0, 0, 0, 0)), tmp_path)
    assert all(
        name.startswith("decoder.")
        for name in load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    )
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="distill it again"):
        load_small_decoder(tmp_path, backbone)
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(WeightsError, match="expected _class_name AutoencoderTiny"):
        load_small_decoder(tmp_path, backbone)
