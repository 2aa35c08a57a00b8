"""HTTP for strangers, on the standard library: who may come in, and how much, and for how long."""

from __future__ import annotations

import hmac
import io
import json
import logging
import math
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from personae.errors import DataError
from personae.training.rewards.desk import RefusedError
from personae.training.rewards.wire import Limits

__all__ = ["Door", "Http", "Request"]

_logger = logging.getLogger(__name__)

_PIECE_BYTES = 1 << 20
# A client that is refused while it still sends would lose the answer if we just hung up.
_LINGER_SECONDS = 1.0
_LONGEST_MESSAGE = 1000
_CROWDED = json.dumps({"error": "too many connections; try again later"}).encode()


class Request(Protocol):
    """What a route is given."""

    @property
    def kind(self) -> str:
        """The media type of the body, without parameters."""
        ...

    def body(self) -> bytes:
        """The whole body, read now.

        Raises:
            RefusedError: no length, a length that is wrong or too large, or not sent in time.
        """
        ...


Routes = Mapping[tuple[str, str], Callable[[Request], Mapping[str, object]]]


@dataclass(frozen=True)
class Door:
    """What is served, and to whom."""

    routes: Routes
    limits: Limits
    token: str | None = None


class Http(ThreadingHTTPServer):
    """A thread a connection, and no more of them than the limits say."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, door: Door) -> None:
        self.door = door
        self.serving = threading.Condition()
        self.num_serving = 0
        self._room = threading.BoundedSemaphore(door.limits.max_connections)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for it, or no room."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.settimeout(_LINGER_SECONDS)
            request.sendall(
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_CROWDED), _CROWDED)
            )
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, and make room again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def wait_idle(self, seconds: float) -> None:
        """Let answers that are on their way be sent."""
        with self.serving:
            self.serving.wait_for(lambda: not self.num_serving, seconds)

    def count(self, more: int) -> None:
        """One more request is served, or one less."""
        with self.serving:
            self.num_serving += more
            self.serving.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is its client's affair."""
        _logger.debug("a connection broke", exc_info=True)


class _Timed(io.RawIOBase):
    """Reads a socket up to a deadline, however slowly the other side drips."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """One connection: requests one after the other, until one of them is refused."""

    server: Http
    server_version, sys_version = "personae", ""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two small writes
    default_request_version = "HTTP/1.0"  # of a request that is too odd to name one

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._timed = _Timed(self.connection)
        self.rfile = io.BufferedReader(self._timed)

    def handle_one_request(self) -> None:
        self._unread = 0
        self._timed.deadline = time.monotonic() + self.server.door.limits.timeout_seconds
        super().handle_one_request()

    def do_GET(self) -> None:
        self._counted()

    def do_POST(self) -> None:
        self._counted()

    def _counted(self) -> None:
        self.server.count(1)
        try:
            self._serve()
        finally:
            self.server.count(-1)

    def _serve(self) -> None:
        try:
            self._unread = self._length()
            self._admit()
            answer = self._route()(self)
        except RefusedError as error:
            self._refuse(error.status, str(error))
        except DataError as error:
            self._refuse(400, str(error))
        except TimeoutError:
            self._refuse(408, "the request did not arrive in time")
        except Exception:
            _logger.exception("a request failed")
            self._refuse(500, "the server failed; its log says more")
        else:
            self._skip_body()
            self._answer(200, answer)

    @property
    def kind(self) -> str:
        """See `Request`."""
        return self.headers.get_content_type() if "Content-Type" in self.headers else ""

    def body(self) -> bytes:
        """See `Request`."""
        if "Content-Length" not in self.headers:
            raise RefusedError(411, "expected a Content-Length")
        limit, length = self.server.door.limits.max_bytes, self._unread
        if length > limit:
            raise RefusedError(413, f"a body of {length} bytes; expected at most {limit}")
        held = bytearray()
        while self._unread:
            piece = self.rfile.read(min(self._unread, _PIECE_BYTES))
            if not piece:
                raise RefusedError(400, f"the body ended after {len(held)} of {length} bytes")
            held += piece
            self._unread -= len(piece)
        return bytes(held)

    def _length(self) -> int:
        """Of the body, as the client says; 0 where it has none."""
        if "Transfer-Encoding" in self.headers:
            raise RefusedError(411, "Transfer-Encoding is not served; expected a Content-Length")
        told = set(self.headers.get_all("Content-Length", []))
        if not told:
            return 0
        text = told.pop()
        if told or not (text.isascii() and text.isdigit() and len(text) < 16):
            raise RefusedError(400, "expected one Content-Length, a number of bytes")
        return int(text)

    def _admit(self) -> None:
        token = self.server.door.token
        if token is None:
            return
        told = self.headers.get("Authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(told, b"Bearer " + token.encode()):
            raise RefusedError(401, "expected the header Authorization: Bearer TOKEN")

    def _route(self) -> Callable[[Request], Mapping[str, object]]:
        routes, path = self.server.door.routes, self.path.partition("?")[0]
        route = routes.get((self.command, path))
        if route is not None:
            return route
        methods = [method for method, known in routes if known == path]
        if methods:
            raise RefusedError(405, f"expected {' or '.join(methods)}")
        raise RefusedError(404, f"unknown path; known are {[known for _, known in routes]}")

    def _refuse(self, status: int, message: str) -> None:
        """Answer, and hang up once the client has had time to read it."""
        self.close_connection = True
        self._answer(status, {"error": message[:_LONGEST_MESSAGE]})
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self._timed.deadline = time.monotonic() + _LINGER_SECONDS
            while self.rfile.read1(_PIECE_BYTES):
                pass

    def _skip_body(self) -> None:
        """A body that no route wanted would be taken for the next request."""
        if self._unread:
            self.close_connection = True

    def _answer(self, status: int, data: Mapping[str, object]) -> None:
        content = json.dumps(data, allow_nan=False).encode()
        self.connection.settimeout(self.server.door.limits.timeout_seconds)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if status in (429, 503):
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses, in our form."""
        self._refuse(code, message or self.responses.get(code, ("error", ""))[0])

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged: their headers hold the token."""
