"""How well each metric of results.jsonl follows people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personae.evaluation.agreement_votes import PairVote, PictureVote
from personae.evaluation.survey_design import Place
from personae.evaluation.survey_files import ASPECTS
from personae.evaluation.survey_sources import result_rows
from personae.metrics.cards import METRICS
from personae.metrics.people import agrees, rank_correlation, rank_correlation_interval
from personae.metrics.summary import Interval, cluster_bootstrap

__all__ = ["Accuracy", "Correlation", "MetricAgreement", "metric_agreements", "picture_values"]

Series = tuple[str, str, str]
Picture = tuple[str, Place]
"""A model's name, and the place."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation over n pictures, in [-1, 1]; None where there is no order."""

    rho: float | None
    ci95: Interval | None
    n: int
    n_unmeasured: int


@dataclass(frozen=True)
class Accuracy:
    """Share of the n pairs in which the metric prefers the picture that people prefer.

    ``n_ties`` pairs of these have one value for both pictures and count half.
    """

    accuracy: float | None
    ci95: Interval | None
    n: int
    n_ties: int
    n_unmeasured: int


@dataclass(frozen=True)
class MetricAgreement:
    """A metric against people: by the share of yes of a picture, and by preferred pictures.

    ``success`` is over all pictures of the first questionnaire. ``pairs`` has for each aspect of
    the second one the pairs in which more raters preferred one picture, and as ``success`` those
    of one scene and seed whose shares of yes differ. Positive always means that the metric says
    better where people do, also where lower values are better.
    """

    metric: str
    protocol: str
    eyes: str
    higher_is_better: bool
    success: Correlation | None
    pairs: Mapping[str, Accuracy] = field(default_factory=dict)


@dataclass(frozen=True)
class _Preference:
    """Two pictures of a place, and how much more (or less, if below 0) people like the first."""

    first: Picture
    second: Picture
    by: float


def metric_agreements(
    results: Mapping[str, Path], pictures: Sequence[PictureVote], pairs: Sequence[PairVote]
) -> list[MetricAgreement]:
    """Every (metric, protocol, eyes) of these models' results against these votes.

    Raises:
        DataError: a results file cannot be read.
    """
    values: dict[Series, dict[Picture, float | None]] = defaultdict(dict)
    for model, folder in results.items():
        for series, found in picture_values(result_rows(folder)).items():
            values[series] |= {(model, place): value for place, value in found.items()}
    shares = _shares(pictures)
    preferences = _preferences(shares, pairs)
    names = list(METRICS)
    order = sorted(values, key=lambda s: (names.index(s[0]) if s[0] in names else len(names), s))
    return [
        MetricAgreement(
            *series,
            higher_is_better=_higher(series[0]),
            success=_correlation(values[series], shares) if shares else None,
            pairs={
                aspect: _accuracy(values[series], liked)
                for aspect, liked in preferences.items()
                if liked
            },
        )
        for series in order
    ]


def picture_values(rows: Iterable[Mapping[str, Any]]) -> dict[Series, dict[Place, float | None]]:
    """One number a picture and series, such that higher is better: of subjects the worst one's.

    A picture is as good as the subject that is worst off in it; where one is unmeasured, so is
    the picture (None). Values of which lower is better change their sign.
    """
    found: dict[Series, dict[Place, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.get("seed") is None:
            continue
        sign = 1.0 if _higher(row["metric"]) else -1.0
        value = None if row["value"] is None else sign * row["value"]
        series = row["metric"], row["protocol"], row["eyes"]
        found[series][Place(str(row["scene"]), int(row["seed"]))].append(value)
    return {
        series: {place: _worst(values) for place, values in places.items()}
        for series, places in found.items()
    }


def _worst(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return min(known) if len(known) == len(values) else None


def _higher(metric: str) -> bool:
    return METRICS[metric].higher_is_better if metric in METRICS else True


def _shares(votes: Iterable[PictureVote]) -> dict[Picture, float]:
    """Share of yes among the votes on each picture; a picture without one is not there."""
    cast: dict[Picture, list[bool]] = defaultdict(list)
    for vote in votes:
        if vote.success is not None:
            cast[vote.model, vote.place].append(vote.success)
    return {picture: sum(found) / len(found) for picture, found in cast.items()}


def _preferences(
    shares: Mapping[Picture, float], votes: Iterable[PairVote]
) -> dict[str, list[_Preference]]:
    """The pairs of which people prefer one picture: by shares of yes, and by each aspect."""
    at_place: dict[Place, list[str]] = defaultdict(list)
    for model, place in shares:
        at_place[place].append(model)
    found: dict[str, list[_Preference]] = {"success": [], **{aspect: [] for aspect in ASPECTS}}
    for place, models in at_place.items():
        for number, model in enumerate(models):
            for other in models[number + 1 :]:
                first, second = (model, place), (other, place)
                found["success"].append(_Preference(first, second, shares[first] - shares[second]))
    leads: dict[tuple[str, Picture, Picture], float] = defaultdict(float)
    for vote in votes:
        for aspect, better in vote.better.items():
            first, second = (vote.first, vote.place), (vote.second, vote.place)
            leads[aspect, first, second] += better - 0.5
    for (aspect, first, second), lead in leads.items():
        found[aspect].append(_Preference(first, second, lead))
    return {aspect: [p for p in liked if p.by != 0] for aspect, liked in found.items()}


def _correlation(
    values: Mapping[Picture, float | None], shares: Mapping[Picture, float]
) -> Correlation:
    known = [
        (picture[1].scene, value, share)
        for picture, share in sorted(shares.items())
        if (value := values.get(picture)) is not None
    ]
    scenes, metric, people = zip(*known, strict=True) if known else ((), (), ())
    return Correlation(
        rank_correlation(metric, people),
        rank_correlation_interval(metric, people, scenes) if known else None,
        n=len(known),
        n_unmeasured=len(shares) - len(known),
    )


def _accuracy(values: Mapping[Picture, float | None], liked: Sequence[_Preference]) -> Accuracy:
    points, scenes, ties = [], [], 0
    for preference in liked:
        first, second = values.get(preference.first), values.get(preference.second)
        if first is None or second is None:
            continue
        points.append(agrees(first - second, preference.by))
        scenes.append(preference.first[1].scene)
        ties += first == second
    return Accuracy(
        sum(points) / len(points) if points else None,
        cluster_bootstrap(points, scenes) if points else None,
        n=len(points),
        n_ties=ties,
        n_unmeasured=len(liked) - len(points),
    )
