"""`personae doctor --model` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personae.cli import main
from personae.errors import RequestError
from personae.evaluation import doctor
from personae.evaluation.doctor import check_model
from tests.diffusion.tiny import save_tiny_klein

KLEIN = "black-forest-labs/FLUX.2-klein-base-4B"


@pytest.fixture(autouse=True)
def _no_eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eyes are looked at elsewhere."""
    monkeypatch.setattr(doctor, "check_machine", lambda eyes: [])


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(item) for item in arguments])
    return int(ended.value.code or 0)


def test_a_model_that_fits(tmp_path: Path, capsys) -> None:
    folder = save_tiny_klein(tmp_path / "tiny")
    arguments = ("--width", 128, "--height", 64, "--references", 3)
    assert run("doctor", "--model", folder, *arguments, "--json") == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert (model["width"], model["height"], model["references"]) == (128, 64, 3)
    assert set(model["weights"]) == {"transformer", "text_encoder", "vae"}
    assert model["total"] == sum(model["weights"].values()) + max(model["activations"].values())
    assert run("doctor", "--model", folder) == 0
    assert "it fits" in capsys.readouterr().err


def test_a_model_that_does_not_fit_is_told_with_its_numbers(monkeypatch, capsys) -> None:
    monkeypatch.setattr(doctor, "available_memory", lambda device: 2**30)
    assert run("doctor", "--model", KLEIN) == 1
    shown = capsys.readouterr()
    assert "3,875.5 M" in shown.out
    assert "1.0 GiB free: TOO LITTLE" in shown.err


def test_wrong_requests(capsys) -> None:
    assert run("doctor", "--model", KLEIN, "--width", 128) == 2
    assert run("doctor", "--model", KLEIN, "--references", 5) == 2
    assert run("doctor", "--model", "no-such-model") == 1
    assert "no such folder" in capsys.readouterr().err
    with pytest.raises(RequestError, match="at most 4"):
        check_model(KLEIN, references=9)
