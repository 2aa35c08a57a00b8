from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from personae.diffusion.backbone import Context
from personae.diffusion.configs import KNOWN_MODELS, build_on_meta, read_configs
from personae.diffusion.klein import KleinConfig, new_klein, train_tokenizer
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import add_lora
from personae.diffusion.memory import (
    Workload,
    available_memory,
    estimate_memory,
    flux2_activations,
)
from personae.errors import RequestError, WeightsError
from tests.diffusion.live_bytes import LiveBytes
from tests.diffusion.tiny import TEXTS, TINY_LIMITS

KLEIN = KNOWN_MODELS["black-forest-labs/FLUX.2-klein-base-4B"]
WORK = Workload(width=1024, height=1024)


def test_weights_of_a_saved_model_are_its_files_bytes(tiny_folder: Path) -> None:
    from personae.diffusion.folder import inspect_folder

    estimate = estimate_memory(
        read_configs(tiny_folder), Workload(width=64, height=64, dtype=torch.float32)
    )
    for part, tensors in inspect_folder(tiny_folder).tensors.items():
        sizes = {"F32": 4, "I64": 8}
        stored = sum(t.numel * sizes[t.dtype] for t in tensors.values())
        assert estimate.weights[part] == stored


def test_weights_of_klein_4b_are_those_of_the_model_on_the_meta_device() -> None:
    """Counted another way: tensor by tensor of what diffusers and transformers build."""
    estimate = estimate_memory(KLEIN, WORK)
    for name, part in KLEIN.parts.items():
        seen, size = set(), 0
        for tensor in build_on_meta(part).state_dict(keep_vars=True).values():
            if id(tensor) not in seen:
                seen.add(id(tensor))
                size += tensor.numel() * (2 if tensor.is_floating_point() else 8)
        assert estimate.weights[name] == size
    # 3.88 billion is what others counted of the published weights, 4.02 is Qwen3-4B's card.
    assert estimate.num_parameters["transformer"] / 1e9 == pytest.approx(3.88, abs=0.01)
    assert estimate.num_parameters["text_encoder"] / 1e9 == pytest.approx(4.02, abs=0.01)


def test_the_adapter_is_counted_as_it_is_added(tiny_folder: Path) -> None:
    work = Workload(width=64, height=64, training="lora", rank=5, dtype=torch.float32)
    estimate = estimate_memory(read_configs(tiny_folder), work)
    added = sum(value.numel() for value in add_lora(load_backbone(tiny_folder), 5, 5).values())
    assert estimate.training == {
        "adapter": 4 * added,
        "gradients": 4 * added,
        "optimizer": 8 * added,
    }


def test_full_training_is_18_bytes_a_number_in_bfloat16_and_16_in_float32() -> None:
    for dtype, each in ((torch.bfloat16, 18), (torch.float32, 16)):
        estimate = estimate_memory(KLEIN, replace(WORK, training="full", dtype=dtype))
        held = estimate.weights["transformer"] + sum(estimate.training.values())
        assert held == pytest.approx(each * estimate.num_parameters["transformer"], rel=1e-6)


CONFIG = KleinConfig(
    num_heads=4, head_dim=32, axes_dims_rope=(8, 8, 8, 8), num_double_blocks=1, num_single_blocks=3
)
LIMITS = replace(TINY_LIMITS, prompt_tokens=64)


@pytest.fixture(scope="module")
def medium(tmp_path_factory):
    """A model in which intermediate tensors are larger than weights."""
    from personae.diffusion.backbone import write_limits

    folder = tmp_path_factory.mktemp("medium") / "klein"
    new_klein(CONFIG, train_tokenizer(TEXTS, 300), 0).save_pretrained(folder)
    write_limits(folder, LIMITS)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("training", "checkpointing"), [(None, False), ("full", False), ("full", True)]
)
def test_activations_are_about_what_the_operations_keep(
    medium: Path, dtype: torch.dtype, training, checkpointing: bool
) -> None:
    work = Workload(
        width=384,
        height=384,
        references=2,
        dtype=dtype,
        training=training,
        checkpointing=checkpointing,
    )
    backbone = load_backbone(medium, dtype=dtype)
    backbone.denoiser.requires_grad_(training is not None)
    if checkpointing:
        backbone.denoiser.enable_gradient_checkpointing()
    x = torch.randn(1, *backbone.latent_shape(384, 384), dtype=dtype)
    refs = tuple(torch.randn(1, 32, 4, 4, dtype=dtype) for _ in range(2))
    context = Context(torch.randn(1, 64, 576, dtype=dtype), refs)
    with LiveBytes() as watch, torch.set_grad_enabled(training is not None):
        said = backbone.predict(x, torch.ones(1), context)
        if training:
            said.sum().backward()
    seen = watch.peak
    if training:  # the gradients that backward leaves are counted elsewhere
        seen -= sum(p.numel() for p in backbone.denoiser.parameters()) * dtype.itemsize
    expected = flux2_activations(read_configs(medium), work)["transformer"]
    assert expected == pytest.approx(seen, rel=0.35)


@torch.no_grad()
def test_activations_of_the_other_stages(medium: Path) -> None:
    backbone = load_backbone(medium)
    work = Workload(width=256, height=256, dtype=torch.float32)
    expected = flux2_activations(read_configs(medium), work)
    latents = torch.randn(1, *backbone.latent_shape(256, 256))
    with LiveBytes() as watch:
        backbone.decode(latents)
    assert expected["vae"] == pytest.approx(watch.peak, rel=0.35)
    ids, mask = backbone.tokenize(["cat 1"])
    with LiveBytes() as watch:  # as the pipeline calls it, with the logits of every word
        backbone.text_encoder(
            input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
        )
    assert expected["text_encoder"] == pytest.approx(watch.peak, rel=0.35)


def test_more_work_needs_more() -> None:
    base = flux2_activations(KLEIN, WORK)
    for change in ({"references": 3}, {"batch": 2}, {"width": 2048}, {"training": "lora"}):
        assert (
            flux2_activations(KLEIN, replace(WORK, **change))["transformer"] > (base["transformer"])
        )
    kept = flux2_activations(KLEIN, replace(WORK, training="lora"))["transformer"]
    again = replace(WORK, training="lora", checkpointing=True)
    assert flux2_activations(KLEIN, again)["transformer"] < kept / 5


def test_configs_alone_are_enough(tiny_folder: Path, tmp_path: Path) -> None:
    for path in tiny_folder.rglob("*.json"):
        copied = tmp_path / path.relative_to(tiny_folder)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())
    work = Workload(width=64, height=64)
    assert estimate_memory(read_configs(tmp_path), work) == estimate_memory(
        read_configs(tiny_folder), work
    )
    (tmp_path / "vae" / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"vae/config\.json"):
        read_configs(tmp_path)


def test_wrong_workloads_and_families() -> None:
    with pytest.raises(RequestError, match="positive"):
        Workload(width=0, height=64)
    with pytest.raises(RequestError, match="training"):
        replace(WORK, training="some")
    with pytest.raises(RequestError, match="no memory formula"):
        estimate_memory(replace(KLEIN, pipeline_class="KandinskyPipeline"), WORK)


def test_available_memory_is_a_part_of_the_machines() -> None:
    import psutil

    assert 0 < available_memory(torch.device("cpu")) <= psutil.virtual_memory().total
