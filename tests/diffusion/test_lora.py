from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from personae.diffusion.flux2 import Flux2Backbone
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import (
    COMFY_FILE,
    DIFFUSERS_FILE,
    add_lora,
    load_lora,
    lora_parameters,
    merge_lora,
    save_lora,
    scale_lora,
    without_lora,
)
from personae.errors import DataError, RequestError, WeightsError


def said(backbone, batch) -> torch.Tensor:
    with torch.no_grad():
        return backbone.predict(batch.x, batch.time, batch.context)


def trained(backbone: Flux2Backbone, alpha: float = 6.0) -> Flux2Backbone:
    """With an adapter that is no longer zero."""
    generator = torch.Generator().manual_seed(3)
    for name, value in add_lora(backbone, 3, alpha).items():
        if ".lora_B." in name:
            value.data.normal_(0, 0.2, generator=generator)
    return backbone


@pytest.fixture(scope="module")
def adapter(tiny_folder: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    save_lora(trained(load_backbone(tiny_folder)), folder, {"base": "tiny"})
    return folder


@pytest.fixture(scope="module")
def adapted(tiny_folder: Path) -> Flux2Backbone:
    return trained(load_backbone(tiny_folder))


def test_a_new_adapter_changes_nothing_and_is_all_that_learns(tiny, fresh, batch) -> None:
    parameters = add_lora(fresh, 3, 6.0)
    assert torch.equal(said(fresh, batch), said(tiny, batch))
    learning = {name for name, value in fresh.denoiser.named_parameters() if value.requires_grad}
    assert learning == set(parameters)
    # Two linear blocks' worth: 12 layers of the double block, 2 of the single one, A and B each.
    assert len(parameters) == 2 * (12 + 2)


def test_every_number_of_the_adapter_gets_a_gradient(adapted, batch) -> None:
    adapted.predict(batch.x, batch.time, batch.context).square().sum().backward()
    for name, value in lora_parameters(adapted).items():
        assert value.grad is not None, name
        value.grad = None


def test_the_same_generator_makes_the_same_adapter(tiny_folder: Path) -> None:
    def first(seed: int | None) -> torch.Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        made = add_lora(load_backbone(tiny_folder), 2, 2, generator=generator)
        return torch.cat([value.flatten() for value in made.values()]).detach()

    assert torch.equal(first(None), first(0))
    assert not torch.equal(first(None), first(1))


def test_the_adapter_is_float32_on_a_bfloat16_model(tiny_folder: Path, batch) -> None:
    half = trained(load_backbone(tiny_folder, dtype=torch.bfloat16))
    assert {value.dtype for value in lora_parameters(half).values()} == {torch.float32}
    assert said(half, batch).isfinite().all()


@pytest.mark.parametrize("name", ["", COMFY_FILE])
def test_a_saved_adapter_says_the_same_in_a_new_model(
    adapter, adapted, fresh, batch, name: str
) -> None:
    load_lora(fresh, adapter / name)
    torch.testing.assert_close(said(fresh, batch), said(adapted, batch), atol=1e-5, rtol=1e-4)
    assert not any(value.requires_grad for value in fresh.denoiser.parameters())


def test_diffusers_reads_it_by_itself(adapter, adapted, fresh, batch) -> None:
    fresh.pipeline.load_lora_weights(adapter)
    torch.testing.assert_close(said(fresh, batch), said(adapted, batch), atol=1e-5, rtol=1e-4)


def test_names_in_the_files(adapter) -> None:
    with safe_open(adapter / DIFFUSERS_FILE, "pt") as stored:
        assert stored.metadata()["base"] == "tiny"
        assert all(name.startswith("transformer.") for name in stored.keys())  # noqa: SIM118
    with safe_open(adapter / COMFY_FILE, "pt") as stored:
        names = set(stored.keys())
        rank = stored.get_tensor("diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight")
    assert "diffusion_model.single_blocks.0.linear2.lora_B.weight" in names
    assert "diffusion_model.double_blocks.0.txt_mlp.2.lora_A.weight" in names
    assert len(rank) == 3 * 3


def test_scale_goes_from_nothing_to_all(adapter, adapted, tiny, fresh, batch) -> None:
    load_lora(fresh, adapter, scale=0.0)
    torch.testing.assert_close(said(fresh, batch), said(tiny, batch))
    scale_lora(fresh, 1.0)
    torch.testing.assert_close(said(fresh, batch), said(adapted, batch), atol=1e-5, rtol=1e-4)
    scale_lora(fresh, 0.5)
    half = said(fresh, batch)
    assert (half - said(tiny, batch)).abs().max() > 1e-4
    assert (half - said(adapted, batch)).abs().max() > 1e-4


def test_without_lora_is_the_model_before_and_only_for_a_while(adapted, tiny, batch) -> None:
    after = said(adapted, batch)
    with without_lora(adapted):
        assert torch.equal(said(adapted, batch), said(tiny, batch))
    assert torch.equal(said(adapted, batch), after)
    assert all(value.requires_grad for value in lora_parameters(adapted).values())


def test_merging_half_of_it_is_scaling_it_by_half(adapter, tiny_folder: Path, batch, tmp_path):
    one, other = load_backbone(tiny_folder), load_backbone(tiny_folder)
    load_lora(one, adapter, scale=0.5)
    load_lora(other, adapter)
    merge_lora(other, scale=0.5)
    torch.testing.assert_close(said(other, batch), said(one, batch), atol=1e-5, rtol=1e-4)
    other.save(tmp_path / "merged")
    merged = load_backbone(tmp_path / "merged")
    torch.testing.assert_close(said(merged, batch), said(one, batch), atol=1e-5, rtol=1e-4)


def test_a_part_of_the_layers_can_be_chosen(fresh, tmp_path: Path) -> None:
    parameters = add_lora(fresh, 2, 2, targets=("attn.to_q", "attn.to_v"))
    assert len(parameters) == 4
    save_lora(fresh, tmp_path, comfy=True)
    with safe_open(tmp_path / COMFY_FILE, "pt") as stored:
        up = stored.get_tensor("diffusion_model.double_blocks.0.img_attn.qkv.lora_B.weight")
    assert up.shape == (96, 4)


def test_layers_without_an_original_name_are_for_diffusers_only(fresh, tmp_path: Path) -> None:
    add_lora(fresh, 2, 2, targets="x_embedder")
    save_lora(fresh, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [DIFFUSERS_FILE]
    with pytest.raises(DataError, match="x_embedder"):
        save_lora(fresh, tmp_path, comfy=True)


def test_wrong_requests(fresh, tiny, adapter, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="rank 0"):
        add_lora(fresh, 0, 1)
    for targets, reason in (
        ("nothing", "no layer"),
        (["to_out"], "ModuleList"),
        ("(", "no regular expression"),
    ):
        with pytest.raises(RequestError, match=reason):
            add_lora(fresh, 2, 2, targets=targets)
    for action in (lora_parameters, merge_lora, lambda b: scale_lora(b, 1)):
        with pytest.raises(RequestError, match="no adapter"):
            action(tiny)
    trained(fresh)
    for again in (lambda: add_lora(fresh, 2, 2), lambda: load_lora(fresh, adapter)):
        with pytest.raises(RequestError, match="already"):
            again()


def test_files_that_are_no_adapter(fresh, tiny_folder: Path, adapter, tmp_path: Path) -> None:
    (tmp_path / "lora.bin").write_bytes(b"x")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((adapter / DIFFUSERS_FILE).read_bytes()[:-10])
    foreign = tiny_folder / "vae" / "diffusion_pytorch_model.safetensors"
    for source, reason in (
        (tmp_path / "lora.bin", "pickles"),
        (tmp_path, "no such file"),
        (cut, "not a whole safetensors"),
        (foreign, "no LoRA"),
    ):
        with pytest.raises(WeightsError, match=reason):
            load_lora(fresh, source)
