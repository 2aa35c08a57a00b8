"""One picture against its scene: the rows that go to results.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from personae.errors import DataError
from personae.metrics.alignment import check_claims, fidelity_score
from personae.metrics.evidence import Evidence, Witness
from personae.metrics.eyes import Group, group_of
from personae.metrics.position import position_score, strict_position_score
from personae.metrics.presence import presence
from personae.metrics.score import Score
from personae.metrics.scoring import Protocol, group_scores, no_scores
from personae.subjects.box import Box
from personae.subjects.picture import read_picture
from personae.subjects.scene import Scene
from personae.subjects.subject import Subject
from personae.vision.protocols import Detection

__all__ = ["EYES_JOINT", "Shot", "measure", "row", "scene_groups"]

EYES_JOINT = " & "
# Rows are compared across machines and workers: what floating point adds behind this is noise.
_DECIMALS = 6


@dataclass(frozen=True)
class Shot:
    """A scene and one picture made for it; path and seed are None where there is none.

    ``name`` is what rows call the picture: its path relative to the folder of pictures.
    """

    scene: Scene
    seed: int | None = None
    path: Path | None = None
    name: str | None = None


def scene_groups(scene: Scene) -> dict[Group, dict[str, Subject]]:
    """The scene's subjects by the eyes they need; people first."""
    people = scene.of_kind("person")
    things = scene.of_kind("animal", "object")
    groups: dict[Group, dict[str, Subject]] = {"person": people, "thing": things}
    return {group: subjects for group, subjects in groups.items() if subjects}


def measure(
    witnesses: Mapping[Group, Witness], shot: Shot, protocol: Protocol
) -> list[dict[str, Any]]:
    """All rows of one picture under one protocol; never fewer because something was missing."""
    scene = shot.scene
    image, reason = _read(shot.path)
    rows: list[dict[str, Any]] = []
    evidences: dict[Group, Evidence] = {}
    for group, subjects in scene_groups(scene).items():
        witness = witnesses[group]
        gallery = witness.gallery(subjects)
        if image is not None and gallery.known:
            try:
                evidences[group] = witness.evidence(image, gallery)
            except (DataError, RuntimeError) as error:
                reason = f"the eyes failed: {error}"
        scores = (
            group_scores(protocol, evidences[group])
            if group in evidences
            else no_scores(protocol, group, gallery, reason)
        )
        rows += [row(shot, protocol, witness.eyes.name, item) for item in scores]
    if scene.relation is not None:
        eyes = EYES_JOINT.join(witnesses[group].eyes.name for group in _related(scene))
        score = _position(protocol, scene, evidences, reason)
        rows.append(row(shot, protocol, eyes, score))
    if scene.claims and protocol == "strict":
        eyes = EYES_JOINT.join(witnesses[group].eyes.name for group in scene_groups(scene))
        rows.append(row(shot, protocol, eyes, _fidelity(witnesses, shot, image, evidences, reason)))
    return rows


def _read(path: Path | None) -> tuple[np.ndarray | None, str]:
    if path is None:
        return None, "the scene has no picture"
    try:
        return read_picture(path), ""
    except DataError as error:
        return None, str(error)


def row(shot: Shot, protocol: Protocol, eyes: str, score: Score) -> dict[str, Any]:
    """A line of results.jsonl."""
    return {
        "scene": shot.scene.id,
        "seed": shot.seed,
        "image": shot.name,
        "metric": score.metric,
        "subject": score.subject,
        "protocol": protocol,
        "eyes": eyes,
        "value": None if score.value is None else round(score.value, _DECIMALS) + 0.0,
        "unmeasured": score.reason,
        "details": dict(score.details) or None,
    }


def _fidelity(
    witnesses: Mapping[Group, Witness],
    shot: Shot,
    image: np.ndarray | None,
    evidences: Mapping[Group, Evidence],
    reason: str,
) -> Score:
    """Whether the picture keeps the scene's claims, by the first eyes that can judge."""
    if image is None or not evidences:
        return Score.unmeasured("prompt_fidelity", reason or "no subject can be known")
    judges = [witnesses[group].eyes.judge for group in evidences]
    where = {
        name: _detection(evidence, name)
        for evidence in evidences.values()
        for name in evidence.subjects
    }
    found = [item for evidence in evidences.values() for item in evidence.detections]
    judge = next((item for item in judges if item is not None), None)
    return fidelity_score(check_claims(image, shot.scene.claims, where, found, judge))


def _related(scene: Scene) -> list[Group]:
    """Groups of the two related subjects, each once, in the order of the relation."""
    assert scene.relation is not None
    pair = (scene.relation.first, scene.relation.second)
    return list(dict.fromkeys(group_of(scene.subjects[name].kind) for name in pair))


def _position(
    protocol: Protocol, scene: Scene, evidences: Mapping[Group, Evidence], reason: str
) -> Score:
    metric = "strict_position_score" if protocol == "strict" else "position_score"
    relation = scene.relation
    assert relation is not None
    boxes = []
    for name in (relation.first, relation.second):
        evidence = evidences.get(group_of(scene.subjects[name].kind))
        if evidence is None:
            return Score.unmeasured(metric, reason or f"{name} cannot be known")
        if name in evidence.gallery.blind:
            return Score.unmeasured(metric, f"{name}: {evidence.gallery.blind[name]}")
        boxes.append(_box(evidence, name, protocol))
    first, second = boxes
    if first is None or second is None:
        missing = [
            name
            for name, box in zip((relation.first, relation.second), boxes, strict=True)
            if box is None
        ]
        return Score.absent(metric, None, missing=missing)
    pair = np.array([first.xyxy, second.xyxy])
    score = strict_position_score if protocol == "strict" else position_score
    try:
        value = float(score(pair, relation.words))
    except DataError as error:
        return Score.unmeasured(metric, str(error))
    return Score.of(metric, value, None, boxes=pair.round(1).tolist())


def _box(evidence: Evidence, name: str, protocol: Protocol) -> Box | None:
    """Strict: the box matched to the subject. Official: the first one found for its noun."""
    found_as = [item.subject for item in evidence.detections]
    if protocol == "official" and evidence.group == "thing":
        return evidence.boxes[found_as.index(name)] if name in found_as else None
    found = _detection(evidence, name)
    return None if found is None else found.box


def _detection(evidence: Evidence, name: str) -> Detection | None:
    """The detection matched to a subject, None where it is absent."""
    match = presence(evidence.similarity, evidence.present).match
    found = match[evidence.subjects.index(name)]
    return None if found is None else evidence.detections[found]
