"""Which rewards, how much each counts, and with which eyes they look: a section of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from personae.errors import RequestError

__all__ = ["DIFFERENTIABLE", "REWARDS", "RewardsRecipe"]

REWARDS: Mapping[str, str] = {
    "strict_matching": "assignment with a margin; absence, doubling and blending do not pay (ours)",
    "mimr": "UMO's matching reward as released (arXiv 2509.06818, Eq. 4)",
    "sir": "UMO's single-identity reward, mean over subjects (Eq. 2)",
    "pairwise": "PSR's pairwise subject consistency as published (arXiv 2512.01236)",
    "strict_pairwise": "the same with assignment, a margin, absences and duplicates (ours)",
    "presence": "share of subjects that are there, once each (ours)",
    "position": "do the subjects lie as the prompt says? 0 where one is absent (ours)",
    "alignment": "CLIP: does the picture fit the prompt?",
    "pickscore": "PickScore: which picture people prefer for a prompt",
    "imagereward": "ImageReward: the same by another model",
    "hpsv3": "HPSv3: the same by another model",
}
"""Every reward that a recipe can name, and what it says."""

DIFFERENTIABLE = ("strict_matching", "mimr", "sir", "alignment", "pickscore", "imagereward")
"""Those whose gradient reaches the pixels (matching: with faces whose embedder is ours)."""


@dataclass(frozen=True, kw_only=True)
class RewardsRecipe:
    """Rewards by name and weight.

    Attributes:
        weights: name to weight; see ``REWARDS``.
        faces: eyes for people: dlib, toons, arcface:FILE; never the examiner.
        detector: finds animals and things.
        embedder: knows animals and things.
        margin: of the strict rewards: similarity that costs nothing.
        unmatched_margin: of ``mimr``: unmatched pairs cost only what goes beyond; None: all of
            it, as published.
        per_subject: of ``mimr``: divide by the number of references instead of references times
            faces, so that a subject's share does not shrink where there are more.
        jitter: of faces through which a gradient goes: standard deviation of where and how large
            their crops are cut, as a share of the face's size; 0 cuts them where they are. A
            picture that pleases the embedder in one place of its pixel grid alone gains nothing
            (expectation over transformations, Athalye et al. 2018, arXiv 1707.07397). Scores
            without a gradient are not touched.
        models: folder or hub id of a reward's model (alignment, pickscore, imagereward, hpsv3).
    """

    weights: Mapping[str, float] = field(default_factory=lambda: {"strict_matching": 1.0})
    faces: str = "dlib"
    detector: str = "guided"
    embedder: str = "efficientnet-lite0"
    margin: float = 0.3
    unmatched_margin: float | None = None
    per_subject: bool = False
    jitter: float = 0.0
    models: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.weights, *self.models):
            if name not in REWARDS:
                near = get_close_matches(name, REWARDS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {list(REWARDS)}"
                raise RequestError(f"rewards: unknown reward {name!r}; {hint}")
        if not all(math.isfinite(weight) for weight in self.weights.values()):
            raise RequestError(f"rewards.weights: expected finite numbers; got {self.weights}")
        if self.faces.partition(":")[0] == "examiner":
            raise RequestError(
                "rewards.faces: the examiner judges what came of a training, so no reward may "
                "use it; use toons, dlib or arcface:FILE"
            )
        if not 0 <= self.jitter <= 0.5:
            raise RequestError(f"rewards.jitter: expected 0 to 0.5; got {self.jitter}")
        if not 0 <= self.margin < 1:
            raise RequestError(f"rewards.margin: expected 0 to below 1; got {self.margin}")
