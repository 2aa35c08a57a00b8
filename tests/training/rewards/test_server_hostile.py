"""Bad and hostile requests: each gets its status and a reason, and the next client its answer."""

from __future__ import annotations

import base64
import json
import pickle
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from safetensors.torch import save

from personae.training.rewards.server import RewardServer
from personae.training.rewards.wire import Limits
from tests.training.rewards.clients import (
    JSON,
    TENSORS,
    Answer,
    ask,
    coded,
    head,
    json_body,
    status_of,
    tensor_body,
    write,
)
from tests.training.rewards.fakes import Brightness, encoded, grey

LIMITS = Limits(
    max_bytes=100_000,
    max_pictures=4,
    max_references=5,
    max_pixels=100_000,
    timeout_seconds=1.0,
)


@pytest.fixture(scope="module")
def server() -> Iterator[RewardServer]:
    cpu = torch.device("cpu")
    with RewardServer(lambda device: Brightness(), [cpu], limits=LIMITS) as server:
        yield server


@pytest.fixture
def url(server: RewardServer) -> Iterator[str]:
    """Where it answers, and at the end it still does."""
    yield server.url
    status, told = ask(server.url, json_body([51]))
    assert (status, told["values"]) == (200, [pytest.approx(0.2)])


def refused(answer: Answer, status: int, words: str) -> None:
    told, data = answer
    assert (told, list(data)) == (status, ["error"]), data
    assert words in data["error"]
    assert "Traceback" not in data["error"]
    assert ".py" not in data["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "expected JSON"),
        (b"\x00\xff garbage", "expected JSON"),
        (b'{"pictures": [', "expected JSON"),
        (b"[" * 50_000, "nested too deep"),
        (b'{"a":' * 15_000, "nested too deep"),
        (b"9" * 50_000, "expected JSON"),
        (b'{"pictures": NaN}', "NaN is no JSON"),
        (b"[]", "expected a JSON object; got list"),
        (b"{}", "pictures: expected a list"),
        (json_body([]), "expected 1 to 4; got 0"),
        (json_body([1] * 5), "expected 1 to 4; got 5"),
        (json_body([1], prompt="a"), "unknown entries ['prompt']"),
        (json_body([1], references=None), "references: expected a JSON object"),
        (json_body([1], references={}), "at least one subject"),
        (json_body([1], references=[]), "0 entries for 1 pictures"),
        (json_body([1], references={"ada": []}), "at least one reference"),
        (json_body([1], references={"ada": coded(grey(1))}), "expected a list of base64 texts"),
        (json_body([1], references={"ada": [coded(grey(1))] * 6}), "expected at most 5"),
        (json_body([1], references={"ada": ["no base64!"]}), "references.ada[0]: expected base64"),
        (json_body([1], references={"ada": ["AAAA"]}), "expected the bytes of a PNG or JPEG"),
        (json_body([1], references={"ada": [7]}), "expected base64 text; got int 7"),
        (json_body([1], pictures=["\N{SNOWMAN}"]), "pictures[0]: expected base64"),
        (json_body([1], pictures=[coded(grey(1, 8))]), "at least 16 pixels a side"),
        (json_body([1], pictures=[coded(grey(1, 320))]), "expected at most 100000 pixels"),
        (json_body([1], pictures=[coded(grey(1, 200))] * 3), "pictures[2]: 200x200"),
        (json_body([1], pictures=[coded(grey(1))[:60]]), "pictures[0]: "),
        (json_body([1], nouns=["a", "b"]), "2 entries for 1 pictures"),
        (json_body([1], nouns={"eve": "woman"}), "['eve'] are no subjects"),
        (json_body([1], nouns={"ada": 3}), "nouns.ada: expected text"),
        (json_body([1], kinds={"ada": "ghost"}), "kinds.ada: expected one of"),
        (json_body([1], prompts=[3]), "prompts[0]: expected text"),
        (json_body([1], relations={"first": "ada"}), "relations.words: expected text"),
        (json_body([1], relations=["ada"]), "relations[0]: expected a JSON object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_json_that_is_wrong(url: str, body: bytes, words: str) -> None:
    refused(ask(url, body), 400, words)


def header(data: Any, rest: bytes = b"") -> bytes:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return struct.pack("<Q", len(text)) + text + rest


def tensor(start: int, end: int, shape: list[int], dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


PICTURES = np.stack([grey(1)])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "header does not fit"),
        (b"\x00" * 7, "header does not fit"),
        (b"\xff" * 64, "header does not fit"),
        (header(b"{"), "expected JSON"),
        (header([1]), "expected a JSON object"),
        (header({"pictures": 3}), "expected one of ('U8'"),
        (header({"pictures": tensor(0, 10**15, [10**15])}), "damaged safetensors"),
        (header({"pictures": tensor(0, 3, [2**40, 2**40, 2**40, 3])}, b"abc"), "damaged"),
        (header({"pictures": tensor(-1, 3, [1, 1, 1, 3])}, b"abc"), "damaged safetensors"),
        (header({"pictures": {**tensor(0, 3, [1, 1, 1, 3]), "dtype": "PICKLE"}}, b"abc"), "PICKLE"),
        (header({"__metadata__": {"nouns": 3}}), "expected texts as metadata"),
        (header({"__metadata__": {"nouns": "{"}}), "nouns: expected JSON"),
        (header({"__metadata__": {"code": "1"}}), "unknown entries ['code']"),
        (header({}), "expected a tensor 'pictures'"),
        (tensor_body({"pictures": torch.zeros(1, 16, 16, 3)}), "expected uint8 (B, H, W, 3)"),
        (tensor_body({"pictures": torch.zeros(3, 16, 16)}), "expected uint8 (B, H, W, 3)"),
        (tensor_body({"pictures": torch.zeros(0, 3, 16, 16)}), "expected 1 to 4; got 0"),
        (tensor_body({"pictures": torch.zeros(5, 3, 16, 16)}), "expected 1 to 4; got 5"),
        (tensor_body({"pictures": torch.zeros(1, 3, 0, 16)}), "at least 16 pixels"),
        (tensor_body({"pictures": torch.zeros(1, 3, 2, 2, dtype=torch.int64)}), "got I64"),
        (tensor_body({"pictures": PICTURES}), "at least one subject"),
        (tensor_body({"pictures": PICTURES, "reference.1.a.0": grey(1)}), "PICTURE is 0 to 0"),
        (tensor_body({"pictures": PICTURES, "reference.-1.a.0": grey(1)}), "PICTURE is 0 to 0"),
        (tensor_body({"pictures": PICTURES, "reference.0.a.x": grey(1)}), "PICTURE is 0 to 0"),
        (tensor_body({"pictures": PICTURES, "reference.0..0": grey(1)}), "PICTURE is 0 to 0"),
        (tensor_body({"pictures": PICTURES, "other": grey(1)}), "PICTURE is 0 to 0"),
        (tensor_body({"pictures": PICTURES, "reference.0.a.0": torch.zeros(16, 16, 3)}), "uint8"),
        (tensor_body({"pictures": PICTURES, "reference.0.a.0": grey(1, 3)}), "at least 16"),
        (tensor_body(nouns={"eve": "woman"}), "['eve'] are no subjects"),
        (tensor_body(prompts=["one"]), "1 entries for 2 pictures"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_safetensors_that_are_wrong(url: str, body: bytes, words: str) -> None:
    refused(ask(url, body, TENSORS), 400, words)


class Exploding:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "boom")


def test_a_pickle_is_never_opened(url: str, tmp_path: Path) -> None:
    path = tmp_path / "boom"
    body = pickle.dumps(Exploding(path))
    pickle.loads(body)
    assert path.exists()
    path.unlink()
    for kind in (JSON, TENSORS, "application/octet-stream"):
        refused(ask(url, body, kind), 400, "the")
    for kind in ("application/python-pickle", "text/plain", "multipart/form-data"):
        refused(ask(url, body, kind), 415, "Content-Type")
    hidden = header({"pictures": tensor(0, len(body), [len(body)])}, body)
    refused(ask(url, hidden, TENSORS), 400, "expected uint8")
    assert not path.exists()


def chunk(name: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


def png(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "bomb",
    [
        encoded(grey(0, 4000)),
        png(50_000, 50_000, b""),
        png(2**31 - 1, 2**31 - 1, b""),
        png(12_000, 8_000, b""),  # between Pillow's warning and its error
        png(0, 0, b""),
        png(300, 300, zlib.compress(b"\0" * 10_000_000)),
        png(300, 300, b"", chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 50_000_000))),
        png(300, 300, b"no zlib"),
        encoded(grey(9, 200), "JPEG")[:500],
    ],
    ids=["real", "huge", "largest", "warned", "none", "longer", "text", "damaged", "cut"],
)
def test_bombs_are_not_decoded(url: str, bomb: bytes) -> None:
    began = time.monotonic()
    text = base64.b64encode(bomb).decode()
    for body in (json_body([1], pictures=[text]), json_body([1], references={"ada": [text]})):
        status, told = ask(url, body)
        assert status in (200, 400), told  # data beyond the picture's end does no harm
        assert status == 400 or len(bomb) < 20_000
    assert time.monotonic() - began < 2


def test_too_large_and_lengths_that_lie(url: str) -> None:
    refused(ask(url, b"x" * 100_001), 413, "expected at most 100000")
    refused(ask(url, b"x" * 30_000_000), 413, "expected at most 100000")
    assert status_of(write(url, head(10**15 - 1))) == 413
    good = json_body([51])
    assert status_of(write(url, head(len(good) + 10) + good, hang_up=True)) == 400
    assert status_of(write(url, head(len(good) - 10) + good)) == 400
    assert status_of(write(url, head(0))) == 400
    for wrong in (-5, "+5", "5_0", "0x10", "", "5, 6", "9" * 40, "five"):
        assert status_of(write(url, head(wrong) + good)) == 400, wrong
    assert status_of(write(url, head(5, "Content-Length: 6") + good)) == 400
    assert status_of(write(url, head(None) + good)) == 411
    chunked = b"5\r\nhello\r\n0\r\n\r\n"
    assert status_of(write(url, head(None, "Transfer-Encoding: chunked") + chunked)) == 411
    assert status_of(write(url, head(5, "Transfer-Encoding: chunked") + chunked)) == 411


def test_slow_clients_are_not_waited_for(url: str) -> None:
    slow = [head(1000) + b"{", b"POST /v1/score HTTP/1.1\r\nHost:", b""]
    began = time.monotonic()
    with ThreadPoolExecutor(30) as pool:
        told = list(pool.map(write, [url] * 30, slow * 10))
    assert [status_of(answer) if answer else None for answer in told] == [408, None, None] * 10
    assert time.monotonic() - began < 6


def test_a_client_that_drips_is_cut_off(url: str) -> None:
    parts = urlsplit(url)
    began = time.monotonic()
    with socket.create_connection((str(parts.hostname), parts.port), timeout=20) as connection:
        connection.sendall(head(1000))
        with pytest.raises(OSError):  # broken pipe, or reset
            while time.monotonic() - began < 15:
                connection.sendall(b" ")
                time.sleep(0.05)
    assert time.monotonic() - began < 5


def test_paths_methods_and_lines(url: str) -> None:
    refused(ask(url, path="/"), 404, "unknown path")
    refused(ask(url, path="/v1/score/../../etc/passwd"), 404, "unknown path")
    refused(ask(url, path="/v1/score"), 405, "expected POST")
    refused(ask(url, b"{}", path="/v1/health"), 405, "expected GET")
    for line in (b"DELETE /v1/score HTTP/1.1", b"PUT / HTTP/1.1", b"OPTIONS * HTTP/1.1"):
        assert status_of(write(url, line + b"\r\nHost: here\r\n\r\n")) == 501
    assert status_of(write(url, b"GET / HTTP/9.9\r\n\r\n")) == 505
    assert b"error" in write(url, b"\x16\x03\x01\x02\x00 TLS?\r\n\r\n")
    assert status_of(write(url, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n")) == 414
    many = b"".join(b"X-%d: y\r\n" % number for number in range(200))
    assert status_of(write(url, b"GET / HTTP/1.1\r\n" + many + b"\r\n")) == 431


def test_clients_that_leave(url: str) -> None:
    parts = urlsplit(url)
    good = json_body([51])
    for sent in (b"", head(len(good))[:20], head(len(good)), head(len(good)) + good):
        for _ in range(5):
            with socket.create_connection((str(parts.hostname), parts.port)) as connection:
                linger = struct.pack("ii", 1, 0)  # hang up with a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.sendall(sent)


def test_names_of_tensors_do_not_matter(url: str) -> None:
    name = "reference.0." + "a" * 5000 + "\n\u2603.0"
    body = save({"pictures": torch.zeros(1, 3, 16, 16) + 0.5, name: torch.tensor(grey(1))})
    assert ask(url, body, TENSORS)[1]["values"] == [0.5]
