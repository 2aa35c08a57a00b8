"""One map for work that splits: in this process, or in several, with the same answers in order.

On a cluster it is `personae.compute.ray_workers`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from personae.errors import RequestError, WorkError

__all__ = ["Processes", "Serial", "Workers", "default_num_workers", "make_workers"]

Item = TypeVar("Item")
Answer = TypeVar("Answer")
State = TypeVar("State")


class Workers(Protocol):
    """Maps a function over items; each worker builds its state (models) once."""

    def map(
        self,
        build: Callable[[], State],
        work: Callable[[State, Item], Answer],
        items: Iterable[Item],
    ) -> Iterator[Answer]:
        """Answers in the order of the items, each as soon as it and all before it are there."""
        ...


class Serial:
    """Everything in this process, one after the other."""

    def map(
        self,
        build: Callable[[], State],
        work: Callable[[State, Item], Answer],
        items: Iterable[Item],
    ) -> Iterator[Answer]:
        """See `Workers`."""
        state = build()
        for item in items:
            yield work(state, item)


class _Kept:
    """What a worker process keeps between items."""

    state: Any = None


def _start(build: Callable[[], State]) -> None:
    # Ctrl-C is the parent's to handle: it stops handing out work and closes the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Kept.state = build()


def _call(work: Callable[[State, Item], Answer], item: Item) -> Answer:
    return work(_Kept.state, item)


class Processes:
    """Several processes on this machine; functions and items must pickle.

    Processes are spawned, not forked: torch's threads do not survive a fork.
    """

    def __init__(self, num_workers: int) -> None:
        if num_workers < 1:
            raise RequestError(f"expected at least one worker; got {num_workers}")
        self.num_workers = num_workers

    def map(
        self,
        build: Callable[[], State],
        work: Callable[[State, Item], Answer],
        items: Iterable[Item],
    ) -> Iterator[Answer]:
        """See `Workers`; at most four items a worker wait, so that a long list stays cheap.

        Raises:
            WorkError: a worker process died (most often: the memory ran out).
        """
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.num_workers, context, _start, (build,))
        try:
            yield from self._in_order(pool, work, items)
        except BrokenProcessPool as error:
            raise WorkError(
                "a worker process died, most often for want of memory; what was finished is kept, "
                "run the same command again with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _in_order(
        self,
        pool: ProcessPoolExecutor,
        work: Callable[[State, Item], Answer],
        items: Iterable[Item],
    ) -> Iterator[Answer]:
        waiting: deque[Future[Answer]] = deque()
        for item in items:
            waiting.append(pool.submit(_call, work, item))
            if len(waiting) >= 4 * self.num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def default_num_workers() -> int:
    """As many as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_workers(num_workers: int) -> Workers:
    """Serial for one worker, processes for more; 0 means one for each core."""
    count = num_workers or default_num_workers()
    return Serial() if count == 1 else Processes(count)
