"""Evidence: what eyes saw of the subjects in a picture, gathered once and scored many ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from personae.errors import DataError
from personae.metrics.eyes import Eyes, Group
from personae.metrics.fidelity import reference_similarity, strict_reference_similarity
from personae.metrics.separability import PairSeparability, separability
from personae.subjects.box import Box
from personae.subjects.references import load_reference
from personae.subjects.subject import Reference, ReferenceFile, Subject
from personae.vision.cache import TensorCache, content_key
from personae.vision.protocols import Detection

__all__ = ["Evidence", "Gallery", "Witness"]

Similarity = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Gallery:
    """A group's subjects as the eyes know them, before any picture is looked at.

    ``known`` maps each of M subjects to its (R, D) descriptors, ``blind`` a subject to why it
    cannot be known, ``targets`` a subject to the (1, D) descriptor of how it should look here.
    ``expected`` and ``official_expected`` (M, M) compare references with references, without and
    with self-pairs; ``among_references`` (R, R) and ``target_to_references`` (R,) are cosines;
    ``inseparable`` maps a subject that these eyes confuse with another one to why.
    """

    subjects: tuple[str, ...]
    nouns: Mapping[str, str]
    files: Mapping[str, tuple[ReferenceFile, ...]]
    known: Mapping[str, Tensor]
    blind: Mapping[str, str]
    targets: Mapping[str, Tensor]
    notes: tuple[str, ...]
    expected: np.ndarray
    official_expected: np.ndarray
    among_references: Mapping[str, np.ndarray]
    target_to_references: Mapping[str, np.ndarray]
    inseparable: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Evidence:
    """N boxes of one group in one picture against the M subjects that could be known.

    ``similarity`` (M, N) is the calibrated one, mean over a subject's references; ``official``
    (M, N) is the one that the papers' formulas are given. ``to_references`` holds for each subject
    the raw cosines (R, N), ``to_target`` (N,) where a target is given.
    """

    group: Group
    eyes: str
    present: float
    gallery: Gallery
    subjects: tuple[str, ...]
    detections: tuple[Detection, ...]
    similarity: np.ndarray
    official: np.ndarray
    to_references: Mapping[str, np.ndarray]
    to_target: Mapping[str, np.ndarray]
    size: tuple[int, int]

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Where the N boxes are."""
        return tuple(item.box for item in self.detections)


