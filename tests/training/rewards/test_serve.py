"""The command ``personae serve``: flags in, a server until a signal."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from personae.cli import main
from personae.cli import serve as command
from personae.training.rewards import make
from personae.training.rewards.recipe import RewardsRecipe
from tests.training.rewards.clients import ask, json_body
from tests.training.rewards.fakes import Brightness

TOKEN = "a-token-long-enough"


def run(*arguments: object) -> int:
    try:
        main(["serve", *map(str, arguments)])
    except SystemExit as done:
        return int(done.code or 0)
    return 0


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RewardsRecipe, torch.device]]:
    asked: list[tuple[RewardsRecipe, torch.device]] = []

    def fake(recipe: RewardsRecipe, device: torch.device) -> Brightness:
        asked.append((recipe, device))
        return Brightness()

    monkeypatch.setattr(make, "make_reward", fake)
    monkeypatch.delenv("PERSONAE_TOKEN", raising=False)
    return asked


def client(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, headers: dict[str, str]
) -> list[Any]:
    """Asks as soon as the server says where it is, then sends the signal."""
    told: list[Any] = []

    def talk(url: str) -> None:
        try:
            told.append(ask(url, json_body([51]), headers=headers))
            told.append(ask(url, path="/v1/rewards", headers=headers))
            told.append(ask(url, path="/v1/rewards"))
        finally:
            os.kill(os.getpid(), number)

    def say(text: str) -> None:
        if "http://" in text:
            url = text.partition(" on ")[2].partition(";")[0]
            threading.Thread(target=talk, args=(url,)).start()

    monkeypatch.setattr(command, "say", say)
    return told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal(
    number: signal.Signals,
    built: list[tuple[RewardsRecipe, torch.device]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    before = signal.getsignal(number)
    told = client(monkeypatch, number, {"Authorization": f"Bearer {TOKEN}"})
    flags = ["--port", 0, "--device", "cpu", "--token-file", path, "--faces", "toons"]
    flags += ["--reward", "mimr=2", "--reward", "presence=0.5", "--max-mb", 1]
    assert run(*flags) == 0
    ((recipe, device),) = built
    assert (recipe.weights, recipe.faces) == ({"mimr": 2.0, "presence": 0.5}, "toons")
    assert device == torch.device("cpu")
    scored, rewards, stranger = told
    assert scored[0] == 200
    assert rewards[1]["rewards"][0]["weights"] == {"mimr": 2.0, "presence": 0.5}
    assert rewards[1]["limits"]["max_bytes"] == 1_000_000
    assert stranger[0] == 401
    assert signal.getsignal(number) is before


def test_a_token_from_the_environment(
    built: list[tuple[RewardsRecipe, torch.device]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONAE_TOKEN", TOKEN)
    told = client(monkeypatch, signal.SIGTERM, {"Authorization": f"Bearer {TOKEN}"})
    assert run("--port", 0, "--device", "cpu", "--host", "0.0.0.0") == 0
    assert [status for status, _ in told] == [200, 200, 401]
    assert built[0][0].weights == {"strict_matching": 1.0}


@pytest.mark.usefixtures("built")
def test_wrong_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags, words in (
        (["--reward", "mimr"], "expected NAME=VALUE"),
        (["--reward", "mimr=much"], "NAME=WEIGHT with a number"),
        (["--reward", "mimr=nan"], "NAME=WEIGHT with a number"),
        (["--reward", "mirm=1"], "did you mean 'mimr'"),
        (["--faces", "examiner"], "the examiner judges"),
        (["--host", "0.0.0.0"], "a token is needed"),
        (["--token-file", tmp_path / "none"], "cannot be read"),
        (["--device", "nonsense"], "cannot be used"),
    ):
        assert run("--port", 0, *flags) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    monkeypatch.setenv("PERSONAE_TOKEN", "")
    assert run("--port", 0) == 2
    assert "the token has 0 characters" in capsys.readouterr().err
