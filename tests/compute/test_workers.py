"""Serial and processes give the same answers in the same order."""

from __future__ import annotations

import os
import time

import pytest
import torch

from personae.compute.device import choose_device
from personae.compute.workers import Processes, Serial, make_workers
from personae.errors import RequestError, WorkError


def build() -> int:
    return 10


def work(state: int, item: int) -> int:
    time.sleep(0.02 if item % 3 == 0 else 0)
    return state * item


def die(state: int, item: int) -> int:
    if item == 2:
        os._exit(9)
    return item


def test_processes_answer_like_serial_in_order() -> None:
    expected = list(Serial().map(build, work, range(20)))
    assert expected == [10 * item for item in range(20)]
    assert list(Processes(2).map(build, work, range(20))) == expected


def test_a_worker_that_dies_is_told_of() -> None:
    with pytest.raises(WorkError, match="worker process died"):
        list(Processes(1).map(build, die, range(4)))


def test_items_are_taken_only_as_they_are_needed() -> None:
    taken = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    answers = Processes(1).map(build, work, items())
    assert next(answers) == 0
    assert len(taken) <= 8
    answers.close()


def test_one_worker_is_serial() -> None:
    assert isinstance(make_workers(1), Serial)
    with pytest.raises(RequestError, match="at least one"):
        Processes(-1)


def test_devices_by_name() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type in {"cpu", "cuda"}
    with pytest.raises(RequestError, match="cannot be used"):
        choose_device("abacus")
