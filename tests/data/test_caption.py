import pytest
from hypothesis import given
from hypothesis import strategies as st

from personae.data.caption import (
    TOKENS,
    caption_from_text,
    guessed_noun,
    plain_caption,
    tokens_for,
)
from personae.errors import RequestError


def test_the_first_tokens_are_mudis_and_none_comes_twice() -> None:
    assert TOKENS[:5] == ("olis", "hta", "ult", "amg", "lun")
    assert len(set(TOKENS)) == len(TOKENS) >= 11
    assert all(token == token.lower().strip() and token.isalpha() for token in TOKENS)


@given(st.lists(st.text("abc", min_size=1, max_size=4), unique=True, max_size=len(TOKENS)))
def test_every_subject_has_a_token_of_its_own(names) -> None:
    tokens = tokens_for(names, dict.fromkeys(names[-1:], TOKENS[3]))
    assert list(tokens) == names
    assert len(set(tokens.values())) == len(names)


def test_one_token_for_two_and_more_subjects_than_tokens_are_refused() -> None:
    with pytest.raises(RequestError, match="'ann' and for 'bob'"):
        tokens_for(["ann", "bob"], {"ann": "olis", "bob": "olis"})
    with pytest.raises(RequestError, match="--token"):
        tokens_for([str(i) for i in range(len(TOKENS) + 1)], {})


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("a photo of {cat}", "a photo of {cat}"),
        ("OLIS grey cat, asleep", "{cat}, asleep"),
        ("a grey cat and a grey cat", "a {cat} and a grey cat"),
        ("olis on a sofa", "{cat} on a sofa"),
        ("a category of its own", "a photo of {cat}, a category of its own"),
    ],
)
def test_a_caption_names_its_subject_in_braces(text, caption) -> None:
    assert caption_from_text(text, "cat", ["olis grey cat", "grey cat", "olis", "cat"]) == caption


def test_names_of_any_letters_become_words() -> None:
    assert guessed_noun("rotes_Monster-Plüsch.2") == "rotes Monster Plüsch 2"
    assert guessed_noun("赤い_怪獣") == "赤い 怪獣"
    assert plain_caption("grüne Kanne") == "a photo of {grüne Kanne}"
