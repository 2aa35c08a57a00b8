from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.loaders import TextualInversionLoaderMixin
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from personae.diffusion.flux2 import Flux2Backbone
from personae.diffusion.klein import new_klein
from personae.diffusion.load import load_backbone
from personae.diffusion.tokens import (
    TOKENS_FILE,
    add_tokens,
    learned_tokens,
    load_tokens,
    save_tokens,
    token_parameters,
    token_pieces,
)
from personae.errors import RequestError, WeightsError
from tests.diffusion.tiny import TINY

PROMPT = "olis girl 1 and man 2"


def pieces(backbone: Flux2Backbone, text: str) -> list[str]:
    return backbone.pipeline.tokenizer.tokenize(text)


def test_a_new_word_is_one_token_wherever_it_stands(fresh, tiny) -> None:
    assert token_pieces(fresh, "olis") > 1
    add_tokens(fresh, {"olis": "girl", "<hta-2>": "man"})
    assert token_pieces(fresh, "olis") == token_pieces(fresh, "<hta-2>") == 1
    for text in ("olis girl 1", "girl olis", "a olis, (olis) olis", "<hta-2> man and olis girl"):
        expected = text.count("olis") + text.count("<hta-2>")
        ids = fresh.pipeline.tokenizer(text)["input_ids"]
        words = [token.strip() for token in pieces(fresh, text)]
        assert sum(word in {"olis", "<hta-2>"} for word in words) == expected
        assert sum(index >= len(tiny.pipeline.tokenizer) for index in ids) == expected
    # After the word, another one begins as ever.
    assert pieces(fresh, "olis girl 1")[1:] == pieces(tiny, "a girl 1")[1:]
    assert fresh.count_tokens("olis girl 1") == tiny.count_tokens("a girl 1")


@pytest.mark.parametrize("text", ["girl 1 and man 2", "polis", "olisx", "Olis", "a  b\n<hta>", ""])
def test_every_other_text_is_as_before_to_the_bit(fresh, tiny, text: str) -> None:
    add_tokens(fresh, {"olis": "girl"})
    assert all(torch.equal(*both) for both in zip(fresh.tokenize([text]), tiny.tokenize([text])))  # noqa: B905
    assert torch.equal(fresh.encode_prompt([text]), tiny.encode_prompt([text]))


def test_it_begins_as_its_noun(fresh, tiny) -> None:
    rows = add_tokens(fresh, {"olis": "girl", "hta": "red robot"})
    table = tiny.text_encoder.get_input_embeddings().weight
    ids = [tiny.pipeline.tokenizer(f" {noun}")["input_ids"] for noun in ("girl", "red robot")]
    expected = torch.stack([table[group].mean(dim=0) for group in ids])
    torch.testing.assert_close(rows["text_encoder"].data, expected)
    if len(ids[0]) == 1:
        a, b = fresh.encode_prompt(["a olis in"]), tiny.encode_prompt(["a girl in"])
        torch.testing.assert_close(a, b)


def test_only_the_rows_learn_and_only_they_change(fresh, tiny) -> None:
    (rows,) = add_tokens(fresh, {"olis": "girl", "hta": "man"}).values()
    assert rows.shape == (2, 24)
    assert rows.requires_grad and rows.dtype == torch.float32
    optimizer = torch.optim.SGD([rows], lr=0.1)
    before = rows.detach().clone()
    fresh.encode_tokens(*fresh.tokenize([PROMPT])).square().sum().backward()
    optimizer.step()
    assert not torch.equal(rows[0], before[0])
    assert torch.equal(rows[1], before[1])  # not in the prompt
    old, new = tiny.text_encoder.state_dict(), fresh.text_encoder.state_dict()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)
    tied = fresh.text_encoder.get_output_embeddings().weight
    assert tied is fresh.text_encoder.get_input_embeddings().weight
    assert all(value.grad is None for value in fresh.text_encoder.parameters())


