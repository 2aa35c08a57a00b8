"""Clients of the reward server: a polite one, and one that writes what it likes."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from safetensors.torch import save

from tests.training.rewards.fakes import encoded, grey

Answer = tuple[int, dict[str, Any]]
JSON = "application/json"
TENSORS = "application/x-safetensors"


def coded(picture: np.ndarray) -> str:
    return base64.b64encode(encoded(picture)).decode()


def json_body(brightnesses: Sequence[int], **more: Any) -> bytes:
    """A good request about grey pictures."""
    data = {
        "pictures": [coded(grey(brightness)) for brightness in brightnesses],
        "references": {"ada": [coded(grey(100))]},
        **more,
    }
    return json.dumps(data).encode()


def tensor_body(tensors: Mapping[str, Any] | None = None, **about: Any) -> bytes:
    """A good request as safetensors, unless the tensors are not."""
    held = tensors or {
        "pictures": np.stack([grey(51), grey(102)]),
        "reference.*.ada.0": grey(100),
    }
    given = {name: torch.as_tensor(value).contiguous() for name, value in held.items()}
    return save(given, {name: json.dumps(value) for name, value in about.items()})


def ask(
    url: str,
    body: bytes | None = None,
    kind: str = JSON,
    *,
    path: str = "/v1/score",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own: status and JSON."""
    with closing(connect(url)) as connection:
        return ask_on(connection, body, kind, path=path, headers=headers)


def ask_on(
    connection: http.client.HTTPConnection,
    body: bytes | None = None,
    kind: str = JSON,
    *,
    path: str = "/v1/score",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    sent = {"Content-Type": kind, **(headers or {})} if body is not None else dict(headers or {})
    connection.request("GET" if body is None else "POST", path, body, sent)
    response = connection.getresponse()
    assert response.getheader("Content-Type") == JSON
    return response.status, json.loads(response.read())


def connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)


def write(url: str, *pieces: bytes, hang_up: bool = False) -> bytes:
    """Send bytes as they are, and read until the server hangs up."""
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), parts.port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        held = b""
        while piece := connection.recv(65536):
            held += piece
        return held


def head(length: object, *lines: str, path: str = "/v1/score") -> bytes:
    """The head of a request by hand."""
    told = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Type: {JSON}", *lines]
    if length is not None:
        told.append(f"Content-Length: {length}")
    return "\r\n".join([*told, "", ""]).encode()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for it."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if true():
            return
        pause.wait(0.02)
    raise AssertionError("it did not come about")
