"""The offline judge: right on drawn scenes, silent on what nobody can prove."""

from __future__ import annotations

import numpy as np
import pytest

from personae.metrics.toon_judge import ToonJudge
from personae.subjects.scene import Claim
from personae.toons import scene
from personae.toons.places import PLACES
from personae.toons.pose import ACTIONS, WORN
from personae.vision.judges import Question, Shown, omnicontext_questions, psr_question


@pytest.fixture(scope="module")
def judge() -> ToonJudge:
    return ToonJudge()


def drawn(seed: int, count: int = 2):
    one = scene(seed, count=count, split="validation")
    shown = tuple(Shown(member.reference.image, member.name) for member in one.members)
    return one, shown


def yes_no(one, shown, *claims):
    return Question("yes_no", "claims", "All of it?", one.image, shown, claims)


def test_true_claims_are_kept_and_false_ones_are_not_on_drawn_scenes(judge) -> None:
    kept = broken = total = 0.0
    for seed in range(6):
        one, shown = drawn(seed)
        false = tuple(another(claim) for claim in one.claims)
        marks = [
            judge.judge(psr_question("complex", one.prompt, one.image, shown, claims)).value
            for claims in (one.claims, false)
        ]
        kept += marks[0] / 10 * len(one.claims)
        broken += (1 - marks[1] / 10) * len(one.claims)
        total += len(one.claims)
    assert total > 20
    assert kept >= 0.9 * total
    assert broken >= 0.9 * total


def another(claim: Claim) -> Claim:
    """Something else of the same kind, which the drawn world knows too."""
    if claim.kind == "relation":
        return Claim(claim.kind, claim.subject, f"below {claim.expected.split()[-1]}")
    known = {"count": ("4", "5"), "place": PLACES, "wears": WORN, "action": ACTIONS}[claim.kind]
    return Claim(claim.kind, claim.subject, next(item for item in known if item != claim.expected))


def test_a_mark_is_ten_times_the_share_of_claims_and_the_name_says_so(judge) -> None:
    one, shown = drawn(0)
    true = next(claim for claim in one.claims if claim.kind == "place")
    false = Claim("count", None, "5")
    asked = psr_question("complex", one.prompt, one.image, shown, (true, true, true, false))
    said = judge.judge(asked)
    assert said.value == 7.5
    assert said.reasoning == "3 of 4 claims kept; picture count 5: 2"
    assert "share of proven claims x 10" in judge.name
    assert said == judge.judge(asked, 1)


def test_what_cannot_be_proven_is_missing_with_its_reason(judge) -> None:
    one, shown = drawn(0)
    place = next(claim for claim in one.claims if claim.kind == "place")
    reasons = {
        "no claims": yes_no(one, shown),
        "knows nothing of mood": yes_no(one, shown, place, Claim("mood", "a", "happy")),
        "b could not be looked for": yes_no(one, shown[:1], Claim("wears", "b", "scarf")),
        "knows nothing of place 'moon'": yes_no(one, shown, Claim("place", None, "moon")),
    }
    for reason, question in reasons.items():
        said = judge.judge(question)
        assert said.value is None
        assert reason in said.reason


def test_a_reference_without_a_face_is_nobody_that_could_be_looked_for(judge) -> None:
    one, _ = drawn(0)
    blank = (Shown(np.full((64, 64, 3), 200, np.uint8), "a"),)
    said = judge.judge(yes_no(one, blank, Claim("wears", "a", "scarf")))
    assert "a could not be looked for" in said.reason
    assert judge.judge(yes_no(one, blank, Claim("count", None, "2"))).value == 1.0


def test_an_absent_subject_keeps_no_claim(judge) -> None:
    one, _ = drawn(0)
    other, strangers = drawn(30)
    claims = tuple(claim for claim in other.claims if claim.kind in ("wears", "action"))
    claim = claims[0] if claims else Claim("wears", "a", "scarf")
    said = judge.judge(yes_no(one, strangers, claim))
    assert said.value == 0.0
    assert "absent" in said.reasoning
    empty = np.full((128, 128, 3), 255, np.uint8)
    said = judge.judge(Question("yes_no", "x", "?", empty, strangers, (claim,)))
    assert said.value == 0.0


def test_it_marks_prompt_following_but_never_subject_consistency(judge) -> None:
    one, shown = drawn(0)
    asked = omnicontext_questions(one.prompt, one.image, shown, one.claims)
    assert judge.judge(asked["PF"]).value >= 7.5
    assert "no claims" in judge.judge(asked["SC"]).reason
