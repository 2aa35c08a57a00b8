"""What people said: do raters agree, how often does a model succeed, win, and who follows them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from personae.errors import DataError, RequestError
from personae.evaluation.agreement_metrics import MetricAgreement, metric_agreements
from personae.evaluation.agreement_votes import (
    PairVote,
    PictureVote,
    Rater,
    judge_rater,
    majority,
    pair_votes,
    picture_votes,
)
from personae.evaluation.survey_files import ASPECTS, Key, read_all_answers, read_key
from personae.metrics.people import alpha_interval, krippendorff_alpha
from personae.metrics.summary import Interval, cluster_bootstrap

__all__ = ["Agreement", "Alpha", "SuccessRate", "WinRate", "agreement"]


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's alpha of one question, over the units that at least two raters judged."""

    question: str
    alpha: float | None
    ci95: Interval | None
    n_units: int
    n_votes: int


@dataclass(frozen=True)
class SuccessRate:
    """Share of a model's pictures that most raters find whole: every subject there and itself.

    ``n_undecided`` pictures (a tie, or nobody could tell) are left out.
    """

    model: str
    rate: float | None
    ci95: Interval | None
    n: int
    n_undecided: int


@dataclass(frozen=True)
class WinRate:
    """How often the first model's picture is preferred to the second's by an aspect.

    ``rate`` is over votes, one that finds both equal counting half.
    """

    first: str
    second: str
    aspect: str
    rate: float | None
    ci95: Interval | None
    n_wins: int
    n_equal: int
    n_losses: int
    n_pictures: int


@dataclass(frozen=True)
class Agreement:
    """All that the answers say. ``rule`` says who was left out."""

    survey: str
    rule: str
    raters: tuple[Rater, ...]
    n_missing: int
    alphas: tuple[Alpha, ...]
    success: tuple[SuccessRate, ...]
    wins: tuple[WinRate, ...]
    metrics: tuple[MetricAgreement, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {"format": "personae.agreement", "version": 1, **asdict(self)}


def agreement(
    survey: Path,
    answers: Sequence[Path],
    *,
    least_checks: float = 0.75,
    least_consistency: float = 0.0,
) -> Agreement:
    """Read the answers of a survey and say what people said, with 95% intervals over scenes.

    Args:
        survey: folder that holds key.json.
        answers: files of answers, or folders of them.
        least_checks: share of the questions with known answers that a rater must have right.
        least_consistency: share of the repeated answers that must come out the same.

    Raises:
        DataError: key, answers or results are broken, or a picture is no longer what was judged.
        RequestError: a share outside [0, 1], or nobody is left whose answers count.
    """
    for share in (least_checks, least_consistency):
        if not 0 <= share <= 1:
            raise RequestError(f"a share of checks or repeats: expected 0 to 1; got {share}")
    key = read_key(survey / "key.json")
    results = {name: survey / folder for name, folder in key.models.items()}
    _check_pictures(key, results)
    sheets = read_all_answers(answers, key)
    raters = [judge_rater(sheet, key, least_checks, least_consistency) for sheet in sheets]
    counted = [s for s, rater in zip(sheets, raters, strict=True) if rater.left_out is None]
    if not counted:
        raise RequestError(
            f"none of {len(sheets)} raters counts: "
            + "; ".join(f"rater {rater.rater}: {rater.left_out}" for rater in raters)
            + ". Ask others, or lower --min-checks"
        )
    pictures, pairs = picture_votes(counted, key), pair_votes(counted, key)
    return Agreement(
        key.survey,
        f"a rater counts with at least {least_checks:.0%} of the attention checks right and "
        f"{least_consistency:.0%} of the repeated answers the same",
        tuple(raters),
        n_missing=key.raters - len(sheets),
        alphas=tuple(_alphas(pictures, pairs)),
        success=tuple(_success(pictures, key)),
        wins=tuple(_wins(pairs)),
        metrics=tuple(metric_agreements(results, pictures, pairs)),
    )


def _check_pictures(key: Key, results: Mapping[str, Path]) -> None:
    """A picture drawn anew has other scores: people judged the old one."""
    for picture in key.pictures:
        if picture.model is None or picture.image is None:
            continue
        path = results[picture.model] / picture.image
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != picture.sha256:
            raise DataError(
                f"{path}: not the picture that people judged (its content changed since the "
                "survey was made); bring the old one back, or ask again"
            )


def _alphas(pictures: Sequence[PictureVote], pairs: Sequence[PairVote]) -> list[Alpha]:
    """By question: each subject, each whole picture, and each aspect of two pictures."""
    questions: dict[str, dict[tuple[Hashable, ...], list[Hashable]]] = {}
    if pictures:
        questions |= {"subject": defaultdict(list), "success": defaultdict(list)}
    if pairs:
        questions |= {aspect: defaultdict(list) for aspect in ASPECTS}
    for vote in pictures:
        if vote.success is not None:
            questions["success"][vote.place, vote.model].append(vote.success)
        for number, said in enumerate(vote.subjects):
            if said is not None:
                questions["subject"][vote.place, vote.model, number].append(said)
    for pair in pairs:
        for aspect, better in pair.better.items():
            questions[aspect][pair.place, pair.first, pair.second].append(better)
    return [_alpha(question, units) for question, units in questions.items()]


def _alpha(question: str, units: Mapping[tuple[Any, ...], list[Hashable]]) -> Alpha:
    shared = {unit: votes for unit, votes in units.items() if len(votes) > 1}
    votes, scenes = list(shared.values()), [unit[0].scene for unit in shared]
    return Alpha(
        question,
        krippendorff_alpha(votes),
        alpha_interval(votes, scenes),
        n_units=len(votes),
        n_votes=sum(map(len, votes)),
    )


def _success(votes: Iterable[PictureVote], key: Key) -> list[SuccessRate]:
    by_model: dict[str, dict[Any, list[bool | None]]] = {
        model: defaultdict(list) for model in key.models
    }
    for vote in votes:
        by_model[vote.model][vote.place].append(vote.success)
    rates = []
    for model, places in by_model.items():
        decided = {place: majority(found) for place, found in places.items()}
        values = [float(value) for value in decided.values() if value is not None]
        scenes = [place.scene for place, value in decided.items() if value is not None]
        rates.append(
            SuccessRate(
                model,
                sum(values) / len(values) if values else None,
                cluster_bootstrap(values, scenes) if values else None,
                n=len(values),
                n_undecided=len(decided) - len(values),
            )
        )
    return [rate for rate in rates if rate.n + rate.n_undecided]


def _wins(votes: Iterable[PairVote]) -> list[WinRate]:
    by_pair: dict[tuple[str, str], list[PairVote]] = defaultdict(list)
    for vote in votes:
        by_pair[vote.first, vote.second].append(vote)
    return [
        _win_rate(first, second, aspect, found)
        for (first, second), found in by_pair.items()
        for aspect in ASPECTS
    ]


def _win_rate(first: str, second: str, aspect: str, votes: Sequence[PairVote]) -> WinRate:
    values = [vote.better[aspect] for vote in votes]
    return WinRate(
        first,
        second,
        aspect,
        sum(values) / len(values),
        cluster_bootstrap(values, [vote.place.scene for vote in votes]),
        n_wins=values.count(1.0),
        n_equal=values.count(0.5),
        n_losses=values.count(0.0),
        n_pictures=len({vote.place for vote in votes}),
    )
