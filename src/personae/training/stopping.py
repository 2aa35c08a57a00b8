"""Stopping well: a signal or the clock ends the run behind a whole step, with a checkpoint."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "stopping"]


class Stop:
    """Why to stop, once there is a reason: ``"SIGTERM"``, ``"SIGINT"`` or ``"max_seconds"``."""

    def __init__(self, max_seconds: float | None, spent: float = 0.0) -> None:
        self._reason: str | None = None
        self._max_seconds = max_seconds
        self._start = time.monotonic() - spent

    @property
    def seconds(self) -> float:
        """Time spent, with that of the runs before."""
        return time.monotonic() - self._start

    @property
    def reason(self) -> str | None:
        """Why to stop now, or None."""
        late = self._max_seconds is not None and self.seconds >= self._max_seconds
        return self._reason or ("max_seconds" if late else None)

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """A signal's handler; a second signal of the kind ends the process as usual."""
        self._reason = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def stopping(stop: Stop) -> Iterator[Stop]:
    """Let SIGTERM and SIGINT ask for the stop; only a main thread can be asked."""
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, stop.ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