def test_the_gradient_is_that_of_finite_differences(fresh) -> None:
    fresh.text_encoder.double()
    (rows,) = add_tokens(fresh, {"olis": "girl"}).values()
    ids, mask = fresh.tokenize([PROMPT, "man and olis"])
    weights = torch.randn(2, 32, 72, generator=torch.Generator().manual_seed(0)).double()

    def loss() -> torch.Tensor:
        return (fresh.encode_tokens(ids, mask) * weights).sum()

    loss().backward()
    assert rows.grad is not None
    for place in (0, 7, 23):
        ends = []
        for step in (1e-3, -1e-3):
            with torch.no_grad():
                kept = rows[0, place].clone()
                rows[0, place] += step
                ends.append((rows[0, place].double(), loss()))
                rows[0, place] = kept
        (high, above), (low, below) = ends
        slope = float((above - below) / (high - low))
        assert rows.grad[0, place].item() == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_what_was_learned_is_saved_and_loaded(fresh, tiny_folder, tmp_path: Path) -> None:
    (rows,) = add_tokens(fresh, {"olis": "girl", "hta": "man"}).values()
    rows.data.normal_(generator=torch.Generator().manual_seed(0))
    path = save_tokens(fresh, tmp_path, {"base": "tiny"})
    assert path == tmp_path / TOKENS_FILE
    held = load_file(path)
    assert {name: tuple(value.shape) for name, value in held.items()} == {
        "olis": (1, 24),
        "hta": (1, 24),
    }
    with safe_open(path, "pt") as stored:
        assert stored.metadata()["base"] == "tiny"
        assert json.loads(stored.metadata()["nouns"]) == {"olis": "girl", "hta": "man"}
    other = load_backbone(tiny_folder)
    assert load_tokens(other, tmp_path) == ["olis", "hta"]
    assert learned_tokens(other) == {"olis": "girl", "hta": "man"}
    prompts = [PROMPT, "hta man 1", "girl 1"]
    assert torch.equal(other.encode_prompt(prompts), fresh.encode_prompt(prompts))
    assert not token_parameters(other)["text_encoder"].requires_grad


def test_tokens_learned_apart_are_used_together(fresh, tiny_folder, tmp_path: Path) -> None:
    for seed, (token, noun) in enumerate({"olis": "girl", "hta": "man"}.items()):
        one = load_backbone(tiny_folder)
        (rows,) = add_tokens(one, {token: noun}).values()
        rows.data.normal_(generator=torch.Generator().manual_seed(seed))
        save_tokens(one, tmp_path / token)
        expected = one.encode_prompt([f"{token} {noun} 1"])
        load_tokens(fresh, tmp_path / token / TOKENS_FILE)
        assert torch.equal(fresh.encode_prompt([f"{token} {noun} 1"]), expected)
    assert list(learned_tokens(fresh)) == ["olis", "hta"]
    save_tokens(fresh, tmp_path / "both")
    assert list(load_file(tmp_path / "both" / TOKENS_FILE)) == ["hta", "olis"]
    again = load_backbone(tiny_folder)
    load_tokens(again, tmp_path / "both")
    prompt = ["olis girl 1 and hta man 2"]
    assert torch.equal(again.encode_prompt(prompt), fresh.encode_prompt(prompt))


def test_diffusers_reads_it_by_itself(fresh, tiny_folder, tmp_path: Path) -> None:
    (rows,) = add_tokens(fresh, {"olis": "girl"}).values()
    rows.data.normal_(generator=torch.Generator().manual_seed(0))
    save_tokens(fresh, tmp_path)
    plain = load_backbone(tiny_folder)

    class Pipeline(TextualInversionLoaderMixin):
        hf_device_map = None
        tokenizer, text_encoder = plain.pipeline.tokenizer, plain.pipeline.text_encoder
        components = {"text_encoder": plain.pipeline.text_encoder}  # noqa: RUF012

    Pipeline().load_textual_inversion(tmp_path)
    assert torch.equal(plain.encode_prompt([PROMPT]), fresh.encode_prompt([PROMPT]))


