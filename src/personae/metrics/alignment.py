"""Prompt fidelity: which of a scene's claims does the picture keep?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from personae.errors import DataError
from personae.metrics.position import strict_position_score
from personae.metrics.score import Score
from personae.subjects.box import Box
from personae.subjects.scene import Claim
from personae.vision.protocols import Detection, Judge

__all__ = ["ClaimCheck", "check_claims", "fidelity_score", "prompt_fidelity"]

_METRIC = "prompt_fidelity"
# A relation counts as kept from this strict position score on (docs/numbers.md).
_RELATION_KEPT = 0.5


@dataclass(frozen=True)
class ClaimCheck:
    """A claim, whether the picture keeps it (None: nobody could say), and what was seen."""

    claim: Claim
    kept: bool | None
    seen: str | None = None
    reason: str | None = None


def prompt_fidelity(kept: Sequence[bool]) -> float:
    r"""Share of the claims that are kept, in [0, 1]; higher is better.

    .. math:: \frac{1}{n} \sum_i k_i

    Every claim weighs the same, whatever it is about. Ours; after the questions that PSRBench and
    TIFA (arXiv 2303.11897) put to a judge.

    Raises:
        DataError: no claim.

    >>> prompt_fidelity([True, True, False, True])
    0.75
    """
    if not len(kept):
        raise DataError("prompt fidelity of no claim; give the scene claims, or leave it out")
    return sum(bool(item) for item in kept) / len(kept)


def check_claims(
    image: np.ndarray,
    claims: Sequence[Claim],
    where: Mapping[str, Detection | None],
    found: Sequence[Detection],
    judge: Judge | None,
) -> list[ClaimCheck]:
    """Check every claim of a picture (H, W, 3) uint8, in their order.

    ``count`` is checked against the number of detections, whoever they are, and ``relation``
    against the two subjects' boxes (strict position score of at least 0.5); all others are put to
    the judge. ``where`` holds each subject as it was found, None where it is absent: nothing that
    is claimed of an absent subject is kept. A subject missing in ``where`` could not be looked for,
    and what is claimed of it cannot be told.
    """
    checks = {claim: _by_boxes(claim, where, found) for claim in dict.fromkeys(claims)}
    asked = [claim for claim, check in checks.items() if check is None]
    if asked and judge is None:
        checks |= {claim: _unknown(claim, "these eyes answer no claims") for claim in asked}
    elif asked and judge is not None:
        answers = judge.answer(image, asked, where)
        for claim, answer in zip(asked, answers, strict=True):
            kept = None if answer.seen is None else answer.seen == claim.expected
            checks[claim] = ClaimCheck(claim, kept, answer.seen, answer.reason)
    return [check for claim in claims if (check := checks[claim]) is not None]


def _by_boxes(
    claim: Claim, where: Mapping[str, Detection | None], found: Sequence[Detection]
) -> ClaimCheck | None:
    """What boxes alone decide; None where a judge is needed."""
    if claim.kind == "count":
        return ClaimCheck(claim, claim.expected == str(len(found)), str(len(found)))
    second, words = _second(claim, where) if claim.kind == "relation" else (None, "")
    for name in (claim.subject, second):
        if name is not None and name not in where:
            return _unknown(claim, f"{name} could not be looked for")
        if name is not None and where[name] is None:
            return ClaimCheck(claim, False, f"{name} is absent")
    if claim.kind != "relation":
        return None
    if claim.subject is None or second is None:
        return _unknown(claim, f"no subject ends {claim.expected!r}")
    pair = [where[name] for name in (claim.subject, second)]
    return _relation(claim, words, [item.box for item in pair if item is not None])


def _second(claim: Claim, where: Mapping[str, Detection | None]) -> tuple[str | None, str]:
    """Whom "left of b" names, and the words before; the longest name wins."""
    for name in sorted(where, key=len, reverse=True):
        if claim.expected.endswith(f" {name}"):
            return name, claim.expected.removesuffix(f" {name}")
    return None, claim.expected


def _relation(claim: Claim, words: str, boxes: Sequence[Box]) -> ClaimCheck:
    try:
        value = float(strict_position_score(np.array([box.xyxy for box in boxes]), words))
    except DataError as error:
        return _unknown(claim, str(error))
    return ClaimCheck(claim, value >= _RELATION_KEPT, f"position score {value:.2f}")


def _unknown(claim: Claim, reason: str) -> ClaimCheck:
    return ClaimCheck(claim, None, None, reason)


def fidelity_score(checks: Sequence[ClaimCheck]) -> Score:
    """The row of a picture: `prompt_fidelity` of what could be told; unmeasured where judges fail.

    A judge that is silent on one claim makes the picture unmeasured: a share of other claims than
    those of the next picture could not be compared with it. ``details`` holds kept and asked per
    kind of claim, and what was seen for each claim that is not kept.
    """
    silent = [check for check in checks if check.kept is None]
    details = {
        "kinds": _by_kind(checks),
        "broken": [_told(item) for item in checks if not item.kept],
    }
    if silent:
        reasons = "; ".join(dict.fromkeys(check.reason or "no answer" for check in silent))
        return Score.unmeasured(_METRIC, reasons, None, **details)
    return Score.of(
        _METRIC, prompt_fidelity([bool(check.kept) for check in checks]), None, **details
    )


def _by_kind(checks: Sequence[ClaimCheck]) -> dict[str, list[int]]:
    kinds: dict[str, list[int]] = {}
    for check in checks:
        counts = kinds.setdefault(check.claim.kind, [0, 0])
        counts[0] += bool(check.kept)
        counts[1] += 1
    return kinds


def _told(check: ClaimCheck) -> str:
    whom = f"{check.claim.subject} " if check.claim.subject else ""
    return f"{whom}{check.claim.kind} {check.claim.expected}: {check.seen or check.reason}"
