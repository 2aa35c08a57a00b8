"""Rows of models that look at a picture as a whole, kept beside those of the eyes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from typing import Protocol as TypingProtocol

from personae.compute.runs import RowLog
from personae.evaluation.measure import Shot, row
from personae.metrics.score import Score
from personae.metrics.scoring import Protocol

__all__ = ["PictureModel", "Progress", "score_by_models"]

Progress = Callable[[int, int], None]


class PictureModel(TypingProtocol):
    """A model that says something about a picture."""

    @property
    def name(self) -> str:
        """What rows call it, as eyes."""
        ...

    @property
    def metric(self) -> str:
        """Of its rows."""
        ...

    @property
    def protocol(self) -> Protocol:
        """Of its rows."""
        ...

    def told(self, shot: Shot) -> str:
        """What its rows depend on, beside the picture, its scene and the references' files."""
        ...

    def scores(self, shot: Shot) -> list[Score]:
        """Never fewer because something could not be read."""
        ...


def score_by_models(
    models: Sequence[PictureModel],
    shots: Sequence[Shot],
    log: RowLog,
    stamp: Callable[[Shot], str],
    mark: str,
    progress: Progress | None = None,
) -> int:
    """Append the rows of each picture and model; how many were asked for now.

    What is there already, of the same picture, is kept; of a picture that changed or is gone it is
    dropped. Rows of models that were not asked for now stay. ``mark`` keeps rows of one sort of
    models apart from those of another.
    """
    wanted = {_key(model, shot, mark): (model, shot) for model in models for shot in shots}
    stamps = {key: _stamp(model, shot, stamp) for key, (model, shot) in wanted.items()}
    ours = {_called(model) for model in models}
    stale = [key for key in log.done if _is_of(key, mark) and _is_stale(key, log, stamps, ours)]
    if stale:
        log.drop(stale)
    missing = [key for key in wanted if key not in log.done]
    for number, key in enumerate(missing, start=1):
        model, shot = wanted[key]
        log.append(key, stamps[key], _rows(model, shot))
        if progress is not None:
            progress(len(wanted) - len(missing) + number, len(wanted))
    return len(missing)


def _rows(model: PictureModel, shot: Shot) -> list[dict[str, Any]]:
    return [row(shot, model.protocol, model.name, score) for score in model.scores(shot)]


def _called(model: PictureModel) -> str:
    """Keys of the log are parted by bars."""
    return f"{model.metric}={model.name}".replace("|", "/")


def _key(model: PictureModel, shot: Shot, mark: str) -> str:
    return "|".join([shot.scene.id, str(shot.seed), mark, _called(model)])


def _is_of(key: str, mark: str) -> bool:
    parts = key.rsplit("|", 2)
    return len(parts) == 3 and parts[1] == mark


def _is_stale(key: str, log: RowLog, stamps: Mapping[str, str], ours: set[str]) -> bool:
    if key in stamps:
        return stamps[key] != log.done[key]
    return key.rsplit("|", 1)[1] in ours


def _stamp(model: PictureModel, shot: Shot, of_picture: Callable[[Shot], str]) -> str:
    told = repr((of_picture(shot), model.told(shot)))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
