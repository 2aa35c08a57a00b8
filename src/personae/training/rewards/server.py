"""A reward behind HTTP, with the standard library only: ``personae serve``.

``POST /v1/score`` (see `personae.training.rewards.wire`), ``GET /v1/health``, ``GET /v1/rewards``.
Answers and errors are JSON; nothing that was sent is ever unpickled or run.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Self

import torch

from personae.errors import RequestError
from personae.training.rewards.asked import Reward
from personae.training.rewards.desk import Desk, RefusedError
from personae.training.rewards.door import Door, Http, Request
from personae.training.rewards.tensors import read_tensor_order
from personae.training.rewards.wire import Limits, Order, answers_json, read_json_order

__all__ = ["MIN_TOKEN_LENGTH", "RewardServer", "is_loopback", "worker_devices"]

MIN_TOKEN_LENGTH = 16
"""Characters; fewer are guessed too soon."""

_READERS: Mapping[str, Callable[[bytes, Limits], Order]] = {
    "application/json": read_json_order,
    "application/octet-stream": read_tensor_order,
    "application/x-safetensors": read_tensor_order,
}


class RewardServer:
    """A reward that answers over HTTP until it is closed.

    Args:
        factory: builds the reward of a device; called once a worker.
        devices: one worker each.
        host: where it listens; beyond loopback only with a token.
        port: 0 takes a free one.
        token: what clients send as ``Authorization: Bearer TOKEN``.
        limits: what requests may cost.
        about: more facts for ``GET /v1/rewards``.

    Raises:
        RequestError: no token where one is needed, one that is too short, a port that is taken.

    Example::

        with RewardServer(factory, [torch.device("cpu")]) as server:
            print(server.url)
    """

    def __init__(
        self,
        factory: Callable[[torch.device], Reward],
        devices: Sequence[torch.device],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        limits: Limits | None = None,
        about: Mapping[str, object] | None = None,
    ) -> None:
        _check_token(host, token)
        self._limits, self._about = limits or Limits(), dict(about or {})
        self._desk = Desk(
            factory,
            devices,
            max_waiting=self._limits.max_waiting,
            timeout_seconds=self._limits.timeout_seconds,
        )
        routes = {
            ("GET", "/v1/health"): self._health,
            ("GET", "/v1/rewards"): self._rewards,
            ("POST", "/v1/score"): self._score,
        }
        try:
            self._http = Http(host, port, Door(routes, self._limits, token))
        except OSError as error:
            raise RequestError(
                f"{host}:{port} cannot be listened on ({error.strerror or error}); "
                "choose another --port"
            ) from error
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), daemon=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self._http.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}"

    def start(self) -> None:
        """Build the rewards and begin to answer."""
        self._desk.start()
        self._thread.start()

    def close(self) -> None:
        """Take no more requests, let those that run end, give the port back."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._desk.close()
        self._http.wait_idle(1.0)
        self._http.server_close()

    def __enter__(self) -> Self:
        """Started, and closed at the end."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _health(self, request: Request) -> dict[str, object]:
        seen = self._desk.health()
        if not seen["workers"]:
            raise RefusedError(503, "no worker is left: all are over time")
        return {"status": "ok", **seen}

    def _rewards(self, request: Request) -> dict[str, object]:
        reward = {"name": self._desk.name, "differentiable": self._desk.differentiable}
        return {"rewards": [reward | self._about], "limits": asdict(self._limits)}

    def _score(self, request: Request) -> dict[str, object]:
        reader = _READERS.get(request.kind)
        if reader is None:
            raise RefusedError(
                415, f"Content-Type {request.kind!r}: expected one of {list(_READERS)}"
            )
        body = request.body()
        answers = self._desk.score(lambda: reader(body, self._limits))
        return answers_json(answers, self._desk.name)


def is_loopback(host: str) -> bool:
    """Can only this machine reach it?

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def worker_devices(device: torch.device | None = None) -> list[torch.device]:
    """The one device, or every GPU, or the CPU where there is none."""
    if device is not None:
        return [device]
    return [torch.device("cuda", place) for place in range(torch.cuda.device_count())] or [
        torch.device("cpu")
    ]


def _check_token(host: str, token: str | None) -> None:
    if token is None and not is_loopback(host):
        raise RequestError(
            f"--host {host}: others can reach it, so a token is needed; give --token-file FILE or "
            "PERSONAE_TOKEN, or listen on 127.0.0.1"
        )
    if token is not None and len(token) < MIN_TOKEN_LENGTH:
        raise RequestError(
            f"the token has {len(token)} characters; expected at least {MIN_TOKEN_LENGTH}"
        )
