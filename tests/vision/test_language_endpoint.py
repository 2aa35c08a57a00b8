"""An endpoint that misbehaves in the ways that real ones do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from personae.errors import RequestError, WorkError
from personae.vision.language import KEY_VARIABLE, EndpointModel, Message
from personae.vision.language.endpoint import Patience

KEY = "sk-very-secret-key-0123456789"
TALK = [Message("system", "Plan."), Message("user", "Where?")]
QUICK = Patience(timeout_seconds=5, wait_seconds=1, max_wait_seconds=30)


def chat(text) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


class Endpoint:
    """Answers with each of ``script`` in turn, the last one again and again: (status, headers,
    body), or a function of the handler."""

    def __init__(self, *script) -> None:
        self.script, self.asked = list(script), []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.asked.append((self.path, dict(self.headers), json.loads(body)))
                turn = min(len(endpoint.asked), len(endpoint.script)) - 1
                answer = endpoint.script[turn]
                if callable(answer):
                    answer(self)
                    return
                status, headers, content = answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@contextmanager
def serving(*script) -> Iterator[Endpoint]:
    endpoint = Endpoint(*script)
    thread = threading.Thread(target=endpoint.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.server.shutdown()
        thread.join()
        endpoint.server.server_close()


def asked(endpoint: Endpoint, patience: Patience = QUICK) -> tuple[str | Exception, list[float]]:
    waits: list[float] = []
    try:
        model = EndpointModel(endpoint.url, "planner-1", patience=patience, sleep=waits.append)
        return model.complete(TALK), waits
    except (WorkError, RequestError) as error:
        return error, waits


@pytest.fixture(autouse=True)
def key(monkeypatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_talk_is_sent_as_openai_wants_it_with_the_key_in_its_header() -> None:
    with serving((200, {}, chat("Here."))) as endpoint:
        assert asked(endpoint) == ("Here.", [])
    path, headers, body = endpoint.asked[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body["model"] == "planner-1"
    assert body["temperature"] == 0
    assert body["messages"] == [
        {"role": "system", "content": "Plan."},
        {"role": "user", "content": "Where?"},
    ]


def test_without_a_key_no_header_is_sent(monkeypatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    with serving((200, {}, chat("Here."))) as endpoint:
        assert asked(endpoint)[0] == "Here."
    assert "Authorization" not in endpoint.asked[0][1]


def test_a_busy_endpoint_is_waited_for_as_long_as_it_asks() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    busy = [(429, {"Retry-After": text}, b"") for text in ("7", later, "86400")]
    with serving(*busy, (200, {}, chat("Now."))) as endpoint:
        found, waits = asked(endpoint)
    assert found == "Now."
    assert waits == [7, pytest.approx(20, abs=2), 30]


@pytest.mark.parametrize(
    "bad",
    [
        (500, {}, b"oops"),
        (503, {}, b""),
        (429, {"Retry-After": "soon"}, b""),
        (200, {}, b'{"choices": [{"mess'),
        (200, {}, b""),
        (200, {}, b"<html>gateway</html>"),
        (200, {}, b"[]"),
        (200, {}, b'{"choices": []}'),
        (200, {}, chat(["a", "list"])),
        (200, {"Content-Length": "5000"}, chat("cut off")),
        lambda handler: handler.connection.close(),
        lambda handler: handler.wfile.write(b"this is not HTTP\r\n\r\n"),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again_and_then_given_up(bad) -> None:
    with serving(bad, (200, {}, chat("Now."))) as endpoint:
        patience = Patience(timeout_seconds=1, wait_seconds=1)
        assert asked(endpoint, patience) == ("Now.", [1])
    with serving(bad) as endpoint:
        found, waits = asked(endpoint, Patience(timeout_seconds=1, wait_seconds=1))
    assert isinstance(found, WorkError)
    assert "no answer after 4 tries" in str(found)
    assert "planner-1" in str(found)
    assert waits == [1, 2, 4]
    assert len(endpoint.asked) == 4


def silent(handler) -> None:
    time.sleep(1.0)


def dripping(handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(40):
        try:
            handler.wfile.write(b" ")
        except OSError:
            return
        time.sleep(0.05)


@pytest.mark.parametrize("slow", [silent, dripping])
def test_silence_and_an_answer_that_drips_are_cut_short(slow) -> None:
    with serving(slow) as endpoint:
        start = time.monotonic()
        found, _ = asked(endpoint, Patience(timeout_seconds=0.2, tries=2))
        assert time.monotonic() - start < 2
    assert isinstance(found, WorkError)


def test_nobody_there_is_said() -> None:
    with serving((200, {}, b"")) as endpoint:
        pass
    found, waits = asked(endpoint)
    assert isinstance(found, WorkError)
    assert "is it running?" in str(found)
    assert len(waits) == 3


def test_a_huge_answer_is_not_read_to_its_end() -> None:
    with serving((200, {}, chat("x" * 300_000))) as endpoint:
        found, _ = asked(endpoint, Patience(max_bytes=100_000))
    assert isinstance(found, WorkError)
    assert "more than 100000 bytes" in str(found)


def test_an_empty_content_is_an_empty_text() -> None:
    for content in (None, ""):
        with serving((200, {}, chat(content))) as endpoint:
            assert asked(endpoint)[0] == ""


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_tried_again_and_never_shows_the_key(status: int) -> None:
    body = f"Incorrect API key provided: {KEY}".encode()
    with serving((status, {}, body)) as endpoint:
        found, waits = asked(endpoint)
    assert isinstance(found, RequestError)
    assert f"status {status}" in str(found)
    assert "Incorrect API key provided: ***" in str(found)
    assert waits == []
    assert KEY not in repr(found) + str(found.__cause__) + str(found.__context__)


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with (
        serving((200, {}, chat("Stolen."))) as other,
        serving((307, {"Location": other.url + "/chat/completions"}, b"")) as endpoint,
    ):
        found, _ = asked(endpoint)
        assert isinstance(found, RequestError)
        assert other.asked == []


def test_a_key_that_is_no_header_is_refused_without_showing_it(monkeypatch) -> None:
    with serving((200, {}, chat("Here."))) as endpoint:
        for wrong in (f"{KEY}\nX-Other: 1", f"{KEY}\u20ac"):
            monkeypatch.setenv(KEY_VARIABLE, wrong)
            found, _ = asked(endpoint)
            assert isinstance(found, RequestError)
            assert KEY not in str(found)
    assert endpoint.asked == []


@pytest.mark.parametrize(
    "url",
    ["", "example.org/v1", "ftp://example.org", "https://", "https://me:pw@example.org/v1",
     "https://example.org/v1?key=abc", "https://[::1"],
)  # fmt: skip
def test_a_wrong_address_is_refused_before_any_question(url: str) -> None:
    with pytest.raises(RequestError, match="--llm-url") as caught:
        EndpointModel(url, "m")
    assert "pw" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_the_name_says_where_and_what_but_no_key() -> None:
    for url in ("https://example.org/v1", "https://example.org/v1/chat/completions"):
        assert EndpointModel(url, "m").name == "m at https://example.org/v1"
