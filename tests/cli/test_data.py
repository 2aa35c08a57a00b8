"""``personae data pair`` from the outside."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from personae.cli import main
from personae.toons import write_clips


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(item) for item in arguments])
    return int(stopped.value.code or 0)


def test_pair_says_what_became_of_everything(tmp_path: Path, capsys) -> None:
    write_clips(tmp_path / "clips", albums=1, clips=3, frames=3)
    asked = ("data", "pair", tmp_path / "clips", "--out", tmp_path / "out", "--faces", "toons")
    more = ("--least-px", 12, "--noun", "toon", "--subject-words", "{noun}{index}", "--blur-faces")
    assert run(*asked, *more) == 0
    told = capsys.readouterr()
    assert "frames" in told.out and "examples.jsonl" in told.err
    lines = [json.loads(x) for x in (tmp_path / "out/examples.jsonl").read_text().splitlines()]
    assert lines and lines[0]["prompt"].startswith("toon1")
    assert run(*asked, *more, "--json") == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [step["name"] for step in steps] == ["frames", "unlike", "faces", "pairs"]
    assert all(step["num_made"] == 0 for step in steps), "nothing is made twice"


def test_filters_by_flags_and_what_they_could_not_look_at(tmp_path: Path, capsys) -> None:
    write_clips(tmp_path / "clips", albums=1, clips=2, frames=2)
    asked = ("data", "pair", tmp_path / "clips", "--out", tmp_path / "out", "--faces", "toons")
    missing = tmp_path / "head.safetensors"
    more = ("--unlike", 0, "--distinct", 0.95, "--aesthetic", missing, "--least-px", 400)
    assert run(*asked, *more, "--json") == 0
    steps = {step["name"]: step for step in json.loads(capsys.readouterr().out)["steps"]}
    assert list(steps) == ["frames", "described", "distinct", "aesthetic", "faces", "pairs"]
    ((reason, count),) = steps["aesthetic"]["unmeasured"].items()
    assert count == steps["aesthetic"]["num_out"] == 4 and "head.safetensors" in reason
    assert steps["faces"]["dropped"] == {"a face is too small": 4}
    assert run(*asked, *more) == 0
    assert "4 UNMEASURED" in " ".join(capsys.readouterr().out.split())


def test_required_licenses_and_bad_requests(tmp_path: Path, capsys) -> None:
    write_clips(tmp_path / "clips", albums=1, clips=2, frames=1)
    asked = ("data", "pair", tmp_path / "clips", "--out", tmp_path / "out", "--faces", "toons")
    assert run(*asked, "--license", "CC-BY-4.0", "--json") == 0
    first = json.loads(capsys.readouterr().out)["steps"][0]
    assert first["dropped"] == {"its license is not one of those required": 2}
    assert run(*asked, "--subject-words", "someone") == 2
    assert "expected {noun}" in capsys.readouterr().err
    assert run("data", "pair", tmp_path / "none", "--out", tmp_path / "o") == 1


def test_ray_that_is_not_installed_is_told(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    write_clips(tmp_path / "clips", albums=1, clips=2, frames=1)
    asked = ("data", "pair", tmp_path / "clips", "--out", tmp_path / "out", "--faces", "toons")
    assert run(*asked, "--ray", "local") == 2
    assert "pip install personae[ray]" in capsys.readouterr().err
