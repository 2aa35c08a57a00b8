"""The offline judge: of a picture of the drawn world it says what can be proven, and no more."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from personae.metrics.alignment import ClaimCheck, check_claims, prompt_fidelity
from personae.metrics.eyes import PeopleEyes
from personae.metrics.presence import presence
from personae.subjects.subject import Reference
from personae.vision.judges.judgement import Judgement
from personae.vision.judges.question import HIGHEST_MARK, Question
from personae.vision.protocols import Detection
from personae.vision.toons import Examiner
from personae.vision.toons.shipped import TOON_WEIGHTS

__all__ = ["ToonJudge"]

_WEIGHTS = ("examiner-regions", "examiner-patches", "examiner-figures")


class ToonJudge:
    """The examiner as a judge of pictures of the drawn world; it downloads and guesses nothing.

    It reads a question's ``claims``, never its words: place, count, relation, what is worn and
    done, each checked as `check_claims` does, with subjects found by their references. A yes means
    that every claim is kept. *A mark is the share of claims kept, times 10*, which its name says
    too: so the roads of PSRBench and OmniContext can be walked offline, against a truth that is
    known. It is no opinion of a model, and comparable with itself alone. One claim that cannot be
    proven leaves the whole question missing: a share of the other claims could not be compared. So
    does a question without claims; whether a subject is still itself is never claimed, but measured
    (`strict_id_similarity`).

    It is the examiner: keep it out of rewards and of the choice of checkpoints. Of a photograph it
    says nothing true.

    Raises:
        WeightsError: a file of the examiner is missing or not the tested one.
    """

    name = "toons (examiner; a mark is the share of proven claims x 10)"
    num_threads = 1

    def __init__(self) -> None:
        self._examiner = Examiner.load()
        self._eyes = PeopleEyes(self._examiner.eyes, judge=self._examiner)

    @property
    def settings(self) -> Mapping[str, object]:
        """See `QuestionJudge`."""
        return {name: TOON_WEIGHTS[name].sha256 for name in _WEIGHTS}

    def judge(self, question: Question, repeat: int = 0) -> Judgement:
        """See `QuestionJudge`; the same whenever it is asked."""
        if not question.claims:
            return Judgement.missing(f"{question.criterion}: no claims that toons could prove")
        where, found = self._look(question)
        checks = check_claims(question.picture, question.claims, where, found, self._examiner)
        silent = [check for check in checks if check.kept is None]
        if silent:
            reasons = dict.fromkeys(check.reason or "no answer" for check in silent)
            return Judgement.missing("; ".join(reasons))
        kept = [bool(check.kept) for check in checks]
        value = HIGHEST_MARK * prompt_fidelity(kept) if question.kind == "mark" else all(kept)
        return Judgement(float(value), None, _reasoning(checks), self.name)

    def _look(self, question: Question) -> tuple[dict[str, Detection | None], list[Detection]]:
        """Each subject that can be known, as it was found or not, and everybody who was."""
        cast: dict[str, list[Reference]] = {}
        for shown in question.references:
            if shown.subject is not None:
                cast.setdefault(shown.subject, []).append(Reference(shown.image))
        looks = {
            name: torch.cat([self._eyes.know(reference) for reference in references])
            for name, references in cast.items()
        }
        known = {name: look for name, look in looks.items() if len(look)}
        found, seen = self._eyes.look(question.picture, cast, {})
        if not known:
            return {}, found
        if not found:
            return dict.fromkeys(known), found
        similarity = np.stack(
            [
                self._eyes.embedder.similarity(look, seen).mean(0).detach().double().numpy()
                for look in known.values()
            ]
        )
        match = presence(similarity, self._eyes.present).match
        return {
            name: None if box is None else found[box]
            for name, box in zip(known, match, strict=True)
        }, found


def _reasoning(checks: list[ClaimCheck]) -> str:
    broken = [check for check in checks if not check.kept]
    kept = f"{len(checks) - len(broken)} of {len(checks)} claims kept"
    return "; ".join([kept, *(_told(check) for check in broken)])


def _told(check: ClaimCheck) -> str:
    claim = check.claim
    return f"{claim.subject or 'picture'} {claim.kind} {claim.expected}: {check.seen}"
