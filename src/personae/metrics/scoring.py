"""From evidence to scores: which metrics are asked of a picture, under which protocol."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from personae.metrics.copy_paste import copy_paste, copy_paste_reference
from personae.metrics.evidence import Evidence, Gallery
from personae.metrics.eyes import Group
from personae.metrics.fidelity import (
    detect_and_compare,
    ip_similarity,
    strict_detect_and_compare,
    strict_subject_consistency,
    subject_consistency,
)
from personae.metrics.identity import (
    id_confusion,
    id_similarity,
    strict_id_confusion,
    strict_id_similarity,
)
from personae.metrics.matching import matching_reward, strict_matching_reward
from personae.metrics.presence import Presence, balance, presence, presence_score, success
from personae.metrics.score import Score

__all__ = ["PROTOCOLS", "Protocol", "group_scores", "no_scores", "planned_metrics"]

Protocol = Literal["strict", "official"]
PROTOCOLS: tuple[Protocol, ...] = ("strict", "official")

# Per group and protocol: metrics of each subject, then metrics of the picture.
_PLAN: dict[tuple[Protocol, Group], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("strict", "person"): (
        ("presence", "strict_id_similarity", "strict_id_confusion"),
        (
            "strict_matching_reward",
            "strict_detect_and_compare",
            "strangers",
            "balance",
            "success",
        ),
    ),
    ("strict", "thing"): (
        ("presence", "strict_subject_consistency", "strict_id_confusion"),
        ("strict_matching_reward", "strict_detect_and_compare", "balance", "success"),
    ),
    ("official", "person"): (
        ("id_similarity", "id_confusion"),
        ("matching_reward", "detect_and_compare"),
    ),
    ("official", "thing"): (
        ("subject_consistency", "ip_similarity"),
        ("matching_reward", "detect_and_compare"),
    ),
}
_CONFUSION = ("id_confusion", "strict_id_confusion")
_HAS_MATRIX = ("matching_reward", "strict_matching_reward")


def planned_metrics(
    protocol: Protocol, group: Group, gallery: Gallery
) -> Iterator[tuple[str, str | None]]:
    """Every (metric, subject) that a picture is asked for; subject None for the whole picture."""
    per_subject, per_picture = _PLAN[protocol, group]
    for subject in gallery.subjects:
        for metric in per_subject:
            yield metric, subject
        if protocol == "strict" and (copy := _copy_metric(gallery, subject)):
            yield copy, subject
        if protocol == "strict" and subject in gallery.targets:
            yield "target_similarity", subject
    for metric in per_picture:
        yield metric, None


def no_scores(protocol: Protocol, group: Group, gallery: Gallery, reason: str) -> list[Score]:
    """Every score that was asked for, unmeasured: the picture could not be looked at.

    Without a ``reason``, it was the references that could not: each subject has its own.
    """
    return [
        Score.unmeasured(metric, reason or _why_blind(gallery, subject), subject)
        for metric, subject in planned_metrics(protocol, group, gallery)
    ]


def _why_blind(gallery: Gallery, subject: str | None) -> str:
    if subject is not None:
        return gallery.blind[subject]
    return "; ".join(f"{name}: {why}" for name, why in gallery.blind.items())


def group_scores(protocol: Protocol, evidence: Evidence) -> list[Score]:
    """Every score of one group of subjects in one picture."""
    seen = presence(evidence.similarity, evidence.present)
    values = _strict(evidence, seen) if protocol == "strict" else _official(evidence)
    return [
        _score(evidence, seen, values, metric, subject)
        for metric, subject in planned_metrics(protocol, evidence.group, evidence.gallery)
    ]


def _score(
    evidence: Evidence,
    seen: Presence,
    values: Mapping[str, Any],
    metric: str,
    subject: str | None,
) -> Score:
    gallery = evidence.gallery
    details = _picture_details(evidence, seen) if metric in _HAS_MATRIX else {}
    if subject is None and gallery.blind:
        return Score.unmeasured(metric, _why_blind(gallery, None), None, **details)
    if subject is None:
        return Score.of(metric, float(values[metric]), None, **details)
    if subject in gallery.blind:
        return Score.unmeasured(metric, gallery.blind[subject], subject)
    if metric in _CONFUSION and subject in gallery.inseparable:
        return Score.unmeasured(metric, gallery.inseparable[subject], subject)
    return _subject_score(evidence, seen, values, metric, subject)


def _subject_score(
    evidence: Evidence,
    seen: Presence,
    values: Mapping[str, Any],
    metric: str,
    subject: str,
) -> Score:
    index = evidence.subjects.index(subject)
    found = bool(seen.found[index])
    if metric == "target_similarity":
        return _target_score(evidence, seen, index)
    if metric.startswith("copy_paste"):
        return _copy_score(evidence, seen, metric, index)
    value = float(values[metric][index])
    if math.isnan(value):
        return Score.unmeasured(metric, _OMITTED[metric], subject)
    if metric == "presence":
        details = {"found": found, "copies": int(seen.copies[index]), "absent": not found}
        return Score.of(metric, value, subject, **details)
    if not found and metric.startswith("strict_"):
        # Whoever was assigned to it is somebody else: absent is 0, however alike a stranger is.
        return Score.absent(metric, subject, nearest=round(value, 4))
    return Score.of(metric, value, subject)


_OMITTED = {
    "id_confusion": "fewer than two faces: the published program makes no entry",
    "subject_consistency": "not found: the published program would score the whole picture",
}


def _strict(evidence: Evidence, seen: Presence) -> dict[str, Any]:
    similarity = evidence.similarity
    fidelity = strict_id_similarity(similarity)
    return {
        "presence": presence_score(seen),
        "strict_id_similarity": fidelity,
        "strict_subject_consistency": strict_subject_consistency(similarity),
        "strict_id_confusion": strict_id_confusion(similarity, evidence.present),
        "strict_matching_reward": strict_matching_reward(
            similarity, reference_similarity=evidence.gallery.expected
        ),
        "strict_detect_and_compare": strict_detect_and_compare(
            similarity.T, evidence.gallery.expected
        ),
        "strangers": len(seen.strangers),
        "success": success(seen),
        "balance": balance(np.where(seen.found, fidelity, 0.0)),
    }


def _official(evidence: Evidence) -> dict[str, Any]:
    similarity = evidence.official
    return {
        "id_similarity": id_similarity(similarity),
        "id_confusion": id_confusion(similarity),
        "matching_reward": matching_reward(similarity),
        "detect_and_compare": detect_and_compare(similarity.T, evidence.gallery.official_expected),
        "subject_consistency": subject_consistency(_first_boxes(evidence)),
        "ip_similarity": _most_similar_boxes(evidence),
    }


def _found_as(evidence: Evidence, name: str) -> list[int]:
    """The boxes found for a subject's noun, in the detector's order.

    Where two subjects share a noun, its boxes are nobody's in particular: they are both's.
    """
    nouns = evidence.gallery.nouns
    shared = [nouns[other] for other in evidence.gallery.subjects].count(nouns[name]) > 1
    return [
        place
        for place, item in enumerate(evidence.detections)
        if item.subject == name or (shared and item.subject is None)
    ]


def _first_boxes(evidence: Evidence) -> np.ndarray:
    """(M, M): column i is the first box that was found for subject i; NaN where none.

    PSRBench's program for two subjects gives the second of a shared noun the second box; those for
    three and four give all of them the first.
    """
    count = len(evidence.subjects)
    similarity = np.full((count, count), np.nan)
    used: set[int] = set()
    for column, name in enumerate(evidence.subjects):
        places = [place for place in _found_as(evidence, name) if count != 2 or place not in used]
        if places:
            similarity[:, column] = evidence.official[:, places[0]]
            used.add(places[0])
    return similarity


def _most_similar_boxes(evidence: Evidence) -> list[float]:
    """IP-Sim of each subject, over the boxes that were found for its noun."""
    values = []
    for row, name in enumerate(evidence.subjects):
        own = _found_as(evidence, name)
        boxes = np.array([evidence.boxes[place].xyxy for place in own]).reshape(-1, 4)
        values.append(ip_similarity(evidence.official[row, own], boxes, evidence.size[0]))
    return values


def _copy_metric(gallery: Gallery, subject: str) -> str | None:
    """Copying is asked of a subject with a target, or with two references to compare."""
    if subject in gallery.targets:
        return "copy_paste"
    return "copy_paste_reference" if len(gallery.files[subject]) > 1 else None


def _copy_score(evidence: Evidence, seen: Presence, metric: str, index: int) -> Score:
    """Copying can only be asked of a subject that is there."""
    subject = evidence.subjects[index]
    box = seen.match[index]
    if box is None:
        return Score.unmeasured(metric, "the subject is absent", subject)
    to_references = evidence.to_references[subject][:, box]
    if metric == "copy_paste":
        value = max(
            float(copy_paste(evidence.to_target[subject][box], to_reference, between))
            for to_reference, between in zip(
                to_references, evidence.gallery.target_to_references[subject], strict=True
            )
        )
        return Score.of(metric, value, subject)
    value = float(copy_paste_reference(to_references, evidence.gallery.among_references[subject]))
    if math.isnan(value):
        reason = "needs a target, or two references of the subject"
        return Score.unmeasured(metric, reason, subject)
    return Score.of(metric, value, subject)


def _target_score(evidence: Evidence, seen: Presence, index: int) -> Score:
    """Sim(GT): how much the matched one looks as it should here, by the raw cosine."""
    subject, box = evidence.subjects[index], seen.match[index]
    if box is None:
        return Score.absent("target_similarity", subject)
    return Score.of("target_similarity", float(evidence.to_target[subject][box]), subject)


def _picture_details(evidence: Evidence, seen: Presence) -> dict[str, Any]:
    """What the report draws: boxes, the matrix, who was matched to what."""
    matched = set(seen.match)
    duplicates = [
        j for j in range(len(evidence.detections)) if j not in matched and j not in seen.strangers
    ]
    return {
        "kind": evidence.group,
        "subjects": list(evidence.subjects),
        "boxes": [[round(value, 1) for value in box.xyxy] for box in evidence.boxes],
        "scores": [round(item.score, 4) for item in evidence.detections],
        "similarity": np.round(evidence.similarity, 4).tolist(),
        "match": list(seen.match),
        "strangers": list(seen.strangers),
        "duplicates": duplicates,
        "size": list(evidence.size),
        "notes": list(evidence.gallery.notes),
    }
