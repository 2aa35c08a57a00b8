"""Judging through an endpoint that misbehaves in the ways that real ones do."""

from __future__ import annotations

import base64
import json
import threading
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from personae.errors import RequestError
from personae.vision.judges import Asking, KeptJudge, ModelJudge, judge_many
from personae.vision.language import KEY_VARIABLE, EndpointModel, Patience
from tests.vision.fake_endpoint import chat, dripping, serving, silent
from tests.vision.judged import REFERENCES, question

KEY = "sk-very-secret-key-0123456789"
GOOD = (200, {}, chat('{"reasoning": "All there.", "score": 9}', model="judge-7b-awq"))


@pytest.fixture(autouse=True)
def key(monkeypatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def judge_at(endpoint, waits=None, **asking):
    patience = Patience(timeout_seconds=0.4, tries=3, wait_seconds=1, max_wait_seconds=30)
    sleep = (lambda _: None) if waits is None else waits.append
    model = EndpointModel(endpoint.url, "judge-7b", patience=patience, sleep=sleep)
    return ModelJudge(model, Asking(**asking))


WAYS = {
    "500": (500, {}, b"oops"),
    "502 page": (502, {}, b"<html>Bad Gateway</html>"),
    "rate limit": (429, {"Retry-After": "2"}, b""),
    "silence": silent,
    "drips": dripping,
    "hangs up": lambda handler: handler.connection.close(),
    "half a body": (200, {"Content-Length": "900"}, GOOD[2]),
    "half JSON around": (200, {}, GOOD[2][:-9]),
    "no choice": (200, {}, b'{"choices": []}'),
    "error with status 200": (200, {}, b'{"error": {"message": "overloaded"}}'),
    "half JSON": (200, {}, chat('{"reasoning": "All the')),
    "prose": (200, {}, chat("I would give this picture a 9 out of 10.")),
    "published form": (200, {}, chat("[Thought]: fine [Score]: 9")),
    "wrong range": (200, {}, chat('{"score": 95}')),
    "negative": (200, {}, chat('{"score": -1}')),
    "text for a number": (200, {}, chat('{"score": "9"}')),
    "two objects": (200, {}, chat('{"score": 9} {"score": 8}')),
    "nothing": (200, {}, chat(None)),
    "a refusal in words": (200, {}, chat("I'm sorry, I can't help with that.")),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_passes_is_waited_for(way: str) -> None:
    with serving(WAYS[way], GOOD) as endpoint:
        said = judge_at(endpoint).judge(question())
    assert (said.value, said.reasoning, said.served) == (9.0, "All there.", "judge-7b-awq")


@pytest.mark.parametrize("way", WAYS)
def test_what_stays_is_missing_with_its_reason_and_not_kept(way: str, tmp_path) -> None:
    with serving(WAYS[way]) as endpoint:
        said = KeptJudge(judge_at(endpoint), tmp_path).judge(question())
    assert said.value is None
    assert "judge-7b" in said.reason
    assert len(endpoint.asked) == 3
    assert not list(tmp_path.rglob("*.json"))


def test_rate_limits_are_waited_for_as_asked_and_within_bounds() -> None:
    waits: list[float] = []
    limits = [(429, {"Retry-After": text}, b"") for text in ("7", "99999")]
    with serving(*limits, GOOD) as endpoint:
        assert judge_at(endpoint, waits).judge(question()).value == 9.0
    assert waits == [7, 30]


def test_a_refused_picture_is_missing_and_a_refused_key_stops() -> None:
    with serving((400, {}, b"image too large"), GOOD) as endpoint:
        judge = judge_at(endpoint)
        assert "image too large" in judge.judge(question()).reason
        assert judge.judge(question()).value == 9.0
    with serving((401, {}, b"who are you?")) as endpoint, pytest.raises(RequestError, match="401"):
        judge_at(endpoint).judge(question())


def test_pictures_arrive_as_they_are() -> None:
    asked = question(references=REFERENCES)
    with serving(GOOD) as endpoint:
        judge_at(endpoint).judge(asked)
    parts = endpoint.asked[0][2]["messages"][1]["content"]
    sent = [
        np.asarray(Image.open(BytesIO(base64.b64decode(part["image_url"]["url"].split(",")[1]))))
        for part in parts
        if part["type"] == "image_url"
    ]
    wanted = [asked.picture, *(item.image for item in REFERENCES)]
    assert all(np.array_equal(one, other) for one, other in zip(sent, wanted, strict=True))


def test_the_key_is_on_no_disk_and_in_no_message(tmp_path) -> None:
    echo = json.dumps({"reasoning": f"Authorization: Bearer {KEY}", "score": 9})
    with serving((500, {}, KEY.encode()), (200, {}, chat(echo, model=KEY))) as endpoint:
        said = KeptJudge(judge_at(endpoint), tmp_path).judge(question())
    assert said.value == 9.0
    assert KEY not in repr(said)
    with serving((400, {}, KEY.encode())) as endpoint:
        said = KeptJudge(judge_at(endpoint), tmp_path).judge(question(1))
    assert KEY not in said.reason
    (kept,) = tmp_path.rglob("*.json")
    assert KEY not in kept.read_text()


def by_picture(handler) -> None:
    """Marks by the width of the picture; slow for some, so that answers overtake each other."""
    url = handler.asked["messages"][1]["content"][0]["image_url"]["url"]
    width = Image.open(BytesIO(base64.b64decode(url.split(",")[1]))).width
    time.sleep(0.02 if width % 3 == 0 else 0)
    handler.answer(200, {}, chat(json.dumps({"score": (width - 20) / 4})))


def test_many_at_once_come_back_in_order() -> None:
    questions = [question(picture=np.zeros((20, 20 + i, 3), np.uint8)) for i in range(20)]
    with serving(by_picture) as endpoint:
        said = list(judge_many(judge_at(endpoint, num_threads=4), questions))
    assert [item.value for (item,) in said] == [i / 4 for i in range(20)]


def test_an_endpoint_that_dies_in_the_middle_loses_nothing_that_was_answered(tmp_path) -> None:
    questions = [question(picture=np.zeros((20, 20 + i, 3), np.uint8)) for i in range(40)]
    alive, lock = [8], threading.Lock()

    def dying(handler) -> None:
        with lock:
            alive[0] -= 1
            dead = alive[0] < 0
        if dead:
            handler.connection.close()
        else:
            by_picture(handler)

    with serving(dying) as endpoint:
        judge = KeptJudge(judge_at(endpoint, num_threads=3), tmp_path)
        first = [item for (item,) in judge_many(judge, questions)]
        assert sum(item.value is not None for item in first) == 8
        assert any("not asked" in str(item.reason) for item in first)
        alive[0] = 32
        before = len(endpoint.asked)
        again = KeptJudge(judge_at(endpoint, num_threads=3), tmp_path)
        second = [item.value for (item,) in judge_many(again, questions)]
        assert second == [i / 4 for i in range(40)]
        assert len(endpoint.asked) - before == 32
