"""Pictures as a whole: CLIP-I and DINO against whole references, and how good they look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from personae.compute.device import choose_device
from personae.errors import DataError, RequestError
from personae.evaluation.measure import Shot
from personae.evaluation.model_rows import PictureModel
from personae.metrics.score import Score
from personae.metrics.scoring import Protocol
from personae.metrics.whole import grid_of, whole_similarity
from personae.subjects.picture import read_picture
from personae.subjects.subject import Subject
from personae.vision.aesthetic import SIGLIP_SO400M, AestheticScorer
from personae.vision.embedders import ClipEmbedder, DinoEmbedder
from personae.vision.embedders.crops import image_tensor
from personae.vision.embedders.transformers_models import TransformersEmbedder, center_cropped

__all__ = [
    "WHOLE_METRICS",
    "GridLooks",
    "Likeness",
    "Looks",
    "build_whole_models",
    "whole_sources",
]

WHOLE_METRICS: Mapping[str, tuple[str, ...]] = {
    "clip": ("clip_i",),
    "dino": ("dino_i",),
    "aesthetic": ("aesthetic", "grid_aesthetic"),
}
"""What ``--whole`` names, and the metrics it measures."""

# Short side to so much of the model's own before the middle is taken, as the programs do.
_SHORT = {"clip": 1.0, "dino": 256 / 224}

Stamp = Callable[[Shot], str]


@dataclass(frozen=True, eq=False)
class Likeness:
    """A whole picture against the whole references of each subject: DreamBooth's CLIP-I and DINO.

    Short side to 224 (CLIP) or 256 (DINO), bicubic, the middle 224 of it, for pictures and
    references alike; backgrounds count, masks do not. A reference that cannot be read is left out
    and told of; a subject without any is unmeasured.
    """

    metric: str
    embedder: TransformersEmbedder
    short: float
    protocol: Protocol = "official"
    _kept: dict[Path, Tensor | str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What rows call it."""
        return self.embedder.name

    def told(self, shot: Shot) -> str:
        """See `PictureModel`."""
        return ""

    def scores(self, shot: Shot) -> list[Score]:
        """See `PictureModel`; a score for each subject."""
        seen = _read(shot)
        made = seen if isinstance(seen, str) else self._embedded(seen)
        return [self._score(made, subject) for subject in shot.scene.subjects.values()]

    def _score(self, made: Tensor | str, subject: Subject) -> Score:
        if isinstance(made, str):
            return Score.unmeasured(self.metric, made, subject.id)
        looks = [self._known(file.image) for file in subject.references]
        known = [look for look in looks if isinstance(look, Tensor)]
        reasons = [look for look in looks if isinstance(look, str)]
        if not known:
            return Score.unmeasured(self.metric, "; ".join(reasons), subject.id)
        details = {"left_out": reasons} if reasons else {}
        value = whole_similarity(made.numpy(), torch.stack(known).numpy())
        return Score.of(self.metric, value, subject.id, **details)

    def _known(self, path: Path) -> Tensor | str:
        if path not in self._kept:
            try:
                self._kept[path] = self._embedded(read_picture(path))
            except DataError as error:
                self._kept[path] = str(error)
        return self._kept[path]

    @torch.inference_mode()
    def _embedded(self, image: np.ndarray) -> Tensor:
        side = self.embedder.side_px
        middle = center_cropped(image_tensor(image)[None], round(self.short * side), side)
        return self.embedder.embed(middle)[0].cpu()


@dataclass(frozen=True, eq=False)
class Looks:
    """How good each picture looks, by an aesthetic predictor."""

    scorer: AestheticScorer
    metric: str = "aesthetic"
    protocol: Protocol = "strict"

    @property
    def name(self) -> str:
        """What rows call it."""
        return self.scorer.name

    def told(self, shot: Shot) -> str:
        """See `PictureModel`."""
        return ""

    def scores(self, shot: Shot) -> list[Score]:
        """See `PictureModel`."""
        seen = _read(shot)
        if isinstance(seen, str):
            return [Score.unmeasured(self.metric, seen)]
        return [_said(self.metric, self.scorer, seen)]


