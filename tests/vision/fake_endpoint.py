"""An endpoint of our own that says what it is told to, in time or not, in form or not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def chat(text, **more) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}], **more}).encode()


class Endpoint:
    """Answers with each of ``script`` in turn, the last one again and again: (status, headers,
    body), or a function of the handler, which finds what was asked in ``handler.asked``."""

    def __init__(self, *script, port: int = 0) -> None:
        self.script, self.asked = list(script), []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.asked = json.loads(body)
                endpoint.asked.append((self.path, dict(self.headers), self.asked))
                turn = min(len(endpoint.asked), len(endpoint.script)) - 1
                answer = endpoint.script[turn]
                if callable(answer):
                    answer(self)
                    return
                self.answer(*answer)

            def answer(self, status, headers, content) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@contextmanager
def serving(*script, port: int = 0) -> Iterator[Endpoint]:
    endpoint = Endpoint(*script, port=port)
    thread = threading.Thread(target=endpoint.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.server.shutdown()
        thread.join()
        endpoint.server.server_close()


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
