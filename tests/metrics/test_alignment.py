from __future__ import annotations

import numpy as np
import pytest

from personae.errors import DataError
from personae.metrics.alignment import check_claims, fidelity_score, prompt_fidelity
from personae.subjects.box import Box
from personae.subjects.scene import Claim
from personae.vision.protocols import Answer, Detection

IMAGE = np.zeros((128, 128, 3), np.uint8)
LEFT, RIGHT = Detection(Box(10, 40, 40, 70), 0.9), Detection(Box(70, 42, 100, 72), 0.8)


class Says:
    """A judge that gives the answers it was made with."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.asked: list[Claim] = []

    def answer(self, image, claims, where):
        self.asked += claims
        seen = [self.answers.get(claim.kind) for claim in claims]
        return [Answer(item, None if item else "cannot say") for item in seen]


def kept(claims, where, found=(LEFT, RIGHT), judge=None):
    return [item.kept for item in check_claims(IMAGE, claims, where, found, judge)]


def test_boxes_decide_count_and_relation_without_a_judge() -> None:
    where = {"a": LEFT, "b": RIGHT}
    claims = [
        Claim("count", None, "2"),
        Claim("count", None, "3"),
        Claim("relation", "a", "left of b"),
        Claim("relation", "a", "right of b"),
        Claim("relation", "b", "next to a"),
    ]
    assert kept(claims, where) == [True, False, True, False, True]


def test_a_judge_is_asked_only_what_boxes_do_not_say() -> None:
    judge = Says(place="park", wears="scarf")
    claims = [
        Claim("count", None, "2"),
        Claim("place", None, "park"),
        Claim("place", None, "beach"),
        Claim("wears", "a", "scarf"),
    ]
    assert kept(claims, {"a": LEFT}, judge=judge) == [True, True, False, True]
    assert [claim.kind for claim in judge.asked] == ["place", "place", "wears"]


def test_nothing_that_is_claimed_of_an_absent_subject_is_kept() -> None:
    judge = Says(wears="scarf")
    claims = [Claim("wears", "a", "scarf"), Claim("relation", "b", "left of a")]
    assert kept(claims, {"a": None, "b": RIGHT}, judge=judge) == [False, False]
    assert not judge.asked


def test_a_subject_that_could_not_be_looked_for_makes_it_unmeasured() -> None:
    checks = check_claims(
        IMAGE, [Claim("wears", "a", "scarf"), Claim("count", None, "2")], {}, [LEFT, RIGHT], Says()
    )
    score = fidelity_score(checks)
    assert score.value is None
    assert "a could not be looked for" in str(score.reason)


def test_a_silent_judge_is_no_number() -> None:
    claims = [Claim("place", None, "park"), Claim("count", None, "2")]
    for judge in (None, Says()):
        score = fidelity_score(check_claims(IMAGE, claims, {"a": LEFT}, [LEFT, RIGHT], judge))
        assert score.value is None
        assert score.reason in {"these eyes answer no claims", "cannot say"}


def test_the_score_says_what_was_broken() -> None:
    claims = [Claim("place", None, "park"), Claim("count", None, "1"), Claim("wears", "a", "cape")]
    judge = Says(place="beach", wears="cape")
    score = fidelity_score(check_claims(IMAGE, claims, {"a": LEFT}, [LEFT], judge))
    assert score.value == pytest.approx(2 / 3)
    assert score.details["kinds"] == {"place": [0, 1], "count": [1, 1], "wears": [1, 1]}
    assert score.details["broken"] == ["place park: beach"]


def test_a_name_that_ends_another_name_is_not_taken_for_it() -> None:
    claim = Claim("relation", "a", "left of big b")
    assert kept([claim], {"a": LEFT, "b": None, "big b": RIGHT}) == [True]


def test_words_that_are_no_relation_are_not_guessed() -> None:
    assert kept([Claim("relation", "a", "astride b")], {"a": LEFT, "b": RIGHT}) == [None]


def test_no_claim_is_no_share() -> None:
    with pytest.raises(DataError, match="no claim"):
        prompt_fidelity([])
