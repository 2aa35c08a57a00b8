"""Judges by name."""

from __future__ import annotations

import pytest

from personae.errors import RequestError, WeightsError
from personae.metrics.judges import build_judge, judgement_folder
from personae.metrics.toon_judge import ToonJudge
from personae.vision.judges import Asking, KeptJudge
from personae.vision.language import KEY_VARIABLE, Patience
from tests.vision.fake_endpoint import chat, serving
from tests.vision.judged import question
from tests.vision.tiny_seeing import save_llava

GOOD = (200, {}, chat('{"reasoning": "All there.", "score": 9}', model="judge-7b-awq"))


def test_an_endpoint_is_asked_as_it_was_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-very-secret-key")
    with serving(GOOD) as endpoint:
        judge = build_judge(
            "endpoint",
            url=endpoint.url,
            model="judge-7b",
            asking=Asking(temperature=0.2, max_tokens=50, num_threads=3),
            patience=Patience(tries=1),
            cache=tmp_path,
        )
        assert [judge.judge(question()).value for _ in range(2)] == [9.0, 9.0]
    assert isinstance(judge, KeptJudge)
    assert judge.name == f"judge-7b at {endpoint.url}"
    assert judge.num_threads == 3
    assert len(endpoint.asked) == 1
    _, headers, body = endpoint.asked[0]
    assert headers["Authorization"] == "Bearer sk-very-secret-key"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge-7b", 0.2, 50)
    assert isinstance(body["seed"], int)
    assert "sk-very" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_a_folder_judges_and_what_a_random_model_says_is_missing(tmp_path) -> None:
    folder = save_llava(tmp_path / "tiny")
    judge = build_judge(f"folder:{folder}", asking=Asking(max_tokens=5, tries=2))
    assert judge.num_threads == 1
    assert judge.name.startswith("tiny@")
    said = judge.judge(question())
    assert said.value is None
    assert "no answer that can be used in 2 tries" in said.reason


def test_toons_judge_and_are_not_kept(tmp_path) -> None:
    assert isinstance(build_judge("toons", cache=tmp_path / "none"), ToonJudge)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("nobody", {}, "expected endpoint, folder:PATH or toons"),
        ("folder", {}, "expected endpoint, folder:PATH or toons"),
        ("toons:x", {}, "expected endpoint, folder:PATH or toons"),
        ("endpoint", {}, "expected its address"),
        ("endpoint", {"url": "http://localhost/v1"}, "expected its address"),
        ("endpoint", {"url": "ftp://x", "model": "m"}, "judge's address ftp"),
        ("endpoint", {"url": "http://me:pw@x/v1", "model": "m"}, "judge's address: no name"),
        ("toons", {"model": "m"}, "has no address"),
    ],
)
def test_wrong_requests_say_what_was_expected(name, more, message) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        build_judge(name, **more)
    assert "pw" not in str(caught.value)


def test_a_folder_without_a_model_is_said(tmp_path) -> None:
    with pytest.raises(WeightsError, match="no language model here"):
        build_judge(f"folder:{tmp_path}")


def test_answers_are_kept_in_the_users_cache(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PERSONAE_CACHE", str(tmp_path))
    assert judgement_folder() == tmp_path / "judgements"
