"""A language model behind an address that speaks OpenAI's chat completions; stdlib only."""

from __future__ import annotations

import email.utils
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from email.message import Message as HeaderMessage
from http.client import HTTPException
from typing import Any, Never

from personae.errors import RequestError, WorkError
from personae.vision.language.text_model import Message

__all__ = ["KEY_VARIABLE", "EndpointModel", "Patience"]

KEY_VARIABLE = "PERSONAE_LLM_KEY"
"""The environment variable that holds the API key; the key is written nowhere else."""

_PATH = "/chat/completions"
_CHUNK = 65_536
_BUSY = 429
_HIDDEN = "***"


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long and how often an endpoint is asked.

    Attributes:
        timeout_seconds: of one question, its whole answer included.
        tries: questions until one is answered.
        wait_seconds: before the second; doubled before each further one.
        max_wait_seconds: between two, whatever the endpoint asks for.
        max_bytes: of an answer.
    """

    timeout_seconds: float = 60.0
    tries: int = 4
    wait_seconds: float = 1.0
    max_wait_seconds: float = 60.0
    max_bytes: int = 1_000_000


class _BusyError(Exception):
    """Not now; ``wait_seconds`` is what the endpoint asks for, where it does."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could carry the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class EndpointModel:
    """Any endpoint with OpenAI's ``POST URL/chat/completions``; the network is used when asked.

    429 and 5xx, no connection, silence and answers that are no JSON are tried again, with longer
    and longer pauses or the one that ``Retry-After`` asks for. Redirects are not followed. The key
    is read from ``PERSONAE_LLM_KEY`` with each question, and taken out of every message.

    Args:
        url: base, such as ``https://HOST/v1``.
        model: its name at the endpoint.
        max_tokens: of an answer.
        patience: how long and how often.
        sleep: waits so many seconds.

    Raises:
        RequestError: no http address, or one with a password or a query in it.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        max_tokens: int = 1024,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = _checked_url(url)
        self.name = f"{model} at {self._url.removesuffix(_PATH)}"
        self._model, self._max_tokens = model, max_tokens
        self._patience, self._sleep = patience or Patience(), sleep
        self._opener = urllib.request.build_opener(_NoRedirect)

    def complete(self, messages: Sequence[Message]) -> str:
        """The next turn, at temperature 0.

        Raises:
            WorkError: no answer after all tries.
            RequestError: the endpoint refuses the key, the model or the question.
        """
        patience, reason = self._patience, ""
        for number in range(patience.tries):
            try:
                return self._content(self._asked(messages))
            except _BusyError as error:
                reason = str(error)
                wait = error.wait_seconds
                if wait is None:
                    wait = patience.wait_seconds * 2**number
                if number + 1 < patience.tries:
                    self._sleep(min(wait, patience.max_wait_seconds))
        raise WorkError(
            f"{self.name}: no answer after {patience.tries} tries ({self._hidden(reason)}); "
            "is it running? the same command goes on where it stopped"
        )

    def _asked(self, messages: Sequence[Message]) -> bytes:
        body = {
            "model": self._model,
            "messages": [asdict(message) for message in messages],
            "temperature": 0,
            "max_tokens": self._max_tokens,
        }
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        key = os.environ.get(KEY_VARIABLE)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        deadline = time.monotonic() + self._patience.timeout_seconds
        try:
            with self._opener.open(request, timeout=self._patience.timeout_seconds) as answer:
                return self._read(answer, deadline)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error)
        except (OSError, HTTPException) as error:
            # Not "from error": what the standard library says of a header could hold the key.
            reason = getattr(error, "reason", None) or error
            raise _BusyError(f"{type(error).__name__}: {reason}") from None
        except ValueError:
            raise RequestError(f"{self.name}: {KEY_VARIABLE} cannot be sent in a header") from None

    def _read(self, answer: Any, deadline: float) -> bytes:
        """All of it, unless it is too long or too slow."""
        parts, length = [], 0
        while part := answer.read1(_CHUNK):
            parts.append(part)
            length += len(part)
            if length > self._patience.max_bytes:
                raise WorkError(
                    f"{self.name}: an answer of more than {self._patience.max_bytes} bytes; "
                    "expected a few hundred"
                )
            if time.monotonic() > deadline:
                raise _BusyError(f"no whole answer in {self._patience.timeout_seconds:g} s")
        if answer.length:
            raise _BusyError(f"an answer that breaks off {answer.length} bytes before its end")
        return b"".join(parts)

    def _refused(self, error: urllib.error.HTTPError) -> Never:
        if error.code == _BUSY or error.code >= 500:
            raise _BusyError(f"status {error.code}", _retry_after(error.headers)) from None
        try:
            told = error.read(500).decode("utf-8", "replace")
        except (OSError, HTTPException):
            told = ""
        raise RequestError(
            f"{self.name}: refused with status {error.code} ({self._hidden(_brief(told))}); check "
            f"the address, the model's name and the key in {KEY_VARIABLE}"
        ) from None

    def _content(self, body: bytes) -> str:
        """The text of the first choice; nothing where it has none."""
        try:
            content = json.loads(body)["choices"][0]["message"].get("content")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise _BusyError("an answer that is no chat completion") from None
        if content is not None and not isinstance(content, str):
            raise _BusyError("an answer whose content is no text")
        return content or ""

    def _hidden(self, text: str) -> str:
        key = os.environ.get(KEY_VARIABLE)
        return text.replace(key, _HIDDEN) if key else text


def _checked_url(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        odd = parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0
    except ValueError:
        raise RequestError("--llm-url: this is no address; expected https://HOST/v1") from None
    if odd:
        raise RequestError(
            f"--llm-url {parts.scheme}://...: expected an address such as https://HOST/v1"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise RequestError(
            "--llm-url: no name, password or query in the address; the key goes into "
            f"{KEY_VARIABLE}"
        )
    return url.rstrip("/").removesuffix(_PATH) + _PATH


def _retry_after(headers: HeaderMessage) -> float | None:
    """Seconds, from a number of them or from a date."""
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())


def _brief(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:197] + "..."
