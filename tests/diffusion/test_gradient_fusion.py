from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from personae.diffusion import fusing
from personae.diffusion.flux2 import Flux2Backbone
from personae.diffusion.fusing import Concept, Sampling, fuse_adapters
from personae.diffusion.gradient_fusion import (
    Gram,
    cut_to_rank,
    fuse_layer,
    gathered_inputs,
    unlike,
)
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import (
    add_lora,
    load_lora,
    lora_parameters,
    merge_lora,
    save_lora,
)
from personae.diffusion.low_rank import LowRank, attached_layers, remove_adapter
from personae.errors import RequestError, WeightsError
from tests.reference.fusion_slow import fused_by_lbfgs, fused_by_lstsq, missed, truncated

SAMPLING = Sampling(steps=2, size=(64, 64))


def low_rank(
    generator: torch.Generator, rank: int, inputs: int, outputs: int, scale: float = 1.0
) -> LowRank:
    down = torch.randn(rank, inputs, generator=generator, dtype=torch.float64)
    up = torch.randn(outputs, rank, generator=generator, dtype=torch.float64)
    return LowRank(down, up, scale)


def gram_of(x: Tensor) -> Tensor:
    """Of columns."""
    return x @ x.T / x.shape[1]


@st.composite
def situations(draw) -> tuple[list[LowRank], list[Tensor]]:
    """Adapters of one layer, and each one's own inputs: few or many, in a plane or all over."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    inputs, outputs = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    deltas, seen = [], []
    for _ in range(draw(st.integers(1, 3))):
        scale = draw(st.sampled_from([0.5, 1.0, 2.0]))
        deltas.append(low_rank(generator, draw(st.integers(1, 3)), inputs, outputs, scale))
        count, span = draw(st.integers(1, 12)), draw(st.integers(1, inputs))
        plane = torch.randn(inputs, span, generator=generator, dtype=torch.float64)
        seen.append(plane @ torch.randn(span, count, generator=generator, dtype=torch.float64))
    return deltas, seen


@settings(max_examples=60, deadline=None)
@given(situations())
def test_it_is_the_least_squares_solution_of_the_inputs_themselves(situation) -> None:
    deltas, seen = situation
    grams, dense = [gram_of(x) for x in seen], [delta.dense() for delta in deltas]
    fused = fuse_layer(deltas, grams, ridge=0)
    slow = fused_by_lstsq(dense, seen)
    best, came = missed(slow, dense, seen), missed(fused.dense(), dense, seen)
    whole = missed(torch.zeros_like(slow), dense, seen)
    assert came <= best + 1e-6 * whole + 1e-12
    share = unlike(fused, deltas, grams)
    assert share == pytest.approx(float(came / whole), abs=1e-6)
    assert fused.rank == sum(delta.rank for delta in deltas)


@settings(max_examples=60, deadline=None)
@given(situations(), st.sampled_from([0.0, 1e-6, 1e-2]))
def test_it_is_never_further_off_than_the_plain_average(situation, ridge: float) -> None:
    """By what it minimizes: with a ridge, that is in it."""
    deltas, seen = situation
    grams, dense = [gram_of(x) for x in seen], [delta.dense() for delta in deltas]
    added = ridge * float(sum(grams[1:], grams[0]).diagonal().mean())

    def cost(candidate: Tensor) -> float:
        return float(missed(candidate, dense, seen) + added * candidate.square().sum())

    average = torch.stack(dense).mean(dim=0)
    at_nothing = cost(torch.zeros_like(average))
    assert cost(fuse_layer(deltas, grams, ridge).dense()) <= cost(average) + 1e-7 * at_nothing


def test_the_published_search_finds_the_same() -> None:
    generator = torch.Generator().manual_seed(1)
    deltas = [low_rank(generator, 2, 6, 4), low_rank(generator, 3, 6, 4, 0.5)]
    seen = [torch.randn(6, 9, generator=generator, dtype=torch.float64) for _ in deltas]
    grams = [gram_of(x) for x in seen]
    added = 1e-2 * float((grams[0] + grams[1]).diagonal().mean())
    slow = fused_by_lbfgs([delta.dense() for delta in deltas], seen, added)
    torch.testing.assert_close(fuse_layer(deltas, grams, 1e-2).dense(), slow, atol=1e-6, rtol=1e-5)


def test_a_lone_concept_keeps_its_adapter_where_it_looked_and_nothing_elsewhere() -> None:
    generator = torch.Generator().manual_seed(2)
    delta = low_rank(generator, 2, 5, 4, 2.0)
    plane = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    seen = plane @ torch.randn(3, 20, generator=generator, dtype=torch.float64)
    fused = fuse_layer([delta], [gram_of(seen)], 1e-9).dense()
    torch.testing.assert_close(fused @ plane, delta.dense() @ plane, atol=1e-5, rtol=1e-5)
    unseen = torch.linalg.svd(plane, full_matrices=True)[0][:, 3:]
    torch.testing.assert_close(fused @ unseen, torch.zeros(4, 2).double(), atol=1e-6, rtol=0)


def test_concepts_that_share_no_direction_both_get_all_they_want() -> None:
    generator = torch.Generator().manual_seed(3)
    deltas = [low_rank(generator, 2, 6, 4), low_rank(generator, 1, 6, 4, 3.0)]
    turned = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    seen = [turned[:, :3] @ torch.randn(3, 8).double(), turned[:, 3:] @ torch.randn(3, 8).double()]
    fused = fuse_layer(deltas, [gram_of(x) for x in seen], 1e-10)
    for delta, x in zip(deltas, seen, strict=True):
        torch.testing.assert_close(fused.dense() @ x, delta.dense() @ x, atol=1e-6, rtol=1e-6)
    assert unlike(fused, deltas, [gram_of(x) for x in seen]) == pytest.approx(0, abs=1e-12)


def test_how_unlike_is_unknown_where_adapters_do_nothing() -> None:
    nothing = LowRank(torch.zeros(1, 3), torch.zeros(2, 1))
    gram = torch.eye(3)
    assert unlike(fuse_layer([nothing], [gram]), [nothing], [gram]) is None


@pytest.mark.parametrize("rank", [1, 2, 4, 5, 9])
def test_a_cut_rank_loses_least_of_what_comes_out(rank: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    layer = low_rank(generator, 6, 7, 5, 0.5)
    gram = gram_of(torch.randn(7, 30, generator=generator, dtype=torch.float64))
    cut, lost = cut_to_rank(layer, gram, rank)
    expected = truncated(layer.dense(), gram, rank)
    torch.testing.assert_close(cut.dense(), expected, atol=1e-9, rtol=1e-7)
    energy = torch.trace(layer.dense() @ gram @ layer.dense().T)
    gone = layer.dense() - expected
    share = (torch.trace(gone @ gram @ gone.T).clamp_min(0) / energy).sqrt()
    assert lost == pytest.approx(float(share), abs=1e-7)
    assert cut.rank <= 6
    assert (lost < 1e-7) == (rank >= 5)


def test_inputs_are_gathered_only_while_it_lasts() -> None:
    layer = nn.Linear(3, 2)
    rows = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    with gathered_inputs({"layer": layer}) as grams:
        layer(rows[:1])
        layer(rows[1:])
    layer(rows * 100)
    flat = rows.reshape(-1, 3).double()
    torch.testing.assert_close(grams["layer"].mean(), flat.T @ flat / 8)
    assert grams["layer"].num_inputs == 8
    with pytest.raises(ValueError, match="no inputs"):
        Gram().mean()


def save_adapter(folder: Path, out: Path, seed: int, rank: int = 2, targets=None) -> Path:
    backbone = load_backbone(folder)
    generator = torch.Generator().manual_seed(seed)
    for value in add_lora(backbone, rank, 2.0 * rank, targets).values():
        value.data.normal_(0, 0.2, generator=generator)
    save_lora(backbone, out)
    return out


@pytest.fixture(scope="module")
def adapters(tiny_folder: Path, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "ann": save_adapter(tiny_folder, folder / "ann", 1),
        "bob": save_adapter(tiny_folder, folder / "bob", 2, rank=3, targets=("attn.to_q",)),
    }


def concept(adapter: Path, *prompts: str) -> Concept:
    return Concept(adapter=adapter, prompts=prompts)


def said(backbone: Flux2Backbone, batch) -> Tensor:
    with torch.no_grad():
        return backbone.predict(batch.x, batch.time, batch.context)


def test_two_adapters_become_one_that_is_saved_and_loaded(
    adapters, fresh, tiny_folder, batch, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    fusion = fuse_adapters(
        fresh,
        {"ann": concept(adapters["ann"], "girl 1"), "bob": concept(adapters["bob"], "man 1", "a")},
        sampling=SAMPLING,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert fusion.rank == 5
    assert len(fusion.layers) == 14
    assert fusion.num_inputs["bob"] == 2 * fusion.num_inputs["ann"]
    for layer in fusion.layers.values():
        assert layer.unlike is not None and layer.average_unlike is not None
        assert layer.unlike <= layer.average_unlike + 1e-6
        assert layer.lost == 0
    assert not any(value.requires_grad for value in lora_parameters(fresh).values())
    save_lora(fresh, tmp_path / "adapter")
    again = load_backbone(tiny_folder)
    load_lora(again, tmp_path / "adapter")
    torch.testing.assert_close(said(again, batch), said(fresh, batch), atol=1e-5, rtol=1e-4)
    before = said(fresh, batch)
    merge_lora(fresh)
    fresh.save(tmp_path / "model")
    whole = load_backbone(tmp_path / "model")
    torch.testing.assert_close(said(whole, batch), before, atol=1e-5, rtol=1e-4)


def test_a_lone_adapter_fused_draws_its_own_pictures(adapters, fresh, tiny) -> None:
    def picture(backbone: Flux2Backbone):
        latents = torch.randn(1, *backbone.latent_shape(64, 64), generator=generator())
        return backbone.draw(
            "girl 1", [], width=64, height=64, latents=latents, steps=2, guidance=1.0
        )[0].astype(int)

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    load_lora(fresh, adapters["ann"])
    expected = picture(fresh)
    remove_adapter(fresh)
    prompts = ("girl 1", "girl 1 on a beach")
    lone = {"ann": concept(adapters["ann"], *prompts)}
    fuse_adapters(fresh, lone, sampling=SAMPLING, ridge=1e-6)
    assert abs(picture(fresh) - expected).max() <= 1
    assert abs(picture(tiny) - expected).max() > 1


@pytest.mark.parametrize(("at_once", "free", "passes"), [(5, 2**40, 3), (None, 10_000, 14)])
def test_groups_of_layers_come_to_the_same(
    adapters, fresh, tiny_folder, monkeypatch, at_once: int | None, free: int, passes: int
) -> None:
    other = load_backbone(tiny_folder)
    concepts = {name: concept(path, "girl 1") for name, path in adapters.items()}
    fuse_adapters(fresh, concepts, sampling=SAMPLING)
    monkeypatch.setattr(fusing, "available_memory", lambda device: free)
    told: list[int] = []
    fuse_adapters(
        other,
        concepts,
        sampling=SAMPLING,
        layers_at_once=at_once,
        progress=lambda done, total: told.append(total),
    )
    assert len(told) == told[0] == 2 * passes
    for name, layer in attached_layers(other).items():
        assert torch.equal(layer.dense(), attached_layers(fresh)[name].dense())


def test_a_smaller_rank_loses_some_and_says_so(adapters, fresh) -> None:
    concepts = {name: concept(path, "girl 1") for name, path in adapters.items()}
    fusion = fuse_adapters(fresh, concepts, sampling=SAMPLING, rank=1)
    assert fusion.rank == 1
    assert {layer.rank for layer in attached_layers(fresh).values()} == {1}
    lost = fusion.mean("lost")
    assert lost is not None and 0 < lost < 1
    told = fusion.as_json()
    assert told["rank"] == 1 and told["lost"] == lost
    assert set(told["layers"]) == set(attached_layers(fresh))


def test_where_an_adapter_changes_nothing_its_inputs_ask_for_nothing() -> None:
    generator = torch.Generator().manual_seed(4)
    delta = low_rank(generator, 2, 5, 4)
    nothing = LowRank(delta.down[:0], delta.up[:, :0])
    gram = gram_of(torch.randn(5, 20, generator=generator, dtype=torch.float64))
    fused = fuse_layer([delta, nothing], [gram, gram], 0)
    torch.testing.assert_close(fused.dense(), delta.dense() / 2)


def test_wrong_requests(adapters, fresh, tmp_path: Path) -> None:
    ann = concept(adapters["ann"], "girl 1")
    for concepts, how, reason in (
        ({}, {}, "at least one concept"),
        ({"ann": concept(adapters["ann"])}, {}, "'ann' has no prompt"),
        ({"ann": ann}, {"rank": 0}, "rank 0"),
        ({"ann": ann}, {"ridge": -1.0}, "ridge -1"),
        ({"ann": ann}, {"layers_at_once": 0}, "layers at once 0"),
        ({"ann": ann}, {"sampling": Sampling(samples=0)}, "samples 0"),
        ({"ann": ann}, {"sampling": Sampling(size=(60, 64))}, "multiples of 16"),
    ):
        with pytest.raises(RequestError, match=reason):
            fuse_adapters(fresh, concepts, **how)
    with pytest.raises(WeightsError, match=r"adapter bob: .*no such file"):
        fuse_adapters(fresh, {"ann": ann, "bob": concept(tmp_path / "bob", "man")})
    load_lora(fresh, adapters["ann"])
    with pytest.raises(RequestError, match="already"):
        fuse_adapters(fresh, {"ann": ann}, sampling=SAMPLING)
