"""Every metric that a row can bear: what it says, which way is better, whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "MetricCard"]


@dataclass(frozen=True)
class MetricCard:
    """What a reader has to know of a metric."""

    name: str
    protocol: Literal["official", "strict"]
    per_subject: bool
    paper: str
    meaning: str
    low: float | None = 0.0
    high: float | None = 1.0
    higher_is_better: bool = True


METRICS: dict[str, MetricCard] = {
    card.name: card
    for card in (
        MetricCard(
            "id_similarity",
            "official",
            True,
            "XVerseBench, UMO",
            "the most similar face to the reference",
            low=-1.0,
        ),
        MetricCard(
            "strict_id_similarity",
            "strict",
            True,
            "after XVerseBench, UMO",
            "similarity of the face assigned to the reference; absent is 0",
        ),
        MetricCard(
            "id_confusion",
            "official",
            True,
            "UMO, Eq. 5",
            "how far the best face of a reference is ahead of the second",
        ),
        MetricCard(
            "strict_id_confusion",
            "strict",
            True,
            "after UMO, Eq. 5",
            "how far its own face is ahead of others, and of other references; absent is 0",
        ),
        MetricCard(
            "matching_reward",
            "official",
            False,
            "UMO, Eq. 4",
            "matched similarity less all other similarity, over M times N",
            low=-1.0,
        ),
        MetricCard(
            "strict_matching_reward",
            "strict",
            False,
            "Personae, after UMO",
            "matched similarity beyond the margin, less blending and duplicates",
        ),
        MetricCard(
            "detect_and_compare",
            "official",
            False,
            "MuDI",
            "nearness of the similarities in the picture to those among references",
            low=None,
        ),
        MetricCard(
            "strict_detect_and_compare",
            "strict",
            False,
            "after MuDI",
            "the same relative to the references' own norm, absent and duplicates counted",
        ),
        MetricCard(
            "subject_consistency",
            "official",
            True,
            "PSR",
            "similarity of the first box of a noun to its reference",
            low=-1.0,
        ),
        MetricCard(
            "strict_subject_consistency",
            "strict",
            True,
            "after PSR",
            "similarity of the box assigned to the subject; absent is 0",
        ),
        MetricCard(
            "position_score",
            "official",
            False,
            "PSR",
            "does the first subject lie to the second as asked",
        ),
        MetricCard(
            "strict_position_score",
            "strict",
            False,
            "after PSR",
            "the same by direction and separation, free of scale",
        ),
        MetricCard(
            "presence", "strict", True, "Personae", "1 there once, 1/n there n times, 0 absent"
        ),
        MetricCard(
            "strangers",
            "strict",
            False,
            "Personae",
            "faces that resemble no subject",
            high=None,
            higher_is_better=False,
        ),
        MetricCard(
            "balance", "strict", False, "Personae", "worst subject's similarity over the best's"
        ),
        MetricCard(
            "copy_paste",
            "strict",
            True,
            "WithAnyone",
            "1 a copy of the reference, -1 the target itself",
            low=-1.0,
            higher_is_better=False,
        ),
        MetricCard(
            "copy_paste_reference",
            "strict",
            True,
            "after WithAnyone",
            "the same with the other references in the target's place",
            low=-1.0,
            higher_is_better=False,
        ),
    )
}
