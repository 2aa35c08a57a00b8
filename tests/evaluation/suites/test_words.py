from hypothesis import given
from hypothesis import strategies as st

from personae.evaluation.suites.words import braced, subject_ids

NOUNS = st.lists(st.sampled_from(["man", "old man", "mug", "girl"]), min_size=1, max_size=4)


@given(nouns=NOUNS)
def test_words_put_back_give_the_prompt_again(nouns) -> None:
    prompt = "Here " + ", an ".join(noun.capitalize() for noun in nouns) + " stand."
    ids = subject_ids(nouns)
    assert len(set(ids)) == len(nouns)
    told, words = braced(prompt, nouns, ids)
    for name, word in zip(ids, words, strict=True):
        assert told.count("{" + name + "}") == 1
        told = told.replace("{" + name + "}", word)
    assert told == prompt


def test_a_noun_that_is_not_there_or_only_part_of_a_word_stays_out() -> None:
    assert braced("A manual on a table.", ["man"], ["man"]) == ("A manual on a table.", ["man"])
