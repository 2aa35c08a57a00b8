"""The table of metrics: what each row name means, its range, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "MetricCard"]


@dataclass(frozen=True, kw_only=True)
class MetricCard:
    """What a metric's number says; ``low`` and ``high`` are None where it has no bound.

    ``protocol`` is where its rows come from. ``paper`` is empty where the metric is ours.
    """

    name: str
    protocol: Literal["official", "strict"]
    per_subject: bool
    meaning: str
    paper: str = ""
    higher_is_better: bool = True
    low: float | None = 0.0
    high: float | None = 1.0


_UMO = "UMO, arXiv 2509.06818"
_MUDI = "MuDI, arXiv 2404.04243"
_PSR = "PSR, arXiv 2512.01236, and PSRBench"
_WITHANYONE = "WithAnyone, arXiv 2510.14975"

_OMNICONTEXT = "OmniContext (OmniGen2, arXiv 2506.18871)"
_DPG = "DPG-Bench (ELLA, arXiv 2403.05135), as XVerseBench uses it"

_CLIP = "CLIP, arXiv 2103.00020; CLIP-T of DreamBooth, arXiv 2208.12242"

_CARDS = (
    MetricCard(
        name="strict_matching_reward",
        protocol="strict",
        per_subject=False,
        paper=f"after {_UMO}, Eq. 4",
        meaning="Mean over subjects of a match's credit beyond a margin, less what blending and "
        "doubling cost; an absent subject gets 0.",
    ),
    MetricCard(
        name="matching_reward",
        protocol="official",
        per_subject=False,
        low=-1.0,
        paper=f"{_UMO}, Eq. 4",
        meaning="Mean of matched similarities counted plus and all others counted minus.",
    ),
    MetricCard(
        name="presence",
        protocol="strict",
        per_subject=True,
        meaning="1 where the subject is there once, 1 / copies where more often, 0 where absent.",
    ),
    MetricCard(
        name="strict_id_similarity",
        protocol="strict",
        per_subject=True,
        paper=f"after {_UMO}, and XVerseBench",
        meaning="Similarity of a person to the face matched to them one-to-one; absent is 0.",
    ),
    MetricCard(
        name="id_similarity",
        protocol="official",
        per_subject=True,
        low=-1.0,
        paper=f"{_UMO}, and XVerseBench",
        meaning="Similarity of a person to the most similar face of the picture.",
    ),
    MetricCard(
        name="strict_id_confusion",
        protocol="strict",
        per_subject=True,
        paper=f"after {_UMO}, Eq. 5",
        meaning="How far a subject's own match stands above its other candidates and its match's "
        "other subjects; 1 is no confusion, absent is 0.",
    ),
    MetricCard(
        name="id_confusion",
        protocol="official",
        per_subject=True,
        paper=f"{_UMO}, Eq. 5",
        meaning="How far a person's most similar face stands above the second; 1 is no confusion; "
        "no entry with fewer than two faces.",
    ),
    MetricCard(
        name="strict_subject_consistency",
        protocol="strict",
        per_subject=True,
        paper=f"after {_PSR}",
        meaning="Similarity of a thing to the box matched to it one-to-one; absent is 0.",
    ),
    MetricCard(
        name="subject_consistency",
        protocol="official",
        per_subject=True,
        low=-1.0,
        paper=_PSR,
        meaning="Similarity of a thing to the first box found for its noun.",
    ),
    MetricCard(
        name="ip_similarity",
        protocol="official",
        per_subject=True,
        low=-1.0,
        paper="XVerseBench (XVerse, arXiv 2506.21416)",
        meaning="Similarity of a thing to the most similar of the first three boxes found for its "
        "noun; 0 where none is.",
    ),
    MetricCard(
        name="strict_detect_and_compare",
        protocol="strict",
        per_subject=False,
        paper=f"after {_MUDI}",
        meaning="How near the similarities in the picture are to those among the references, "
        "relative to their size, less 1 / N for each duplicate.",
    ),
    MetricCard(
        name="detect_and_compare",
        protocol="official",
        per_subject=False,
        low=None,
        paper=_MUDI,
        meaning="1 minus the spectral distance of the similarities in the picture from those "
        "among the references; 0 where the count is wrong.",
    ),
    MetricCard(
        name="strict_position_score",
        protocol="strict",
        per_subject=False,
        paper=f"after {_PSR}",
        meaning="How well the first subject lies to the second as said; contact is allowed, an "
        "absent one scores 0.",
    ),
    MetricCard(
        name="position_score",
        protocol="official",
        per_subject=False,
        paper=_PSR,
        meaning="1 where the first box lies to the second as said and overlaps it by less than a "
        "tenth.",
    ),
    MetricCard(
        name="prompt_fidelity",
        protocol="strict",
        per_subject=False,
        meaning="Share of the scene's claims (place, count, relation, what is worn and done) that "
        "the picture keeps; what is claimed of an absent subject is not kept.",
    ),
    MetricCard(
        name="strict_semantic_alignment",
        protocol="strict",
        per_subject=False,
        paper=f"after {_PSR}",
        meaning="A tenth of a judge's mark for how the picture keeps the whole prompt, with the "
        "very subjects of the references.",
    ),
    MetricCard(
        name="semantic_alignment",
        protocol="official",
        per_subject=False,
        paper=_PSR,
        meaning="A tenth of a judge's mark for how the picture keeps the whole prompt; no "
        "reference is shown.",
    ),
    MetricCard(
        name="strict_omnicontext_overall",
        protocol="strict",
        per_subject=False,
        high=10.0,
        paper=f"after {_OMNICONTEXT}",
        meaning="Root of the product of two marks, each the mean of all repeats.",
    ),
    MetricCard(
        name="omnicontext_overall",
        protocol="official",
        per_subject=False,
        high=10.0,
        paper=_OMNICONTEXT,
        meaning="Root of the product of a judge's marks for prompt following and subject "
        "consistency, the last of three repeats.",
    ),
    MetricCard(
        name="strict_dpg_score",
        protocol="strict",
        per_subject=False,
        paper=f"after {_DPG}",
        meaning="Share of questions about the picture that are answered yes, none of whose parents "
        "failed; unmeasured unless all are known.",
    ),
    MetricCard(
        name="dpg_score",
        protocol="official",
        per_subject=False,
        paper=_DPG,
        meaning="Share of questions about the picture that are answered yes, children of a failed "
        "parent being no.",
    ),
    MetricCard(
        name="clip_t",
        protocol="official",
        per_subject=False,
        low=-1.0,
        paper=_CLIP,
        meaning="Cosine of CLIP's embeddings of the picture and of its prompt by bare nouns.",
    ),
    MetricCard(
        name="clip_i",
        protocol="official",
        per_subject=True,
        low=-1.0,
        paper="CLIP-I of DreamBooth, arXiv 2208.12242",
        meaning="Cosine of CLIP's embeddings of the whole picture and of a subject's whole "
        "references; backgrounds count.",
    ),
    MetricCard(
        name="dino_i",
        protocol="official",
        per_subject=True,
        low=-1.0,
        paper="DINO of DreamBooth, arXiv 2208.12242",
        meaning="The same by DINO's embeddings, which tell individuals of a kind better apart.",
    ),
    MetricCard(
        name="grid_aesthetic",
        protocol="official",
        per_subject=False,
        low=None,
        high=None,
        paper="AES of XVerseBench (XVerse, arXiv 2506.21416), by aesthetic-predictor-v2.5",
        meaning="How good the grid looks in which the picture is published, about 1 to 10.",
    ),
    MetricCard(
        name="aesthetic",
        protocol="strict",
        per_subject=False,
        low=None,
        high=None,
        paper="after AES of XVerseBench",
        meaning="How good the picture itself looks, about 1 to 10, by the predictor that is named.",
    ),
    MetricCard(
        name="image_reward",
        protocol="official",
        per_subject=False,
        low=None,
        high=None,
        paper="ImageReward, arXiv 2304.05977",
        meaning="What ImageReward says of the picture for its prompt by bare nouns.",
    ),
    MetricCard(
        name="pick_score",
        protocol="official",
        per_subject=False,
        low=None,
        high=None,
        paper="PickScore, arXiv 2305.01569",
        meaning="What PickScore says of the picture for its prompt by bare nouns.",
    ),
    MetricCard(
        name="hps_v3",
        protocol="official",
        per_subject=False,
        low=None,
        high=None,
        paper="HPSv3, arXiv 2508.03789",
        meaning="What HPSv3 says of the picture for its prompt by bare nouns.",
    ),
    MetricCard(
        name="strangers",
        protocol="strict",
        per_subject=False,
        higher_is_better=False,
        high=None,
        meaning="How many faces show nobody who was asked for.",
    ),
    MetricCard(
        name="balance",
        protocol="strict",
        per_subject=False,
        meaning="The worst kept subject over the best kept one; 0 where one is absent.",
    ),
    MetricCard(
        name="success",
        protocol="strict",
        per_subject=False,
        paper=f"after {_MUDI}, its question to people",
        meaning="1 where every subject is there exactly once, else 0; the mean is a success rate.",
    ),
    MetricCard(
        name="target_similarity",
        protocol="strict",
        per_subject=True,
        low=-1.0,
        paper=f"Sim(GT) of {_WITHANYONE}",
        meaning="Cosine of the subject and of how it should look here; absent is 0.",
    ),
    MetricCard(
        name="copy_paste",
        protocol="strict",
        per_subject=True,
        higher_is_better=False,
        low=-1.0,
        paper=_WITHANYONE,
        meaning="How much nearer the subject is to its reference than to how it should look here; "
        "1 is a pure copy.",
    ),
    MetricCard(
        name="copy_paste_reference",
        protocol="strict",
        per_subject=True,
        higher_is_better=False,
        low=-1.0,
        paper=f"after {_WITHANYONE}",
        meaning="The same without a target: how much nearer the subject is to one reference than "
        "to the others.",
    ),
)

METRICS: dict[str, MetricCard] = {card.name: card for card in _CARDS}
