"""A language model behind an address that speaks OpenAI's chat completions; stdlib only."""

from __future__ import annotations

import base64
import email.utils
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message as HeaderMessage
from http.client import HTTPException
from typing import Any, Never

from personae.errors import RequestError, WorkError
from personae.vision.language.text_model import Message, RefusedError, Reply

__all__ = ["KEY_VARIABLE", "EndpointModel", "Patience"]

KEY_VARIABLE = "PERSONAE_LLM_KEY"
"""The environment variable that holds the API key; the key is written nowhere else."""

_PATH = "/chat/completions"
_CHUNK = 65_536
_BUSY = 429
_HIDDEN = "***"
# What is shorter is a placeholder of a local server ("x", "EMPTY"), and could be part of any word.
_LEAST_SECRET = 8
# Refusals of one question, by its content or its length; all others are about every question.
_ABOUT_THE_QUESTION = {400, 413, 415, 422, 451}


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
        temperature: 0 asks for the likeliest answer.
        patience: how long and how often.
        sleep: waits so many seconds.
        flag: how the user gave the address, for messages.

    Raises:
        RequestError: no http address, or one with a password or a query in it.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        max_tokens: int = 1024,
        temperature: float = 0.0,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        flag: str = "--llm-url",
    ) -> None:
        self._url = _checked_url(url, flag)
        self.name = f"{model} at {self._url.removesuffix(_PATH)}"
        self.max_tokens, self.temperature = max_tokens, temperature
        self._model = model
        self._patience, self._sleep = patience or Patience(), sleep
        self._opener = urllib.request.build_opener(_NoRedirect)

    def complete(self, messages: Sequence[Message]) -> str:
        """See `TextModel`."""
        return self.reply(messages).text

    def reply(
        self,
        messages: Sequence[Message],
        *,
        seed: int | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Reply:
        """See `SeeingModel`; seed and schema are sent where they are given.

        Raises:
            WorkError: no answer after all tries.
            RefusedError: the endpoint refuses this question.
            RequestError: the endpoint refuses the key or the model.
        """
        patience, reason = self._patience, ""
        for number in range(patience.tries):
            try:
                return self._read_reply(self._asked(messages, seed, schema))
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

    def _asked(
        self, messages: Sequence[Message], seed: int | None, schema: Mapping[str, Any] | None
    ) -> bytes:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [_turn(message) for message in messages],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        if seed is not None:
            body["seed"] = seed
        if schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": dict(schema), "strict": True},
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
        kind = RefusedError if error.code in _ABOUT_THE_QUESTION else RequestError
        raise kind(
            f"{self.name}: refused with status {error.code} ({self._hidden(_brief(told))}); check "
            f"the address, the model's name and the key in {KEY_VARIABLE}"
        ) from None

    def _read_reply(self, body: bytes) -> Reply:
        """The text of the first choice, nothing where it has none, and who says that it spoke."""
        try:
            data = json.loads(body)
            content = data["choices"][0]["message"].get("content")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise _BusyError("an answer that is no chat completion") from None
        if content is not None and not isinstance(content, str):
            raise _BusyError("an answer whose content is no text")
        served = data.get("model")
        return Reply(
            self._secret(content or ""),
            self._secret(_brief(served)) if isinstance(served, str) else None,
        )

    def _hidden(self, text: str) -> str:
        key = os.environ.get(KEY_VARIABLE)
        return text.replace(key, _HIDDEN) if key else text

    def _secret(self, text: str) -> str:
        """An answer without the key, should an endpoint echo it: answers are kept on disk."""
        return (
            self._hidden(text) if len(os.environ.get(KEY_VARIABLE, "")) >= _LEAST_SECRET else text
        )


def _turn(message: Message) -> dict[str, Any]:
    """A message as the endpoint wants it: plain text, or pictures and then the text."""
    if not message.pictures:
        return {"role": message.role, "content": message.content}
    parts: list[dict[str, Any]] = [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{base64.b64encode(item).decode()}"},
        }
        for item in message.pictures
    ]
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.content}]}


def _checked_url(url: str, flag: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        odd = parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0
    except ValueError:
        raise RequestError(f"{flag}: this is no address; expected https://HOST/v1") from None
    if odd:
        raise RequestError(
            f"{flag} {parts.scheme}://...: expected an address such as https://HOST/v1"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise RequestError(
            f"{flag}: no name, password or query in the address; the key goes into {KEY_VARIABLE}"
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
