"""What tokenizers say of a word that they are to be taught; no weights are needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from personae.diffusion.folder import read_index
from personae.errors import RequestError, WeightsError

__all__ = ["pieces_of", "read_tokenizers", "require_new_word"]


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


def read_tokenizers(folder: Path) -> list[Any]:
    """The tokenizers of a diffusers folder, by their own files.

    Raises:
        WeightsError: this is no such folder, or one of them is missing or cannot be read.
    """
    _, index = read_index(folder / "model_index.json")
    kinds = {name: entry[1] for name, entry in index.items() if name.startswith("tokenizer")}
    return [_read(folder / name, kind) for name, kind in kinds.items() if kind]


def _read(folder: Path, kind: str) -> Any:
    import transformers

    try:
        made = getattr(transformers, kind)
        _require_files(folder, made.vocab_files_names)
        return made.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, LookupError, AttributeError, TypeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(f"{folder}: the tokenizer cannot be read ({reason})") from error


def _require_files(folder: Path, names: Mapping[str, str]) -> None:
    """Without its words a tokenizer is made all the same, and knows none."""
    whole = names.get("tokenizer_file", "tokenizer.json")
    parts = [name for name in names.values() if name != whole]
    lacking = [name for name in parts if not (folder / name).is_file()]
    if not (folder / whole).is_file() and (lacking or not parts):
        raise OSError(f"no {' and '.join([whole, *lacking])} in it")
