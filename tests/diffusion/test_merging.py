from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from personae.diffusion.load import load_backbone
from personae.diffusion.lora import COMFY_FILE, DIFFUSERS_FILE, add_lora, load_lora, save_lora
from personae.diffusion.low_rank import (
    LowRank,
    attach_layers,
    attached_layers,
    read_adapter,
    remove_adapter,
)
from personae.diffusion.merging import MERGES, merge_adapters, merge_layer
from personae.errors import RequestError, WeightsError


def save_adapter(
    folder: Path, out: Path, seed: int, rank: int = 3, alpha: float = 6.0, targets=None
) -> Path:
    backbone = load_backbone(folder)
    generator = torch.Generator().manual_seed(seed)
    for value in add_lora(backbone, rank, alpha, targets).values():
        value.data.normal_(0, 0.2, generator=generator)
    save_lora(backbone, out)
    return out


@pytest.fixture(scope="module")
def adapters(tiny_folder: Path, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "ann": save_adapter(tiny_folder, folder / "ann", 1),
        "bob": save_adapter(tiny_folder, folder / "bob", 2, alpha=1.5),
        "cat": save_adapter(tiny_folder, folder / "cat", 3, rank=2, targets=("attn.to_q",)),
    }


def pair(adapters: Mapping[str, Path], *names: str) -> dict[str, Path]:
    return {name: adapters[name] for name in names}


def dense(layers: Mapping[str, LowRank]) -> dict[str, torch.Tensor]:
    return {name: layer.dense() for name, layer in layers.items()}


def test_reading_an_adapter_leaves_the_model_as_it_was(adapters, fresh, tiny, batch) -> None:
    layers = read_adapter(fresh, adapters["ann"])
    assert len(layers) == 14
    assert {layer.scale for layer in layers.values()} == {2.0}
    with torch.no_grad():
        after, before = (b.predict(batch.x, batch.time, batch.context) for b in (fresh, tiny))
    assert torch.equal(after, before)
    again = dense(read_adapter(fresh, adapters["ann"] / COMFY_FILE))
    assert all(torch.equal(again[name], layer) for name, layer in dense(layers).items())