class Witness:
    """Eyes, and what they remember of the references they have seen."""

    def __init__(self, eyes: Eyes, cache: TensorCache | None = None) -> None:
        self.eyes = eyes
        self._cache = cache or TensorCache()
        self._known: dict[ReferenceFile, Tensor | str] = {}
        self._galleries: dict[tuple[Subject, ...], Gallery] = {}
        self._load = lru_cache(maxsize=64)(load_reference)

    def gallery(self, subjects: Mapping[str, Subject]) -> Gallery:
        """Look at every reference of these subjects (all of the eyes' own group)."""
        key = tuple(subjects.values())
        if key not in self._galleries:
            self._galleries[key] = self._looked_at(subjects)
        return self._galleries[key]

    def separability(self, gallery: Gallery) -> list[PairSeparability]:
        """Can these eyes tell these subjects apart, reference against reference?"""
        if len(gallery.known) < 2:
            return []
        return separability(gallery.known, self.eyes.embedder.similarity)

    def evidence(self, image: np.ndarray, gallery: Gallery) -> Evidence:
        """Look at a picture (H, W, 3) uint8 for the subjects of a gallery."""
        known, cosine = gallery.known, self.eyes.embedder.cosine
        cast = {name: self._pictures(gallery.files[name]) for name in known}
        nouns = {name: gallery.nouns[name] for name in cast}
        detections, seen = self.eyes.look(image, cast, nouns)
        seen = seen if detections else _nothing_like(known)
        return Evidence(
            group=self.eyes.group,
            eyes=self.eyes.name,
            present=self.eyes.present,
            gallery=gallery,
            subjects=tuple(known),
            detections=tuple(detections),
            similarity=_against(known, seen, self.eyes.embedder.similarity),
            official=_against(known, seen, self._official),
            to_references=_each(known, lambda references: cosine(references, seen)),
            to_target=_each(gallery.targets, lambda target: cosine(target, seen)[0]),
            size=(image.shape[1], image.shape[0]),
        )

    @property
    def _official(self) -> Similarity:
        embedder = self.eyes.embedder
        return embedder.cosine if embedder.official_uses_cosine else embedder.similarity

    def _looked_at(self, subjects: Mapping[str, Subject]) -> Gallery:
        known: dict[str, Tensor] = {}
        blind: dict[str, str] = {}
        targets: dict[str, Tensor] = {}
        notes: list[str] = []
        for name, subject in subjects.items():
            looks = [self._know(file) for file in subject.references]
            seen = [look for look in looks if isinstance(look, Tensor)]
            reasons = [look for look in looks if isinstance(look, str)]
            if seen:
                known[name] = torch.cat(seen)
                notes += [f"{name}: {reason}" for reason in reasons]
            else:
                blind[name] = "; ".join(dict.fromkeys(reasons))
            if subject.target is not None:
                target = self._know(subject.target)
                if isinstance(target, Tensor):
                    targets[name] = target
                else:
                    notes.append(f"{name}: target: {target}")
        embedder = self.eyes.embedder
        pairs = separability(known, embedder.similarity)
        return Gallery(
            subjects=tuple(subjects),
            nouns={name: subject.noun for name, subject in subjects.items()},
            files={name: self._readable(subject) for name, subject in subjects.items()},
            known=known,
            blind=blind,
            targets=targets,
            notes=tuple(notes),
            expected=_matrix(strict_reference_similarity, known, embedder.similarity),
            official_expected=_matrix(reference_similarity, known, self._official),
            among_references=_each(known, lambda item: embedder.cosine(item, item)),
            target_to_references={
                name: _numpy(embedder.cosine(target, known[name])[0])
                for name, target in targets.items()
                if name in known
            },
            inseparable=_named(pairs),
        )

    def _readable(self, subject: Subject) -> tuple[ReferenceFile, ...]:
        return tuple(file for file in subject.references if isinstance(self._know(file), Tensor))

    def _know(self, file: ReferenceFile) -> Tensor | str:
        """The descriptor of a reference, or why there is none."""
        if file not in self._known:
            try:
                reference = self._load(file)
                key = content_key([reference], self.eyes.name)
                made = self._cache.get(key, lambda: {"descriptors": self.eyes.know(reference)})
                seen = made["descriptors"]
                self._known[file] = seen if len(seen) else self._unseen(file)
            except DataError as error:
                self._known[file] = str(error)
        return self._known[file]

    def _unseen(self, file: ReferenceFile) -> str:
        what = "face" if self.eyes.group == "person" else "subject"
        return f"no {what} in reference {file.image}"

    def _pictures(self, files: Sequence[ReferenceFile]) -> list[Reference]:
        return [self._load(file) for file in files]


def _nothing_like(known: Mapping[str, Tensor]) -> Tensor:
    """No descriptors, (0, D) as wide as those that are known."""
    return next((item[:0] for item in known.values()), torch.zeros(0, 0))


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()


def _against(known: Mapping[str, Tensor], seen: Tensor, similarity: Similarity) -> np.ndarray:
    """(M, N): mean similarity of each subject's references to each box (MuDI's S)."""
    rows = [_numpy(similarity(references, seen)).mean(axis=0) for references in known.values()]
    return np.array(rows).reshape(len(known), seen.shape[0])


def _matrix(
    compare: Callable[..., np.ndarray], known: Mapping[str, Tensor], similarity: Similarity
) -> np.ndarray:
    if not known:
        return np.zeros((0, 0))
    return _numpy(torch.as_tensor(compare(known, similarity=similarity)))


def _each(
    tensors: Mapping[str, Tensor], compare: Callable[[Tensor], Tensor]
) -> dict[str, np.ndarray]:
    return {name: _numpy(compare(tensor)) for name, tensor in tensors.items()}


def _named(pairs: Sequence[PairSeparability]) -> dict[str, str]:
    """Subjects that the eyes confuse with another one, and why."""
    return {name: pair.reason for pair in pairs if not pair.separable for name in pair.subjects}