def test_pictures_are_drawn_from_a_learned_word(fresh, tiny) -> None:
    def picture(backbone: Flux2Backbone, prompt: str) -> np.ndarray:
        noise = torch.randn(1, *backbone.latent_shape(64, 64), generator=generator())
        return backbone.draw(prompt, [], width=64, height=64, latents=noise, steps=2, guidance=1.0)[
            0
        ]

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    (rows,) = add_tokens(fresh, {"olis": "girl"}).values()
    rows.data.normal_(0, 3, generator=generator())
    assert (picture(fresh, "girl 1") == picture(tiny, "girl 1")).all()
    assert (picture(fresh, PROMPT) != picture(tiny, PROMPT)).any()


def two_encoders(seed: int) -> SimpleNamespace:
    """As SDXL has them."""
    tokenizer = load_tiny_tokenizer()
    first, second = (
        new_klein(replace(TINY, text_width=width), tokenizer, seed).text_encoder
        for width in (24, 16)
    )
    pipeline = SimpleNamespace(
        tokenizer=tokenizer,
        tokenizer_2=load_tiny_tokenizer(),
        text_encoder=first,
        text_encoder_2=second,
    )
    return SimpleNamespace(pipeline=pipeline, text_encoder=first)


def load_tiny_tokenizer():
    from personae.diffusion.klein import train_tokenizer
    from tests.diffusion.tiny import TEXTS

    return train_tokenizer(TEXTS, 300)


def test_two_text_encoders_learn_a_row_each(tmp_path: Path, fresh) -> None:
    backbone = two_encoders(0)
    rows = add_tokens(backbone, {"olis": "girl", "hta": "man"})
    assert {key: tuple(value.shape) for key, value in rows.items()} == {
        "clip_l": (2, 24),
        "clip_g": (2, 16),
    }
    rows["clip_g"].data.fill_(2.0)
    save_tokens(backbone, tmp_path)
    assert set(load_file(tmp_path / TOKENS_FILE)) == {"clip_l", "clip_g"}
    other = two_encoders(0)
    assert load_tokens(other, tmp_path) == ["olis", "hta"]
    ids = torch.tensor([other.pipeline.tokenizer_2(" olis hta")["input_ids"]])
    table = other.pipeline.text_encoder_2.get_input_embeddings()
    assert torch.equal(table(ids), torch.full((1, 2, 16), 2.0))
    with pytest.raises(WeightsError, match="1 text encoders"):
        load_tokens(fresh, tmp_path)


def test_wrong_requests(fresh, tmp_path: Path) -> None:
    for tokens, reason in (
        ({}, "no token"),
        ({"girl": "girl"}, "'girl': the tokenizer knows this word already"),
        ({"<pad>": "girl"}, "knows this word already"),
        ({"a b": "girl"}, "one word"),
        ({"{olis}": "girl"}, "braces"),
        ({"olis": " "}, "expected a noun"),
    ):
        with pytest.raises(RequestError, match=reason):
            add_tokens(fresh, tokens)
    with pytest.raises(RequestError, match="no learned token"):
        save_tokens(fresh, tmp_path)
    add_tokens(fresh, {"olis": "girl"})
    with pytest.raises(RequestError, match="knows this word already"):
        add_tokens(fresh, {"olis": "girl"})
    with pytest.raises(RequestError, match="learned tokens"):
        fresh.save(tmp_path / "model")


def test_files_that_hold_no_tokens_of_this_model(fresh, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    save_file({"olis": torch.ones(1, 24)}, tmp_path / "whole.safetensors")
    cut.write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-4])
    save_file({"olis": torch.ones(1, 25)}, tmp_path / "wide.safetensors")
    save_file({"olis": torch.ones(2, 24)}, tmp_path / "two.safetensors")
    for source, reason in (
        (tmp_path, "no such file"),
        (tmp_path / "none.bin", "no such file"),
        (cut, "not a whole safetensors"),
        (tmp_path / "wide.safetensors", r"expected \(1, 24\).*got \(1, 25\)"),
        (tmp_path / "two.safetensors", r"got \(1, 48\)"),
    ):
        with pytest.raises(WeightsError, match=reason):
            load_tokens(fresh, source)
    assert load_tokens(fresh, tmp_path / "whole.safetensors") == ["olis"]
