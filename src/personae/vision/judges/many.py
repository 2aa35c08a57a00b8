"""Many questions: asked in threads, answered in order, stopped without waiting."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from personae.errors import RequestError
from personae.vision.judges.judgement import Judgement, QuestionJudge
from personae.vision.judges.question import Question

__all__ = ["judge_many"]

_WAITING_PER_THREAD = 2


def judge_many(
    judge: QuestionJudge,
    questions: Iterable[Question],
    *,
    repeats: int = 1,
    num_threads: int | None = None,
) -> Iterator[tuple[Judgement, ...]]:
    """For each question, in their order, what the judge says the first to the ``repeats``-th time.

    Questions are taken as they are needed, so that few pictures are in memory at once. An error of
    the judge comes where its question is; what was answered before it, and what was on its way, is
    in the cache of a `KeptJudge`. Ctrl-C, or leaving the loop, asks nothing more and waits for
    nobody.

    Args:
        judge: who is asked.
        questions: what.
        repeats: how often the same.
        num_threads: how many ask at once; None is as many as the judge stands.

    Raises:
        RequestError: no repeat or no thread.
    """
    threads = judge.num_threads if num_threads is None else num_threads
    if repeats < 1 or threads < 1:
        raise RequestError(
            f"judge: expected at least 1 repeat and 1 thread; got {repeats} and {threads}"
        )
    if threads == 1:
        return _one_by_one(judge, questions, repeats)
    return _at_once(judge, questions, repeats, threads)


def _one_by_one(
    judge: QuestionJudge, questions: Iterable[Question], repeats: int
) -> Iterator[tuple[Judgement, ...]]:
    for question in questions:
        yield tuple(judge.judge(question, repeat) for repeat in range(repeats))


def _at_once(
    judge: QuestionJudge, questions: Iterable[Question], repeats: int, num_threads: int
) -> Iterator[tuple[Judgement, ...]]:
    askers = _Askers(judge, num_threads)
    waiting: deque[list[Future[Judgement]]] = deque()
    try:
        for question in questions:
            waiting.append([askers.ask(question, repeat) for repeat in range(repeats)])
            if len(waiting) >= _WAITING_PER_THREAD * num_threads:
                yield _answered(waiting.popleft())
        while waiting:
            yield _answered(waiting.popleft())
    finally:
        askers.stop()


def _answered(answers: list[Future[Judgement]]) -> tuple[Judgement, ...]:
    return tuple(answer.result() for answer in answers)


class _Askers:
    """Daemon threads, unlike those of an executor: the program's end does not wait for them."""

    def __init__(self, judge: QuestionJudge, num_threads: int) -> None:
        self._judge, self._num_threads, self._stopped = judge, num_threads, threading.Event()
        self._queue: queue.SimpleQueue[tuple[Future[Judgement], Question, int] | None]
        self._queue = queue.SimpleQueue()
        for _ in range(num_threads):
            threading.Thread(target=self._work, daemon=True, name="judge").start()

    def ask(self, question: Question, repeat: int) -> Future[Judgement]:
        future: Future[Judgement] = Future()
        self._queue.put((future, question, repeat))
        return future

    def stop(self) -> None:
        self._stopped.set()
        for _ in range(self._num_threads):
            self._queue.put(None)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            future, question, repeat = item
            if self._stopped.is_set():
                future.cancel()
                continue
            try:
                future.set_result(self._judge.judge(question, repeat))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                future.set_exception(error)
