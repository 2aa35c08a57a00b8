"""An endpoint that misbehaves in the ways that real ones do."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from personae.errors import RequestError, WorkError
from personae.vision.language import KEY_VARIABLE, EndpointModel, Message, RefusedError, Reply
from personae.vision.language.endpoint import Patience
from tests.vision.fake_endpoint import Endpoint, chat, dripping, serving, silent

KEY = "sk-very-secret-key-0123456789"
TALK = [Message("system", "Plan."), Message("user", "Where?")]
QUICK = Patience(timeout_seconds=5, wait_seconds=1, max_wait_seconds=30)


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


def test_pictures_stand_before_the_words_as_data_urls_and_may_have_a_seed_and_a_schema() -> None:
    talk = [Message("system", "Judge."), Message("user", "What is it?", (b"first", b"second"))]
    schema = {"type": "object", "properties": {}}
    with serving((200, {}, chat("A cat.", model="judge-7b-awq"))) as endpoint:
        model = EndpointModel(endpoint.url, "judge-7b", temperature=0.2, max_tokens=77)
        assert model.reply(talk, seed=5, schema=schema) == Reply("A cat.", "judge-7b-awq")
    body = endpoint.asked[0][2]
    assert body["messages"][0] == {"role": "system", "content": "Judge."}
    parts = body["messages"][1]["content"]
    assert [part["type"] for part in parts] == ["image_url", "image_url", "text"]
    urls = [part["image_url"]["url"] for part in parts[:2]]
    assert urls == ["data:image/png;base64,Zmlyc3Q=", "data:image/png;base64,c2Vjb25k"]
    assert parts[2]["text"] == "What is it?"
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.2, 77, 5)
    assert body["response_format"]["json_schema"]["schema"] == schema


def test_without_a_seed_or_a_schema_neither_is_sent() -> None:
    with serving((200, {}, chat("Here."))) as endpoint:
        assert asked(endpoint)[0] == "Here."
    assert not {"seed", "response_format"} & set(endpoint.asked[0][2])


@pytest.mark.parametrize(("status", "one_question"), [(400, True), (413, True), (422, True),
                                                      (401, False), (404, False)])  # fmt: skip
def test_a_refusal_says_whether_it_is_of_this_question_alone(status, one_question) -> None:
    with serving((status, {}, b"no")) as endpoint:
        found, _ = asked(endpoint)
    assert isinstance(found, RefusedError) == one_question


def test_a_key_that_is_echoed_is_taken_out_of_the_answer_but_a_placeholder_is_no_key(
    monkeypatch,
) -> None:
    with serving((200, {}, chat(f"You sent {KEY}.", model=KEY))) as endpoint:
        reply = EndpointModel(endpoint.url, "m").reply(TALK)
        assert reply == Reply("You sent ***.", "***")
        monkeypatch.setenv(KEY_VARIABLE, "e")
        assert EndpointModel(endpoint.url, "m").reply(TALK).text == f"You sent {KEY}."
