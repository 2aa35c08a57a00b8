"""The reward server: right answers to the right client, whatever the others do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
import torch

from personae.errors import RequestError, WeightsError
from personae.training.rewards.server import RewardServer, is_loopback, worker_devices
from personae.training.rewards.wire import Limits
from tests.training.rewards.clients import (
    TENSORS,
    ask,
    ask_on,
    coded,
    connect,
    eventually,
    head,
    json_body,
    status_of,
    tensor_body,
    write,
)
from tests.training.rewards.fakes import Brightness, grey

CPU = torch.device("cpu")
TOKEN = "a-token-long-enough"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    limits = Limits(max_waiting=256)
    with RewardServer(lambda device: Brightness(), [CPU], limits=limits) as server:
        yield server.url


def test_json_and_safetensors(url: str) -> None:
    relation = {"first": "ada", "words": "left of", "second": "ben"}
    cast = {"ada": [coded(grey(10)), coded(grey(20))], "ben": [coded(grey(30))]}
    body = json_body([51, 0], references=[cast, {"ben": [coded(grey(40))]}], prompts="two of them")
    status, told = ask(url, body)
    assert status == 200
    assert told["values"] == [pytest.approx(0.2), None]
    assert told["reasons"] == [None, "too dark"]
    assert told["parts"] == {"subjects": [2.0, 1.0], "photo": [10.0, 40.0], "nothing": [None, None]}
    assert told["reward"] == "brightness"
    about = json_body([51], references=cast, relations=relation, nouns=[{"ada": "woman"}])
    assert ask(url, about)[0] == 200
    tensors = {
        "pictures": torch.full((2, 3, 20, 24), 0.25),
        "reference.*.ada.0": grey(10),
        "reference.1.b.e.n.1": grey(30),
        "reference.1.b.e.n.0": grey(40),
    }
    status, told = ask(url, tensor_body(tensors, kinds={"ada": "person"}), TENSORS)
    assert (status, told["values"]) == (200, [0.25, 0.25])
    assert told["parts"]["subjects"] == [1.0, 2.0]
    assert ask(url, tensor_body(), "application/octet-stream")[1]["values"] == [
        pytest.approx(0.2),
        pytest.approx(0.4),
    ]


def test_pixels_that_are_no_numbers_are_unmeasured(url: str) -> None:
    pictures = torch.full((3, 3, 16, 16), 0.5, dtype=torch.float16)
    pictures[1, 1, 2, 3] = torch.nan
    status, told = ask(
        url, tensor_body({"pictures": pictures, "reference.*.a.0": grey(1)}), TENSORS
    )
    assert (status, told["values"]) == (200, [0.5, None, 0.5])
    assert "no finite numbers" in told["reasons"][1]


def test_health_and_rewards(url: str) -> None:
    assert ask(url, path="/v1/health") == (
        200,
        {"status": "ok", "workers": 1, "stuck": 0, "waiting": 0},
    )
    status, told = ask(url, path="/v1/rewards?all")
    assert status == 200
    assert told["rewards"] == [{"name": "brightness", "differentiable": True}]
    assert told["limits"]["max_pictures"] == 64


def test_many_requests_on_one_connection(url: str) -> None:
    with closing(connect(url)) as connection:
        for brightness in (10, 20, 30):
            assert ask_on(connection, json_body([brightness]))[1]["values"] == [
                pytest.approx(brightness / 255)
            ]
            assert ask_on(connection, path="/v1/health")[0] == 200


def test_every_client_gets_its_own_answer(url: str) -> None:
    def client(number: int) -> None:
        chance = np.random.default_rng(number)
        with closing(connect(url)) as connection:
            for _ in range(5):
                wanted = chance.integers(1, 256, chance.integers(1, 5)).tolist()
                photo = int(chance.integers(0, 256))
                if chance.random() < 0.5:
                    cast = {f"s{number}": [coded(grey(photo))]}
                    status, told = ask_on(connection, json_body(wanted, references=cast))
                else:
                    tensors = {
                        "pictures": np.stack([grey(one) for one in wanted]),
                        f"reference.*.s{number}.0": grey(photo),
                    }
                    status, told = ask_on(connection, tensor_body(tensors), TENSORS)
                assert status == 200, told
                assert told["values"] == [pytest.approx(one / 255) for one in wanted]
                assert told["parts"]["photo"] == [photo] * len(wanted)

    with ThreadPoolExecutor(48) as pool:
        for done in [pool.submit(client, number) for number in range(48)]:
            done.result()


def test_connections_have_an_end() -> None:
    limits = Limits(max_connections=2)
    with (
        RewardServer(lambda device: Brightness(), [CPU], limits=limits) as server,
        closing(connect(server.url)) as first,
        closing(connect(server.url)) as second,
    ):
        assert ask_on(first, json_body([51]))[0] == ask_on(second, json_body([51]))[0] == 200
        assert b"too many connections" in write(server.url)
        first.close()
        eventually(lambda: b"too many" not in write(server.url, head(0, "Connection: close")))
        assert ask_on(second, json_body([51]))[0] == 200


def test_tokens() -> None:
    with RewardServer(lambda device: Brightness(), [CPU], token=TOKEN) as server:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert ask(server.url, json_body([51]), headers=bearer)[0] == 200
        assert ask(server.url, path="/v1/health", headers=bearer)[0] == 200
        for wrong in (None, TOKEN, f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", "Bearer \xe9"):
            headers = {} if wrong is None else {"Authorization": wrong}
            for body in (json_body([51]), None):
                status, told = ask(server.url, body, path="/v1/nowhere", headers=headers)
                assert (status, list(told)) == (401, ["error"])
                assert TOKEN not in str(told)
        assert status_of(write(server.url, head(10**9))) == 401
        assert ask(server.url, json_body([51]), headers=bearer)[0] == 200


def test_what_cannot_be_served() -> None:
    with pytest.raises(RequestError, match="a token is needed"):
        RewardServer(lambda device: Brightness(), [CPU], host="0.0.0.0")
    with pytest.raises(RequestError, match="3 characters"):
        RewardServer(lambda device: Brightness(), [CPU], token="abc")
    assert [is_loopback(name) for name in ("::1", "127.8.8.8", "10.0.0.1", "here")] == [
        True,
        True,
        False,
        False,
    ]
    assert worker_devices(CPU) == [CPU]

    def lacking(device: torch.device) -> Brightness:
        raise WeightsError("no such weights")

    with pytest.raises(WeightsError), RewardServer(lacking, [CPU]):
        pass
    with RewardServer(lambda device: Brightness(), [CPU]) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(RequestError, match="cannot be listened on"):
            RewardServer(lambda device: Brightness(), [CPU], port=port)


def test_each_device_has_a_worker_and_a_reward() -> None:
    meeting = threading.Barrier(2, timeout=10)

    class Meeting(Brightness):
        def __call__(self, *arguments: object) -> object:
            meeting.wait()
            return super().__call__(*arguments)  # type: ignore[arg-type]

    built: list[Meeting] = []

    def build(device: torch.device) -> Meeting:
        built.append(Meeting())
        return built[-1]

    devices = [CPU, torch.device("cpu", 0)]
    with RewardServer(build, devices) as server, ThreadPoolExecutor(2) as pool:  # type: ignore[arg-type]
        both = [pool.submit(ask, server.url, json_body([51])) for _ in range(2)]
        assert [done.result()[0] for done in both] == [200, 200]
    assert [reward.batches for reward in built] == [[1], [1]]
