"""What a training run tells: while it goes, and at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Progress", "TrainingResult"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TrainingResult:
    """What came of a run.

    Attributes:
        out: the run's folder.
        steps: done in all.
        stopped: None where it ran to the end, else why it stopped; resume goes on.
        saved: ``model`` or ``adapter``; None where it stopped early.
        loss: mean of the last row of the log.
        seconds: of training, over all resumptions.
        problems: examples that could not be used, with reasons.
    """

    out: Path
    steps: int
    stopped: str | None
    saved: Path | None
    loss: float | None
    seconds: float
    problems: tuple[str, ...]