@dataclass(frozen=True, eq=False)
class GridLooks:
    """XVerseBench's AES: how good the grid looks in which a scene's pictures are published.

    Every picture of the scene gets the number of its grid, so that scenes count as often as their
    pictures do. A scene without the pictures of a whole grid, all of one size, is unmeasured.

    Args:
        scorer: the predictor.
        shots: every picture of the run.
        side: pictures a side.
        stamp: of a picture, so that the number is made again where one of the grid changed.
    """

    scorer: AestheticScorer
    shots: Sequence[Shot]
    side: int
    stamp: Stamp
    metric: str = "grid_aesthetic"
    protocol: Protocol = "official"
    _kept: dict[str, Score] = field(default_factory=dict)
    _by_scene: dict[str, list[Shot]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for shot in self.shots:
            if shot.path is not None:
                self._by_scene[shot.scene.id].append(shot)
        for held in self._by_scene.values():
            held.sort(key=lambda shot: (shot.seed is None, shot.seed or 0))

    @property
    def name(self) -> str:
        """What rows call it."""
        return self.scorer.name

    def told(self, shot: Shot) -> str:
        """See `PictureModel`."""
        return repr((self.side, [self.stamp(other) for other in self._held(shot)]))

    def scores(self, shot: Shot) -> list[Score]:
        """See `PictureModel`."""
        name = shot.scene.id
        if name not in self._kept:
            self._kept.clear()
            self._kept[name] = self._score(shot)
        return [self._kept[name]]

    def _held(self, shot: Shot) -> list[Shot]:
        return self._by_scene.get(shot.scene.id, [])

    def _score(self, shot: Shot) -> Score:
        held = self._held(shot)
        if len(held) != self.side**2:
            return Score.unmeasured(
                self.metric,
                f"a grid of {self.side} by {self.side} wants {self.side**2} pictures, there are "
                f"{len(held)}",
            )
        tiles = [_read(other) for other in held]
        torn = [tile for tile in tiles if isinstance(tile, str)]
        if torn:
            return Score.unmeasured(self.metric, torn[0])
        try:
            grid = grid_of([tile for tile in tiles if not isinstance(tile, str)], self.side)
        except DataError as error:
            return Score.unmeasured(self.metric, str(error))
        return _said(self.metric, self.scorer, grid, seeds=[other.seed for other in held])


def build_whole_models(
    names: Sequence[str],
    shots: Sequence[Shot],
    *,
    grid: int,
    stamp: Stamp,
    device: str = "cpu",
) -> list[PictureModel]:
    """Load what looks at whole pictures: ``clip``, ``dino``, ``aesthetic``, each perhaps with a :.

    Args:
        names: ``clip[:FOLDER-OR-HUB-ID]``, ``dino[:FOLDER-OR-HUB-ID]``,
            ``aesthetic:HEAD.safetensors[@ENCODER]``.
        shots: every picture of the run.
        grid: pictures a side as the suite publishes them; 1: the aesthetic of grids is not asked.
        stamp: see `GridLooks`.
        device: where they compute.

    Raises:
        RequestError: another name, one twice, or no head.
        WeightsError: weights are missing.
    """
    models: list[PictureModel] = []
    where = str(choose_device(device))
    for name, source in whole_sources(names).items():
        if name == "aesthetic":
            head, _, encoder = source.partition("@")
            scorer = AestheticScorer(head, encoder or SIGLIP_SO400M, device=where)
            models.append(Looks(scorer))
            models += [GridLooks(scorer, shots, grid, stamp)] if grid > 1 else []
            continue
        made = {"clip": ClipEmbedder, "dino": DinoEmbedder}[name]
        embedder = made(source, device=where) if source else made(device=where)
        models.append(Likeness(WHOLE_METRICS[name][0], embedder, _SHORT[name]))
    return models


def whole_sources(names: Sequence[str]) -> dict[str, str]:
    """Name to source of what ``--whole`` says; "" is the published one.

    Raises:
        RequestError: another name, one twice, or no head.
    """
    found: dict[str, str] = {}
    for text in names:
        name, _, source = text.partition(":")
        if name not in WHOLE_METRICS or name in found:
            raise RequestError(
                f"--whole {text!r}: expected each once of {', '.join(WHOLE_METRICS)}, with "
                ":FOLDER-OR-HUB-ID where weights are brought along"
            )
        if name == "aesthetic" and not source:
            raise RequestError(
                "--whole aesthetic: its head is published as a pickle and not fetched; give "
                "aesthetic:HEAD.safetensors, or aesthetic:HEAD.safetensors@ENCODER"
            )
        found[name] = source
    return found


def _read(shot: Shot) -> np.ndarray | str:
    """The picture, or why there is none."""
    if shot.path is None:
        return "the scene has no picture"
    try:
        return read_picture(shot.path)
    except DataError as error:
        return str(error)


@torch.inference_mode()
def _said(metric: str, scorer: AestheticScorer, image: np.ndarray, **details: object) -> Score:
    value = float(scorer.score(image_tensor(image)[None])[0])
    if not np.isfinite(value):
        return Score.unmeasured(metric, f"{scorer.name} said {value}")
    return Score.of(metric, value, None, **details)
