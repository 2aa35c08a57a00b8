from __future__ import annotations

import unicodedata
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.diffusion.klein import KleinConfig, new_klein, train_tokenizer
from personae.errors import RequestError
from tests.diffusion.tiny import TEXTS, TINY


@cache
def learned():
    return train_tokenizer(TEXTS, 300)


@pytest.fixture
def tokenizer():
    return learned()


def test_the_tokenizer_is_the_same_every_time(tokenizer) -> None:
    assert train_tokenizer(TEXTS, 300).get_vocab() == tokenizer.get_vocab()
    assert len(tokenizer) == 300


def test_a_prompt_costs_one_start_and_one_end(tokenizer) -> None:
    prompt = "girl 1 and man 2 in a park"
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )
    ids = tokenizer(text, padding="max_length", max_length=32)["input_ids"]
    bare = tokenizer(prompt)["input_ids"]
    pads = 32 - len(bare) - 2
    first, last = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert ids == [first, *bare, last] + [tokenizer.pad_token_id] * pads


def test_words_that_were_learned_are_short(tokenizer) -> None:
    assert len(tokenizer("girl")["input_ids"]) < len("girl")


@given(st.text(max_size=40))
def test_any_text_can_be_written(text: str) -> None:
    tokenizer = learned()
    ids = tokenizer(text)["input_ids"]
    normal = unicodedata.normalize("NFC", text)
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == normal


def test_a_seed_says_all_weights_and_leaves_the_global_state(tokenizer) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (new_klein(TINY, tokenizer, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    for part in ("transformer", "vae", "text_encoder"):
        one, two, three = (getattr(x, part).state_dict() for x in (first, again, other))
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert not all(torch.equal(one[name], three[name]) for name in one)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"axes_dims_rope": (4, 4, 4, 5)}, "axes_dims_rope"),
        ({"vae_channels": (8, 9, 16, 16)}, "vae_norm_groups"),
        ({"text_width": 25}, "text_heads"),
        ({"text_layers": (1, 4)}, "text_blocks"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        KleinConfig(**{**vars(TINY), **change})


def test_a_vocabulary_without_room_for_bytes_is_refused() -> None:
    with pytest.raises(RequestError, match="259"):
        train_tokenizer(TEXTS, 258)
