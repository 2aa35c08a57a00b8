"""Where requests wait for a reward: one worker a device, a queue with an end, a limit on time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, Queue

import torch

from personae.errors import PersonaeError, RequestError
from personae.training.rewards.asked import Reward
from personae.training.rewards.plain import Answers, score_pictures
from personae.training.rewards.wire import Order

__all__ = ["Desk", "RefusedError"]

Factory = Callable[[torch.device], Reward]

_logger = logging.getLogger(__name__)
# Workers that are over time cannot be killed; with more of them than this, no more are made.
_MOST_STUCK = 2
_LONGEST_GOODBYE_SECONDS = 5.0


class RefusedError(RequestError):
    """A request that is not served: an HTTP status, and what to tell the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(eq=False)
class _Job:
    order: Order
    answers: Future[Answers] = field(default_factory=Future)


@dataclass(eq=False)
class _Worker:
    """A thread with a reward of its own; ``since`` is when its present job began."""

    device: torch.device
    reward: Reward | None
    since: float | None = None
    stuck: bool = False
    thread: threading.Thread | None = None


class Desk:
    """Rewards at work, one a device; `score` may be called from any thread.

    A reward that is over time cannot be stopped: its client is told, its worker is left to end by
    itself, and another worker with a new reward takes its place.

    Args:
        factory: builds the reward of a device.
        devices: of the workers.
        max_waiting: jobs in the queue; what more come are refused before they are read.
        timeout_seconds: from a job's acceptance to its answer.
    """

    def __init__(
        self,
        factory: Factory,
        devices: Sequence[torch.device],
        *,
        max_waiting: int = 16,
        timeout_seconds: float = 120.0,
    ) -> None:
        self._factory, self._devices = factory, tuple(devices)
        self._timeout = timeout_seconds
        self._places = threading.BoundedSemaphore(max_waiting + len(self._devices))
        self._queue: Queue[_Job | None] = Queue()
        self._lock = threading.Lock()
        self._workers: dict[torch.device, _Worker] = {}
        self._stuck = 0
        self._closed = False
        self.name, self.differentiable = "", False

    def start(self) -> None:
        """Build the rewards, here and now, so that what is wrong with them is told; begin."""
        for device in self._devices:
            reward = self._factory(device)
            self.name, self.differentiable = reward.name, reward.differentiable
            self._workers[device] = self._begin(device, reward)

    def close(self) -> None:
        """Refuse what waits, let what runs come to its end for a while, stop the workers."""
        self._closed = True
        self._cancel_waiting()
        workers = list(self._workers.values())
        for _ in workers:
            self._queue.put(None)
        until = time.monotonic() + min(self._timeout, _LONGEST_GOODBYE_SECONDS)
        for worker in workers:
            if worker.thread is not None:
                worker.thread.join(max(0.0, until - time.monotonic()))
        self._cancel_waiting()

    def health(self) -> dict[str, int]:
        """Workers that work, workers over time, and requests that wait."""
        with self._lock:
            working = sum(not worker.stuck for worker in self._workers.values())
            return {"workers": working, "stuck": self._stuck, "waiting": self._queue.qsize()}

    def score(self, read: Callable[[], Order]) -> Answers:
        """Wait for a worker's answers to what ``read`` brings.

        Raises:
            RefusedError: 429 the queue is full, 503 no worker took it in time or is left, 504 it
                took too long, 422 the reward says what is wrong with it, 500 the reward failed.
        """
        if not self._places.acquire(blocking=False):
            raise RefusedError(429, "the queue is full; try again later")
        try:
            return self._answers(_Job(read()))
        finally:
            self._places.release()

    def _answers(self, job: _Job) -> Answers:
        self._replace_stuck()
        self._enqueue(job)
        if not wait([job.answers], self._timeout).done:
            raise self._late(job)
        try:
            return job.answers.result()
        except CancelledError:
            raise RefusedError(503, "the server is shutting down") from None
        except PersonaeError as error:
            raise RefusedError(422, str(error)) from error
        except (Exception, SystemExit) as error:
            _logger.exception("the reward failed")
            told = f"the reward failed ({type(error).__name__}); the server's log says more"
            raise RefusedError(500, told) from error

    def _enqueue(self, job: _Job) -> None:
        if self._closed:
            raise RefusedError(503, "the server is shutting down")
        if not self.health()["workers"]:
            raise RefusedError(503, "no worker is left: all are over time; try again later")
        self._queue.put(job)

    def _cancel_waiting(self) -> None:
        with suppress(Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None and job.answers.cancel():
                    job.answers.set_running_or_notify_cancel()  # tells those that wait for it

    def _late(self, job: _Job) -> RefusedError:
        if job.answers.cancel():
            self._replace_stuck()
            return RefusedError(503, f"no worker was free within {self._timeout:g} seconds")
        self._replace_stuck()
        return RefusedError(504, f"the reward took more than {self._timeout:g} seconds")

    def _begin(self, device: torch.device, reward: Reward | None) -> _Worker:
        worker = _Worker(device, reward)
        name = f"reward-{device}"
        worker.thread = threading.Thread(target=self._work, args=(worker,), name=name, daemon=True)
        worker.thread.start()
        return worker

    def _replace_stuck(self) -> None:
        """Give a device whose worker is over time, or is gone, another one."""
        now = time.monotonic()
        with self._lock:
            for device in self._devices:
                worker = self._workers.get(device)
                if worker is not None and not worker.stuck and self._over(worker, now):
                    worker.stuck = True
                    self._stuck += 1
                    _logger.error("the reward on %s is over time; another takes its place", device)
                gone = worker is None or worker.stuck
                if gone and self._stuck <= _MOST_STUCK and not self._closed:
                    self._workers[device] = self._begin(device, None)

    def _over(self, worker: _Worker, now: float) -> bool:
        return worker.since is not None and now - worker.since >= self._timeout

    def _work(self, worker: _Worker) -> None:
        if worker.device.type == "cuda" and worker.device.index is not None:
            torch.cuda.set_device(worker.device)
        try:
            if worker.reward is None:
                worker.reward = self._factory(worker.device)
        except Exception:
            _logger.exception("no reward could be built on %s", worker.device)
            with self._lock:
                self._workers.pop(worker.device, None)
            return
        while (job := self._queue.get()) is not None:
            if job.answers.set_running_or_notify_cancel():
                self._do(worker, worker.reward, job)
            if not self._stays(worker):
                return

    def _do(self, worker: _Worker, reward: Reward, job: _Job) -> None:
        worker.since = time.monotonic()
        try:
            order = job.order
            answers = score_pictures(reward, order.pictures, order.asked, worker.device)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - its client's thread raises it
            job.answers.set_exception(error)
        else:
            job.answers.set_result(answers)
        worker.since = None

    def _stays(self, worker: _Worker) -> bool:
        """A worker that was over time goes, unless nobody took its place."""
        with self._lock:
            if worker.stuck:
                worker.stuck = False
                self._stuck -= 1
            return self._workers.get(worker.device) is worker
