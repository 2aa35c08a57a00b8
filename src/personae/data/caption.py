"""Captions, tokens and nouns: the words by which a cast's subjects are taught."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from personae.errors import RequestError

__all__ = ["TOKENS", "caption_from_text", "guessed_noun", "plain_caption", "tokens_for"]

# The first five are MuDI's (its metadata.jsonl); the others are of the same make: short and no
# word. How rare a text encoder finds them was not measured.
TOKENS = (
    "olis", "hta", "ult", "amg", "lun",
    "zwx", "vtl", "kqz", "pfi", "mjr", "ohwx", "bnk", "gyl", "dvu", "wqe", "xlo", "trz", "ibq",
    "jfa", "ekm", "uvy", "rzo", "cpx", "nwi", "ylk", "fgu", "qsa", "ozt", "hxe", "svj", "lqi",
    "avz", "dkw", "mxu", "gzo", "tjy", "bqe", "pvk", "wlu", "rhx",
)  # fmt: skip


def plain_caption(subject: str) -> str:
    """What every photo says when nobody said more; the token and the noun come in when it is used.

    >>> plain_caption("cat")
    'a photo of {cat}'
    """
    return f"a photo of {{{subject}}}"


def guessed_noun(folder: str) -> str:
    """A folder's name as words: a guess, for want of a noun.

    >>> guessed_noun("red_monster-plush")
    'red monster plush'
    """
    return " ".join(re.sub(r"[\W_]+", " ", folder).split()) or folder


def caption_from_text(text: str, subject: str, names: Sequence[str]) -> str:
    """A caption with the subject's id in braces, from words that may name it in another way.

    ``names`` are what the words may call it, the longest first: token and noun, noun, token.
    Words that name it in no way get it put before them, so that nothing they say is lost.

    >>> caption_from_text("A photo of olis corgi on grass", "a", ["olis corgi", "corgi"])
    'A photo of {a} on grass'
    >>> caption_from_text("on grass", "a", ["corgi"])
    'a photo of {a}, on grass'
    """
    if f"{{{subject}}}" in text:
        return text
    for name in names:
        pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
        if name and re.search(pattern, text, flags=re.IGNORECASE):
            return re.sub(pattern, lambda _: f"{{{subject}}}", text, count=1, flags=re.IGNORECASE)
    return f"{plain_caption(subject)}, {text}"


def tokens_for(subjects: Sequence[str], told: Mapping[str, str]) -> dict[str, str]:
    """A rare token for each subject, never the same twice: what was told, else the next free one.

    >>> tokens_for(["ann", "bob"], {"bob": "olis"})
    {'ann': 'hta', 'bob': 'olis'}

    Raises:
        RequestError: one token told for two subjects, or more subjects than tokens.
    """
    used: dict[str, str] = {}
    for subject in subjects:
        if subject in told:
            if told[subject] in used:
                raise RequestError(
                    f"token {told[subject]!r} is told for {used[told[subject]]!r} and for "
                    f"{subject!r}; a model could not tell them apart: give one another with --token"
                )
            used[told[subject]] = subject
    free = (token for token in TOKENS if token not in used)
    tokens = {}
    for subject in subjects:
        token = told.get(subject) or next(free, None)
        if token is None:
            raise RequestError(
                f"{len(subjects)} subjects, but only {len(TOKENS)} tokens are known; "
                f"give {subject!r} one with --token NAME=WORD"
            )
        tokens[subject] = token
    return tokens
