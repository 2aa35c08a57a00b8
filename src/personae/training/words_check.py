"""Can the tokens of a cast become words of their own? The base's tokenizers say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from personae.data.cast_examples import read_whole_cast
from personae.diffusion.load import TOONS
from personae.diffusion.new_words import read_tokenizers, require_new_word
from personae.errors import DataError, RequestError, WeightsError
from personae.toons import checkpoint_folder
from personae.training.base_check import hub_folder
from personae.training.recipe import Recipe
from personae.training.recipe_check import Finding, Unchecked, mistake_of

__all__ = ["check_words"]


def check_words(recipe: Recipe) -> Iterator[Finding]:
    """Tokens to be learned that are no words, or that a tokenizer of the base knows already."""
    if recipe.tokens is None or recipe.data.cast is None:
        return
    try:
        subjects = read_whole_cast(recipe.data.cast.file)
        tokenizers = read_tokenizers(_folder(recipe))
    except DataError:  # told by those who look at the data
        return
    except WeightsError as error:
        yield Unchecked(f"whether {recipe.base} knows the cast's tokens already", str(error))
        return
    for subject in subjects:
        if subject.token is None:
            continue
        try:
            require_new_word(tokenizers, subject.token, subject.noun)
        except RequestError as error:
            came, expected = f"token {subject.token!r}", "words that the base does not know"
            yield mistake_of(
                "tokens", came, error, f"change it in {recipe.data.cast.file}", expected
            )


def _folder(recipe: Recipe) -> Path:
    """Where the base lies.

    Raises:
        WeightsError: it is not on this machine.
    """
    if recipe.base == TOONS:
        return checkpoint_folder()
    path = Path(recipe.base).expanduser()
    found = path if path.is_dir() else hub_folder(recipe.base, recipe.revision, "model_index.json")
    if found is None:
        raise WeightsError("its tokenizer is not on this machine; the run looks before it begins")
    return found
