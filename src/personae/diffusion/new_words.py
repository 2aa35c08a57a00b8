"""What a tokenizer says of a word that it is to be taught; it needs no weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from personae.errors import RequestError

__all__ = ["pieces_of", "require_new_word"]


def pieces_of(tokenizer: Any, text: str) -> list[int]:
    """Its ids inside a prompt: after a space, without what stands around a prompt."""
    made: list[int] = tokenizer(f" {text}", add_special_tokens=False)["input_ids"]
    return made


def require_new_word(tokenizers: Iterable[Any], token: str, noun: str) -> None:
    """Refuse what cannot become a word of its own.

    Raises:
        RequestError: the token is no word, or one of the tokenizers knows it; or no noun.
    """
    if not token or any(letter.isspace() or letter in "{}" for letter in token):
        raise RequestError(f"token {token!r}: expected one word, without spaces and braces")
    if not noun.strip():
        raise RequestError(f"token {token!r}: expected a noun that it begins as, such as girl")
    for tokenizer in tokenizers:
        if token in tokenizer.get_vocab() or len(pieces_of(tokenizer, token)) == 1:
            raise RequestError(
                f"token {token!r}: the tokenizer knows this word already, and its meaning would "
                f"change in every prompt; take one that it does not know, such as {token + '_1'!r}"
            )
