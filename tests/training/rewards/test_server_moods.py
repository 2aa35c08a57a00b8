"""A reward that fails, hangs or is too slow: its client is told, and the others go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from personae.training.rewards.server import RewardServer
from personae.training.rewards.wire import Limits
from tests.training.rewards.clients import ask, eventually, json_body
from tests.training.rewards.fakes import Moody

CPU = torch.device("cpu")


class Mood:
    """A server whose reward does what the prompt says, and the strings to pull."""

    def __init__(self, timeout_seconds: float, max_waiting: int = 8) -> None:
        self.release, self.begun = threading.Event(), threading.Semaphore(0)
        self.freed: set[str] = set()
        self.materials = threading.Event()  # without them nothing more is built
        self.materials.set()
        self.built = 0
        limits = Limits(timeout_seconds=timeout_seconds, max_waiting=max_waiting)
        self.server = RewardServer(self.build, [CPU], limits=limits)
        self.url = self.server.url

    def build(self, device: torch.device) -> Moody:
        self.materials.wait()
        self.built += 1
        return Moody(self.release, self.begun, self.freed)

    def ask(self, prompt: str = "") -> tuple[int, dict[str, object]]:
        return ask(self.url, json_body([51], prompts=prompt))


@pytest.fixture
def mood() -> Iterator[Callable[..., Mood]]:
    made: list[Mood] = []

    def make(timeout_seconds: float, max_waiting: int = 8) -> Mood:
        made.append(Mood(timeout_seconds, max_waiting))
        made[-1].server.start()
        return made[-1]

    yield make
    for one in made:
        one.release.set()
        one.materials.set()
        one.server.close()


def test_rewards_that_fail_and_the_next_request(mood: Callable[..., Mood]) -> None:
    one = mood(10)
    status, told = one.ask("raise")
    assert status == 500
    assert "ValueError" in str(told["error"])
    assert "secret" not in str(told)
    assert one.ask("complain") == (422, {"error": "this reference is of no use"})
    assert one.ask("leave")[0] == 500
    assert one.ask()[0] == 200
    assert one.built == 1


def test_a_reward_that_hangs_is_replaced(mood: Callable[..., Mood]) -> None:
    one = mood(0.8)
    assert one.ask("hang") == (504, {"error": "the reward took more than 0.8 seconds"})
    assert one.ask()[0] == 200
    assert one.built == 2
    assert ask(one.url, path="/v1/health")[1] == {
        "status": "ok",
        "workers": 1,
        "stuck": 1,
        "waiting": 0,
    }
    assert [one.ask("hang")[0] for _ in range(2)] == [504, 504]
    status, told = one.ask()
    assert (status, told["error"]) == (503, "no worker is left: all are over time; try again later")
    assert ask(one.url, path="/v1/health")[0] == 503
    one.release.set()  # whose place was taken go; the last one stays, and nothing is built
    eventually(lambda: ask(one.url, path="/v1/health")[1].get("stuck") == 0)
    assert one.ask()[0] == 200
    assert one.built == 3


def test_the_last_one_is_replaced_when_another_comes_back(mood: Callable[..., Mood]) -> None:
    one = mood(0.8)
    assert [one.ask(f"hang {key}")[0] for key in "abc"] == [504, 504, 504]
    assert one.ask()[0] == 503
    one.freed.add("hang a")
    eventually(lambda: one.ask()[0] == 200)
    assert one.built == 4
    one.release.set()
    eventually(lambda: ask(one.url, path="/v1/health")[1].get("stuck") == 0)
    assert ask(one.url, path="/v1/health")[1]["workers"] == 1
    assert one.ask()[0] == 200
    assert one.built == 4


def test_a_queue_that_is_full(mood: Callable[..., Mood]) -> None:
    one = mood(20, max_waiting=2)
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(one.ask, "hang")]
        assert one.begun.acquire(timeout=10)
        running += [pool.submit(one.ask) for _ in range(2)]
        eventually(lambda: ask(one.url, path="/v1/health")[1]["waiting"] == 2)
        assert one.ask() == (429, {"error": "the queue is full; try again later"})
        one.release.set()
        assert [done.result()[0] for done in running] == [200, 200, 200]
    assert one.ask()[0] == 200


def test_waiting_has_an_end_too(mood: Callable[..., Mood]) -> None:
    one = mood(0.8)
    one.materials.clear()  # or else the new worker may be in time for the second
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.ask, "hang")
        assert one.begun.acquire(timeout=10)
        second = pool.submit(one.ask)
        assert first.result()[0] == 504
        assert second.result() == (503, {"error": "no worker was free within 0.8 seconds"})
    one.materials.set()
    eventually(lambda: one.ask()[0] == 200)


def test_closing_lets_the_running_end_and_refuses_the_waiting() -> None:
    one = Mood(10)
    one.server.start()
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(one.ask, "hang")
        assert one.begun.acquire(timeout=10)
        waiting = pool.submit(one.ask)
        eventually(lambda: ask(one.url, path="/v1/health")[1]["waiting"] == 1)
        closed = pool.submit(one.server.close)
        assert waiting.result() == (503, {"error": "the server is shutting down"})
        one.release.set()
        assert running.result()[0] == 200
        closed.result()
    with pytest.raises(ConnectionError):
        one.ask()
