"""Learned tokens of models with two text encoders: SDXL's CLIPs, FLUX.1's CLIP and T5."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.diffusion.sized import build_sized
from personae.diffusion.tokens import (
    TOKENS_FILE,
    add_tokens,
    load_tokens,
    save_tokens,
    token_parameters,
)
from personae.errors import WeightsError
from tests.diffusion.families import save_tiny, tiny_configs

KINDS = ("sdxl", "flux1")
SECOND = {"sdxl": "clip_g", "flux1": "t5"}
TOLD = ["a olis in a park", "a girl in a park", ""]


def model(kind: str) -> Backbone:
    return build_sized(tiny_configs(kind), "cpu", torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_encoder_learns_its_row(kind: str) -> None:
    backbone = model(kind)
    plain = backbone.encode_prompt(TOLD[1:])
    rows = add_tokens(backbone, {"olis": "girl", "hta": "cat"})
    widths = [backbone.pipeline.text_encoder, backbone.pipeline.text_encoder_2]
    assert [row.shape for row in rows.values()] == [
        (2, encoder.get_input_embeddings().weight.shape[1]) for encoder in widths
    ]
    assert torch.equal(backbone.encode_prompt(TOLD[1:]), plain)
    backbone.encode_tokens(*backbone.tokenize(TOLD)).square().sum().backward()
    for row in rows.values():
        assert row.grad is not None
        assert row.grad[0].any() and not row.grad[1].any(), "hta is not in the prompt"
    before = backbone.encode_prompt(TOLD)
    for row in rows.values():
        row.data[0] += 1.0
    after = backbone.encode_prompt(TOLD)
    assert not torch.equal(after[0], before[0]) and torch.equal(after[1:], before[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_pooled_embedding_is_still_that_of_the_whole_text(kind: str) -> None:
    """An old CLIP finds a text's end by the highest number, which a new word has."""
    backbone = model(kind)
    add_tokens(backbone, {"olis": "girl"})
    ids = backbone.pipeline.tokenizer(" girl", add_special_tokens=False)["input_ids"]
    assert len(ids) == 1, "so that the new word is this one until it is trained"
    learned, noun, _ = backbone.encode_prompt(TOLD)
    torch.testing.assert_close(learned[-1], noun[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_loaded_again(kind: str, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / kind, kind)
    first, second = load_backbone(folder), load_backbone(folder)
    for seed, row in enumerate(add_tokens(first, {"olis": "girl"}).values()):
        row.data.normal_(generator=torch.Generator().manual_seed(seed))
    save_tokens(first, tmp_path / "tokens")
    assert load_tokens(second, tmp_path / "tokens") == ["olis"]
    assert list(token_parameters(second)) == ["clip_l", SECOND[kind]]
    assert set(load_file(tmp_path / "tokens" / TOKENS_FILE)) == {"clip_l", SECOND[kind]}
    assert torch.equal(second.encode_prompt(TOLD), first.encode_prompt(TOLD))


def test_diffusers_reads_the_rows_of_either_encoder(tmp_path: Path) -> None:
    """As its examples for FLUX.1 do; the rows of T5 stand where its tokenizer puts the word."""
    folder = save_tiny(tmp_path / "flux1", "flux1")
    first, theirs = load_backbone(folder), load_backbone(folder).pipeline
    for row in add_tokens(first, {"olis": "girl", "hta": "cat"}).values():
        row.data.normal_(generator=torch.Generator().manual_seed(0))
    held = load_file(save_tokens(first, tmp_path / "tokens"))
    for key, place in (("clip_l", ""), ("t5", "_2")):
        encoder = getattr(theirs, f"text_encoder{place}")
        tokenizer = getattr(theirs, f"tokenizer{place}")
        words = ["olis", "hta"]
        theirs.load_textual_inversion(
            held[key], token=words, text_encoder=encoder, tokenizer=tokenizer
        )
        ids = torch.tensor(tokenizer.convert_tokens_to_ids(words))
        assert torch.equal(encoder.get_input_embeddings()(ids), held[key])


def test_a_file_of_before_is_read(tmp_path: Path) -> None:
    """It called the rows of T5 as those of SDXL's second encoder are called."""
    folder = save_tiny(tmp_path / "flux1", "flux1")
    first, second = load_backbone(folder), load_backbone(folder)
    for row in add_tokens(first, {"olis": "girl"}).values():
        row.data.normal_(generator=torch.Generator().manual_seed(0))
    held = load_file(save_tokens(first, tmp_path))
    held["clip_g"] = held.pop("t5")
    save_file(held, tmp_path / "old.safetensors", {"nouns": '{"olis": "girl"}'})
    assert load_tokens(second, tmp_path / "old.safetensors") == ["olis"]
    assert torch.equal(second.encode_prompt(TOLD), first.encode_prompt(TOLD))
    sdxl = model("sdxl")
    held["clip_g"] = held["clip_g"][:, :4].clone()
    save_file(held, tmp_path / "narrow.safetensors", {"nouns": '{"olis": "girl"}'})
    for backbone, key in ((load_backbone(folder), "t5"), (sdxl, "clip_g")):
        with pytest.raises(WeightsError, match=f"numbers for {key}, got"):
            load_tokens(backbone, tmp_path / "narrow.safetensors")