def test_the_weighted_sum_is_exact_also_of_different_ranks(adapters, fresh) -> None:
    own = {name: dense(read_adapter(fresh, path)) for name, path in adapters.items()}
    weights = {"ann": 0.5, "cat": -2.0}
    merge_adapters(fresh, adapters, "cat", weights)
    merged = attached_layers(fresh)
    assert {layer.rank for layer in merged.values()} == {3 + 3 + 2}
    weights["bob"] = 1 / 3
    for name, layer in dense(merged).items():
        expected = sum(weights[key] * held[name] for key, held in own.items() if name in held)
        torch.testing.assert_close(layer, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("how", MERGES)
def test_every_way_gives_one_adapter_that_is_saved_and_loaded(
    adapters, fresh, tiny_folder, tmp_path: Path, how: str
) -> None:
    merge_adapters(fresh, pair(adapters, "ann", "bob"), how)
    merged = dense(attached_layers(fresh))
    assert len(merged) == 14
    assert all(layer.isfinite().all() and layer.any() for layer in merged.values())
    save_lora(fresh, tmp_path, {"base": "tiny"})
    other = load_backbone(tiny_folder)
    load_lora(other, tmp_path)
    for name, layer in dense(attached_layers(other)).items():
        assert torch.equal(layer, merged[name])
    with safe_open(tmp_path / DIFFUSERS_FILE, "pt") as stored:
        assert stored.metadata()["base"] == "tiny"


def test_svd_is_the_best_of_its_rank(adapters, fresh) -> None:
    sources = pair(adapters, "ann", "bob")
    merge_adapters(fresh, sources, "cat")
    whole = dense(attached_layers(fresh))
    remove_adapter(fresh)
    merge_adapters(fresh, sources, "svd", rank=4)
    for name, layer in attached_layers(fresh).items():
        assert layer.rank == 4
        values = torch.linalg.svdvals(whole[name])
        off = torch.linalg.matrix_norm(whole[name] - layer.dense())
        assert off == pytest.approx(float(values[4:].square().sum().sqrt()), rel=1e-3)


def test_linear_sums_the_factors_not_the_products() -> None:
    """Said in its docstring: an adapter with itself, half and half, is twice as strong."""
    generator = torch.Generator().manual_seed(0)
    part = LowRank(
        torch.randn(2, 5, generator=generator), torch.randn(4, 2, generator=generator), 2
    )
    for how, strength in (("linear", 2.0), ("cat", 1.0), ("svd", 1.0)):
        merged = merge_layer([part, part], [0.5, 0.5], how)
        torch.testing.assert_close(merged.dense(), strength * part.dense(), atol=1e-5, rtol=1e-4)


def test_what_dare_drops_depends_on_the_seed_alone(adapters, fresh) -> None:
    def merged(seed: int) -> torch.Tensor:
        merge_adapters(fresh, pair(adapters, "ann", "bob"), "dare_linear", seed=seed)
        layers = attached_layers(fresh)
        remove_adapter(fresh)
        return torch.cat([layer.dense().flatten() for layer in layers.values()])

    first = merged(0)
    assert torch.equal(merged(0), first)
    assert not torch.equal(merged(1), first)


def test_layers_are_put_on_with_zeros_where_ranks_differ(fresh, batch) -> None:
    layers = {
        "transformer_blocks.0.attn.to_q": LowRank(torch.ones(1, 32), torch.ones(32, 1), 3.0),
        "transformer_blocks.0.attn.to_k": LowRank(torch.ones(2, 32), torch.ones(32, 2)),
    }
    attach_layers(fresh, layers)
    found = attached_layers(fresh)
    assert {layer.rank for layer in found.values()} == {2}
    assert all(torch.equal(found[name].dense(), layers[name].dense()) for name in layers)


def test_wrong_requests(adapters, fresh) -> None:
    two = pair(adapters, "ann", "bob")
    for sources, how, more, reason in (
        (two, "svdd", {}, "did you mean 'svd'"),
        (pair(adapters, "ann"), "cat", {}, "at least two"),
        (two, "cat", {"weights": {"zoe": 1.0}}, "'zoe': expected one of ann, bob"),
        (two, "ties", {"density": 0.0}, "density 0"),
        (pair(adapters, "ann", "cat"), "linear", {}, "ann 3, cat 2 at .*to_q; use cat or svd"),
        (pair(adapters, "ann", "cat"), "ties", {}, "use cat or ties_svd"),
    ):
        with pytest.raises(RequestError, match=reason):
            merge_adapters(fresh, sources, how, **more)
    load_lora(fresh, adapters["ann"])
    with pytest.raises(RequestError, match="already"):
        merge_adapters(fresh, two)


def test_an_adapter_of_another_model_is_named(adapters, fresh, tmp_path: Path) -> None:
    ann = adapters["ann"]
    with pytest.raises(WeightsError, match=r"adapter bob: .*68 of its 68 tensors do not fit"):
        merge_adapters(fresh, {"ann": ann, "bob": "toons-umo"})
    held = load_file(ann / DIFFUSERS_FILE)
    first = "transformer.transformer_blocks.0.attn.to_q.lora_"
    further = {
        f"transformer.transformer_blocks.9.attn.to_q.lora_{part}.weight": held[
            f"{first}{part}.weight"
        ].clone()
        for part in "AB"
    }
    save_file({**held, **further}, tmp_path / DIFFUSERS_FILE)
    with pytest.raises(WeightsError, match=r"adapter bob: .*2 of its 30 .*blocks\.9"):
        merge_adapters(fresh, {"ann": ann, "bob": tmp_path})
    with pytest.raises(WeightsError, match=r"adapter bob: .*no such file"):
        merge_adapters(fresh, {"ann": ann, "bob": tmp_path / "nowhere"})
    merge_adapters(fresh, {"ann": ann, "bob": ann})
