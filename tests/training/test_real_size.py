"""FLUX.2 Klein 4B's true shapes through a reward step, without the memory they would take."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from personae.diffusion.backbone import Backbone
from personae.diffusion.configs import KNOWN_MODELS
from personae.diffusion.decoder import new_small_decoder
from personae.diffusion.lora import add_lora
from personae.diffusion.memory import Workload, estimate_memory
from personae.diffusion.sized import build_sized, count_flops, example_context, shrunk
from personae.errors import RequestError
from personae.training.rollout import Guides, clean_estimates
from tests.diffusion.live_bytes import LiveBytes

KLEIN = KNOWN_MODELS["black-forest-labs/FLUX.2-klein-base-4B"]
SIDE, CARD = 768, 80e9


class OnMeta:
    """One gradient step of ReReFL at 768 pixels with two references, and what it held at once."""

    def __init__(self, rank: int) -> None:
        text = shrunk(KLEIN, 1).parts["text_encoder"]  # prompts are embedded already
        configs = replace(KLEIN, parts={**KLEIN.parts, "text_encoder": text})
        self.backbone: Any = build_sized(configs, "meta", torch.bfloat16)
        self.params = add_lora(self.backbone, rank, float(rank))
        self.backbone.denoiser.enable_gradient_checkpointing()
        latents, context = example_context(self.backbone, SIDE, SIDE, 2)
        times, starts = torch.linspace(1, 0, 26, device="meta"), torch.tensor([20])
        with LiveBytes() as live:
            x = torch.empty_like(latents)
            guides, now = Guides(context), starts.to("meta")
            self.clean, _ = clean_estimates(self.backbone, x, times, now, guides, 1)
            self.pixels = self.backbone.decode(self.clean).float()
            torch.autograd.backward(self.pixels.mean())
        self.live = live.peak


@pytest.fixture(scope="module")
def on_meta() -> OnMeta:
    return OnMeta(64)


@pytest.mark.slow
def test_the_true_shapes_go_through_the_gradient_step(on_meta: OnMeta) -> None:
    assert on_meta.clean.shape == (1, 128, 48, 48) and on_meta.pixels.shape == (1, 3, SIDE, SIDE)
    assert len(on_meta.params) == 2 * (5 * 12 + 20 * 2)
    for name, param in on_meta.params.items():
        assert param.grad is not None and param.grad.shape == param.shape, name
    small = new_small_decoder(on_meta.backbone, 64, (3, 3, 3, 1)).to("meta")
    assert small(on_meta.clean.detach()).shape == on_meta.pixels.shape


@pytest.mark.slow
@pytest.mark.parametrize("rank", [64, 512])
def test_rerefl_at_768_with_two_references_fits_a_card_of_80_gb(
    on_meta: OnMeta, rank: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights, adapter, gradients and AdamW exactly; activations as counted at rank 64."""
    work = Workload(
        width=SIDE, height=SIDE, references=2, training="lora", rank=rank, checkpointing=True
    )
    estimate = estimate_memory(KLEIN, work)
    held = sum(estimate.weights.values()) + sum(estimate.training.values())
    total = held + on_meta.live
    with capsys.disabled():
        sys.stdout.write(
            f"\nrank {rank}: weights {sum(estimate.weights.values()) / 1e9:.1f} GB, adapter and "
            f"optimizer {sum(estimate.training.values()) / 1e9:.1f} GB, activations of one picture "
            f"{on_meta.live / 1e9:.1f} GB: {total / 1e9:.1f} GB\n"
        )
    assert total < CARD
    assert estimate.total < total  # the formula knows no gradient through the decoder


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return build_sized(shrunk(KLEIN, tiny=True), "cpu", torch.float32)


def test_a_shrunk_model_computes(tiny: Backbone) -> None:
    latents, context = example_context(tiny, 64, 48, 2)
    assert latents.shape == (1, 128, 3, 4)
    text = tiny.encode_prompt(["a girl"])
    assert text.shape == context.text.shape and torch.isfinite(text).all()
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    said = tiny.predict(noise, torch.ones(1), context)
    assert said.shape == latents.shape and torch.isfinite(said).all() and said.any()
    again = build_sized(shrunk(KLEIN, tiny=True), "cpu", torch.float32)
    assert torch.equal(again.predict(noise, torch.ones(1), context), said)


def test_depth_takes_blocks_away_and_nothing_else() -> None:
    assert shrunk(KLEIN) is KLEIN
    net = shrunk(KLEIN, 10).parts["transformer"].config
    assert (net["num_layers"], net["num_single_layers"]) == (2, 8)
    assert net["num_attention_heads"] == 24
    with pytest.raises(RequestError, match="expected one of Flux2KleinPipeline"):
        build_sized(replace(KLEIN, pipeline_class="KandinskyPipeline"), "meta", torch.float32)


def test_operations_are_counted_about_as_by_hand() -> None:
    meta = build_sized(shrunk(KLEIN, tiny=True), "meta", torch.float32)
    told = count_flops(meta, 64, 64, 2)
    # Products alone: twice the weights of the blocks for each of 32 + 16 + 2 * 16 tokens.
    blocks = [*meta.denoiser.transformer_blocks, *meta.denoiser.single_transformer_blocks]
    weights = sum(p.numel() for block in blocks for p in block.parameters() if p.ndim == 2)
    by_hand = 2 * weights * (32 + 16 + 2 * 16)
    assert by_hand * 0.5 < told.forward < by_hand * 1.5
    assert 1.8 < told.both / told.forward < 2.2
    assert 1.8 < told.decode_both / told.decode < 2.2
