"""Score one picture against references given by hand, without any file of scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personae.errors import DataError, RequestError
from personae.evaluation.measure import Shot, measure, scene_groups
from personae.metrics.scoring import Protocol
from personae.metrics.witnesses import EyesChoice, build_witnesses
from personae.subjects.picture import read_picture
from personae.subjects.scene import Relation, Scene
from personae.subjects.subject import KINDS, Kind, ReferenceFile, Subject

__all__ = ["guess_kinds", "parse_named", "scene_by_hand", "score_picture"]


def parse_named(pairs: Sequence[str], flag: str) -> dict[str, list[str]]:
    """``["ann=a.jpg", "ann=b.jpg"]`` -> ``{"ann": ["a.jpg", "b.jpg"]}``.

    >>> parse_named(["ann=a.jpg", "ann=b.jpg"], "--ref")
    {'ann': ['a.jpg', 'b.jpg']}

    Raises:
        RequestError: a pair without ``=``.
    """
    named: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise RequestError(f"{flag} {pair!r}: expected NAME=VALUE, such as ann=ann1.jpg")
        named.setdefault(name, []).append(value)
    return named


def scene_by_hand(
    references: Mapping[str, Sequence[str]],
    kinds: Mapping[str, str],
    nouns: Mapping[str, str],
    relation: Sequence[str] | None = None,
) -> Scene:
    """A scene from what was said on the command line.

    Raises:
        RequestError: a kind that is none, or a kind or noun of a name without references.
    """
    for name in [*kinds, *nouns]:
        if name not in references:
            raise RequestError(f"{name!r} has no --ref; subjects are {list(references)}")
    subjects = {
        name: Subject(
            id=name,
            noun=nouns.get(name, name),
            kind=_kind(name, kinds[name]),
            references=tuple(_reference_file(Path(path)) for path in paths),
        )
        for name, paths in references.items()
    }
    prompt = " and ".join("{" + name + "}" for name in subjects)
    found = None if relation is None else Relation(*relation)
    return Scene("picture", prompt, subjects, relation=found, where="(command line)")


def guess_kinds(references: Mapping[str, Sequence[str]], eyes: EyesChoice) -> dict[str, str]:
    """A person where every reference shows a face, else an object.

    A reference that cannot be read decides nothing here; it is told of when it is scored.
    """
    if not references:
        return {}
    witness = build_witnesses(eyes, ("person",))["person"]
    everyone = scene_by_hand(references, dict.fromkeys(references, "person"), {}).subjects
    gallery = witness.gallery(everyone)
    return {
        name: "person" if len(gallery.files[name]) == len(everyone[name].references) else "object"
        for name in references
    }


def score_picture(
    picture: Path, scene: Scene, protocol: Protocol, eyes: EyesChoice
) -> list[dict[str, Any]]:
    """All rows of one picture.

    Raises:
        DataError: the picture cannot be read: with one picture there is nothing else to keep.
    """
    read_picture(picture)
    witnesses = build_witnesses(eyes, tuple(scene_groups(scene)))
    for group, subjects in scene_groups(scene).items():
        blind = witnesses[group].gallery(subjects).blind
        if len(blind) == len(scene.subjects):
            raise DataError("; ".join(f"{name}: {reason}" for name, reason in blind.items()))
    return measure(witnesses, Shot(scene, 0, picture, str(picture)), protocol)


def _kind(name: str, text: str) -> Kind:
    for kind in KINDS:
        if kind == text:
            return kind
    raise RequestError(f"--kind {name}={text!r}: expected one of {KINDS}")


def _reference_file(path: Path) -> ReferenceFile:
    mask = path.with_suffix(".mask.png")
    return ReferenceFile(path, mask if mask.is_file() else None)
