"""The same map on Ray Data: actors on this machine, or on all of a cluster."""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from personae.errors import RequestError, WorkError

__all__ = ["LOCAL", "RayData"]

Item = TypeVar("Item")
Answer = TypeVar("Answer")
State = TypeVar("State")

LOCAL = "local"
_BLOCKS = 4096  # each costs the driver about a millisecond, so a longer list has larger ones
_STORE_BYTES = 128 * 2**20  # what passes is small: tasks and counts, never pictures


@dataclass(frozen=True)
class RayData:
    """Actors of Ray Data's ``map_batches``; functions and items must pickle.

    On a cluster, what the functions read and write must lie under the same path on all its nodes.

    Attributes:
        num_workers: actors; 0 means as many as the cluster has CPUs (or GPUs, if each takes some).
        address: of a cluster: ``auto`` for the one this machine belongs to, or ``ray://HOST:PORT``;
            ``local`` starts one in this machine.
        num_gpus: of each actor; an actor that has none sees none.
        restarts: how often an actor that died is started again, for machines that may be taken
            away; what it was at is then done again.
    """

    num_workers: int = 0
    address: str = LOCAL
    num_gpus: float = 0.0
    restarts: int = 0

    def __post_init__(self) -> None:
        if self.num_workers < 0 or self.num_gpus < 0 or self.restarts < 0:
            raise RequestError(
                "Ray: expected workers, GPUs and restarts of 0 or more; got "
                f"{self.num_workers}, {self.num_gpus}, {self.restarts}"
            )

    def map(
        self,
        build: Callable[[], State],
        work: Callable[[State, Item], Answer],
        items: Iterable[Item],
    ) -> Iterator[Answer]:
        """See `Workers`; items are taken all at once.

        Raises:
            RequestError: Ray is not installed, or there is no such cluster.
            WorkError: an actor died (most often: the memory ran out).
        """
        taken = list(items)
        if not taken:
            return
        ray = _ray()
        self._connect(ray)
        dumps = ray.cloudpickle.dumps  # takes what a script or a notebook defines, too
        waiting = [dumps(item) for item in taken]
        try:
            for answer in self._answers(ray, dumps((build, work)), waiting):
                worked, value = pickle.loads(answer)
                if not worked:
                    raise value
                yield value
        except ray.exceptions.RayError as error:
            raise WorkError(
                f"a worker of Ray died ({_first_line(error)}), most often for want of memory; what "
                "was finished is kept, run the same command again with fewer --workers"
            ) from error

    def _connect(self, ray: Any) -> None:
        """Join the cluster, or start one; once a process."""
        if ray.is_initialized():
            return
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        here: dict[str, Any] = {
            "num_cpus": self.num_workers or None,
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
        }
        try:
            if self.address == LOCAL:
                ray.init(address=LOCAL, **here, **quiet)
            else:
                ray.init(address=self.address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise RequestError(
                f"Ray: no cluster at {self.address!r} ({_first_line(error)}); expected 'local', "
                "'auto' or ray://HOST:PORT of one that runs (`ray start --head`)"
            ) from error

    def _answers(self, ray: Any, called: bytes, waiting: list[bytes]) -> Iterator[bytes]:
        """Pickled answers in order, block by block, each as soon as those before it are there."""
        blocks = min(len(waiting), _BLOCKS)
        with _settings(ray.data.DataContext.get_current()):
            rows = ray.data.from_items(
                [{"item": one} for one in waiting], override_num_blocks=blocks
            )
            mapped = rows.map_batches(
                _Actor,
                fn_constructor_args=(called,),
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=min(self._size(ray), blocks)),
                num_cpus=1,
                num_gpus=self.num_gpus or None,
                # Ray's own default starts an actor again for ever: one item that is too much for
                # the memory would never be told of.
                max_restarts=self.restarts,
                max_task_retries=self.restarts,
            )
        batches = mapped.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        for batch in batches:
            yield from batch["answer"].to_pylist()

    def _size(self, ray: Any) -> int:
        if self.num_workers:
            return self.num_workers
        there = ray.cluster_resources()
        least = [there.get("CPU", 1.0)]
        if self.num_gpus:
            least.append(there.get("GPU", 0.0) / self.num_gpus)
        return max(int(min(least)), 1)


@contextmanager
def _settings(context: Any) -> Iterator[None]:
    """Data sets that are made meanwhile answer in order, and write nothing on the screen."""
    options = context.execution_options
    before = context.enable_progress_bars, options.preserve_order
    context.enable_progress_bars, options.preserve_order = False, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Ray's, about Ray
            yield
    finally:
        context.enable_progress_bars, options.preserve_order = before


class _Actor:
    """What works: built once, then called with block after block of pickled items."""

    def __init__(self, called: bytes) -> None:
        build, self._work = pickle.loads(called)
        self._state: Any = None
        self._broken = b""
        try:
            self._state = build()
        except Exception as error:  # noqa: BLE001 - it is raised again where answers are awaited
            self._broken = _failed(error)

    def __call__(self, batch: Any) -> Any:
        import pyarrow

        answers = [self._broken or self._one(item) for item in batch["item"].to_pylist()]
        return pyarrow.table({"answer": pyarrow.array(answers, pyarrow.binary())})

    def _one(self, item: bytes) -> bytes:
        try:
            return pickle.dumps((True, self._work(self._state, pickle.loads(item))))
        except Exception as error:  # noqa: BLE001 - as above
            return _failed(error)


def _failed(error: Exception) -> bytes:
    try:
        pickle.loads(told := pickle.dumps((False, error)))
    except Exception:  # noqa: BLE001 - an error may hold what cannot be sent
        return pickle.dumps((False, WorkError(f"a worker failed ({_first_line(error)})")))
    return told


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:200]


def _ray() -> Any:
    """Ray, which tells nobody that it is used."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "CRITICAL")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise RequestError(
            f"Ray is not installed ({error}); run `pip install personae[ray]`, or leave --ray out"
        ) from error
    return ray
