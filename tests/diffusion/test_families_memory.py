"""What SDXL and FLUX.1 are said to need is what they are seen to need; sizes are the true ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from personae.diffusion.backbone import Context
from personae.diffusion.configs import KNOWN_MODELS, ModelConfigs
from personae.diffusion.lora import add_lora
from personae.diffusion.memory import Workload, activations, estimate_memory
from personae.diffusion.rehearsed import learned_text_bytes
from personae.diffusion.sized import build_sized, count_flops, example_context, shrunk
from personae.diffusion.tokens import add_tokens
from personae.evaluation.doctor import check_model
from tests.diffusion.families import FLUX1, KINDS, SDXL, tiny_configs
from tests.diffusion.live_bytes import LiveBytes

# Numbers as others counted them: SDXL's report and the sizes of its published files, and those of
# FLUX.1-dev (23.8 GB and 9.5 GB in 16 bits).
PUBLISHED = {
    "sdxl": {
        "unet": 2_567_463_684,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
        "vae": 83_653_863,
    },
    "flux1": {
        "transformer": 11_901_408_320,
        "text_encoder": 123_060_480,
        "text_encoder_2": 4_762_310_656,
        "vae": 83_819_683,
    },
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_true_sizes(kind: str) -> None:
    estimate = estimate_memory(KINDS[kind], Workload(width=64, height=64, references=0))
    assert estimate.num_parameters == PUBLISHED[kind]
    for part, count in PUBLISHED[kind].items():
        assert estimate.weights[part] == pytest.approx(2 * count, rel=1e-4)


def medium(kind: str) -> ModelConfigs:
    """Intermediate tensors are larger than weights, and matrices larger than a cache line."""
    configs = tiny_configs(kind)
    parts = dict(configs.parts)
    if kind == "sdxl":
        more = {"block_out_channels": (32, 64), "attention_head_dim": (2, 4)}
        parts["unet"] = replace(parts["unet"], config={**parts["unet"].config, **more})
    else:
        net = parts["transformer"]
        parts["transformer"] = replace(net, config={**net.config, "num_attention_heads": 4})
    return replace(configs, parts=parts, limits=replace(configs.limits, guidance=1.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("training", "checkpointing"), [(None, False), ("lora", False), ("full", False), ("full", True)]
)
@pytest.mark.parametrize("kind", list(KINDS))
def test_activations_are_about_what_the_operations_keep(
    kind: str, training, checkpointing: bool, dtype: torch.dtype
) -> None:
    configs = medium(kind)
    work = Workload(
        width=256,
        height=256,
        references=0,
        dtype=dtype,
        training=training,
        checkpointing=checkpointing,
    )
    backbone = build_sized(configs, "cpu", dtype)
    backbone.denoiser.train(training is not None)
    backbone.denoiser.requires_grad_(training == "full")
    if training == "lora":
        add_lora(backbone, 2, 2)
    if checkpointing:
        backbone.denoiser.enable_gradient_checkpointing()
    for value in backbone.denoiser.parameters():
        if value.requires_grad:  # gradients of weights are counted elsewhere
            value.register_post_accumulate_grad_hook(forget)
    x, context = example_context(backbone, 256, 256, 0)
    x, context = x.to(dtype), context.to(dtype=dtype)
    autocast = torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16)
    with LiveBytes() as watch, torch.set_grad_enabled(training is not None), autocast:
        said = backbone.predict(x, torch.ones(1), context)
        if training:
            said.sum().backward()
    expected = activations(configs, work)[configs.family.denoiser]
    assert expected == pytest.approx(watch.peak, rel=0.2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_gradient_to_learned_tokens_keeps_about_what_is_said(
    kind: str, dtype: torch.dtype
) -> None:
    configs = medium(kind)
    backbone = build_sized(configs, "cpu", dtype)
    add_tokens(backbone, {"olis": "girl"})
    ids, mask = backbone.tokenize(["a olis in a park"])
    autocast = torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16)
    with LiveBytes() as watch, autocast:
        backbone.encode_tokens(ids, mask).sum().backward()
    expected = learned_text_bytes(configs, 1, dtype, frozen=True)
    assert expected == pytest.approx(watch.peak, rel=0.2)

    x, context = example_context(backbone, 256, 256, 0)
    x, text = x.to(dtype), context.text.to(dtype).requires_grad_()
    with LiveBytes() as watch, autocast:
        backbone.predict(x, torch.ones(1), Context(text)).sum().backward()
    work = Workload(width=256, height=256, references=0, dtype=dtype, training="lora")
    assert activations(configs, work)[configs.family.denoiser] == pytest.approx(watch.peak, rel=0.2)


def forget(weight: torch.Tensor) -> None:
    weight.grad = None


@pytest.mark.parametrize("kind", list(KINDS))
def test_more_work_needs_more(kind: str) -> None:
    configs = medium(kind)
    name, work = configs.family.denoiser, Workload(width=256, height=256, references=0)
    base = activations(configs, work)[name]
    for change in ({"batch": 2}, {"width": 512}, {"training": "lora"}):
        assert activations(configs, replace(work, **change))[name] > base
    kept = activations(configs, replace(work, training="full"))[name]
    again = replace(work, training="full", checkpointing=True)
    assert activations(configs, again)[name] < kept


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_model_of_true_size_without_weights(kind: str) -> None:
    """Built on the meta device, and a pass of it is counted."""
    configs = shrunk(KINDS[kind], depth=3)
    backbone = build_sized(configs, "meta", torch.bfloat16)
    assert backbone.device.type == "meta"
    flops = count_flops(backbone, 256, 256, references=2)
    assert flops.both > 1.8 * flops.forward > 0
    x, context = example_context(backbone, 256, 256, references=2)
    assert isinstance(context, Context)
    assert context.references == (), "none where none are taken"
    assert x.shape[1:] == ((4, 32, 32) if kind == "sdxl" else (64, 16, 16))


def test_guidance_doubles_what_a_unet_draws_with() -> None:
    """Its pipeline makes both passes at once."""
    work, plain = Workload(width=256, height=256, references=0), medium("sdxl")
    guided = replace(plain, limits=replace(plain.limits, guidance=5.0))
    twice = activations(plain, replace(work, batch=2))["unet"]
    assert activations(guided, work)["unet"] == twice > activations(plain, work)["unet"]


def test_a_unet_is_counted_as_its_operations_say() -> None:
    """The dry run's count of a pass, against counting what a backbone does; the adapter's too."""
    from personae.diffusion.rehearsed import denoiser_pass, pass_flops

    backbone = build_sized(tiny_configs("sdxl"), "meta", torch.float32)
    configs, work = tiny_configs("sdxl"), Workload(width=64, height=64, dtype=torch.float32)
    run = denoiser_pass(configs, backbone.denoiser, work)
    expected = count_flops(backbone, 64, 64, references=0).forward
    assert pass_flops(backbone.denoiser, run) == pytest.approx(expected, rel=0.01)
    with_adapter = pass_flops(backbone.denoiser, run, {"mid_block.attentions.0.proj_in": 3})
    assert with_adapter - pass_flops(backbone.denoiser, run) == 2 * 3 * 64 * 16


@pytest.mark.parametrize("configs", [SDXL, FLUX1], ids=["sdxl", "flux1"])
def test_the_doctor_knows_them(configs: ModelConfigs) -> None:
    told = check_model(configs.name, (512, 512), device="cpu")
    assert told.workload.references == 0
    assert told.memory.total > sum(told.memory.weights.values())
    assert configs.name in KNOWN_MODELS
