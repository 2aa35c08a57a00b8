"""Tokenizers of the true classes that know a few words, for models that nobody has trained yet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from personae.errors import RequestError

__all__ = ["train_clip_tokenizer", "train_t5_tokenizer"]

_START, _END = "<|startoftext|>", "<|endoftext|>"
_LEAST = 514  # each byte within a word and at its end, start and end of a text


def train_clip_tokenizer(texts: Iterable[str], vocab_size: int, *, pad: str = _END) -> Any:
    """A byte-level BPE of at most ``vocab_size`` tokens, as a transformers ``CLIPTokenizer``.

    The end of a text has the highest number: some of CLIP's encoders find it by that.

    Args:
        texts: prompts to learn merges from.
        vocab_size: tokens in all, at least 514.
        pad: what fills a prompt up: the end again, or ``"!"`` for the second encoder of SDXL.

    Raises:
        RequestError: ``vocab_size`` is too small.
    """
    if vocab_size < _LEAST:
        raise RequestError(f"vocab_size {vocab_size}: expected at least {_LEAST}")
    from tokenizers import pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [f"{letter}</w>" for letter in alphabet]
    learner = CLIPTokenizer().backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2 - len(ends),
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    model = json.loads(learner.to_str())["model"]
    learned = sorted(model["vocab"], key=model["vocab"].get)
    tokens = dict.fromkeys([*alphabet, *ends, *learned, _START, _END])
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,  # type: ignore[arg-type]  # a list of pairs
        pad_token=pad,
        model_max_length=77,
    )


def train_t5_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A unigram tokenizer of at most ``vocab_size`` tokens, as a transformers ``T5Tokenizer``.

    Letters that none of the texts has are unknown to it.

    Args:
        texts: prompts to learn from.
        vocab_size: tokens in all.
    """
    from tokenizers import trainers
    from transformers import T5Tokenizer

    learner = T5Tokenizer(extra_ids=0).backend_tokenizer
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    vocab = [(token, score) for token, score in json.loads(learner.to_str())["model"]["vocab"]]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=512)
