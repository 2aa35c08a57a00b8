"""The commands as a user types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from personae import __version__
from personae.cli import main
from personae.vision.faces import DlibFaceEmbedder
from tests.conftest import SceneFolder


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(item) for item in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def astronaut(folder: SceneFolder) -> SceneFolder:
    folder.photo("ann.png", data.astronaut()[:280, 80:370])
    folder.picture("ann.png", data.astronaut()[:300, 60:400])
    folder.scene("ann", {"ann": ("person", ["ann.png"])})
    return folder


def test_version_and_help(capsys) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == f"personae {__version__}"
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("score", "evaluate", "compare", "report", "doctor"))


def test_score_guesses_a_person_by_the_face(astronaut: SceneFolder, capsys) -> None:
    picture = astronaut.images / "ann.png"
    assert run("score", picture, "--ref", f"ann={astronaut.path / 'ann.png'}", "--json") == 0
    rows = {row["metric"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["strict_id_similarity"]["value"] > 0.9
    assert rows["presence"]["value"] == 1
    assert run("score", picture, "--ref", f"ann={astronaut.path / 'ann.png'}") == 0
    assert "strict_id_similarity" in capsys.readouterr().out


def test_evaluate_then_report_then_compare(astronaut: SceneFolder, capsys) -> None:
    for out in ("one", "two"):
        arguments = ["--images", astronaut.images, "--out", astronaut.path / out, "--workers", 1]
        assert run("evaluate", astronaut.scenes, *arguments) == 0
    assert "presence" in capsys.readouterr().out
    assert run("report", astronaut.path / "one", "--against", astronaut.path / "two", "--json") == 0
    page = Path(json.loads(capsys.readouterr().out)["report"])
    assert page.is_file()
    gate = "strict_id_similarity<-0.02"
    assert run("compare", astronaut.path / "one", astronaut.path / "two", "--fail-if", gate) == 0
    assert "0.000" in capsys.readouterr().out


def test_doctor_looks_at_the_machine(capsys) -> None:
    assert run("doctor", "--json") == 0
    checks = {item["name"]: item for item in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["eyes for people"]["ok"]
    assert checks["eyes for things"]["ok"]


def test_doctor_names_a_pair_that_cannot_be_told_apart(astronaut: SceneFolder, capsys) -> None:
    shutil.copy(astronaut.path / "ann.png", astronaut.path / "twin.png")
    cast = astronaut.path / "cast.jsonl"
    lines = [
        {"id": name, "noun": "woman", "kind": "person", "references": [{"image": f"{name}.png"}]}
        for name in ("ann", "twin")
    ]
    cast.write_text("\n".join(json.dumps(line) for line in lines))
    assert run("doctor", "--cast", cast, "--json") == 1
    (pair,) = json.loads(capsys.readouterr().out)["cast"]["pairs"]
    assert not pair["separable"]
    assert run("doctor", "--cast", cast) == 1
    assert "NOT APART" in capsys.readouterr().out


def test_confusion_of_twins_is_unmeasured_and_told(astronaut: SceneFolder, capsys) -> None:
    """Not a number that looks like confusion: these eyes could not know."""
    twins = {name: ("person", ["ann.png"]) for name in ("ann", "bea")}
    astronaut.scene("twins", twins)
    astronaut.picture("twins.png", np.hstack([data.astronaut()[:300, 60:400]] * 2))
    arguments = ["--images", astronaut.images, "--out", astronaut.out, "--workers", 1, "--json"]
    assert run("evaluate", astronaut.scenes, *arguments) == 0
    captured = capsys.readouterr()
    assert "ann and bea" in captured.err
    summary = {item["metric"]: item for item in json.loads(captured.out)["metrics"]}
    assert summary["strict_id_confusion"]["n_unmeasured"] == 2
    assert summary["strict_id_similarity"]["n"] == 3


def test_commercial_refuses_what_its_licence_forbids(
    astronaut: SceneFolder, capsys, monkeypatch
) -> None:
    arguments = ["score", astronaut.images / "ann.png", "--kind", "person", "--commercial"]
    arguments += ["--ref", f"ann={astronaut.path / 'ann.png'}"]
    assert run(*arguments) == 0
    monkeypatch.setattr(DlibFaceEmbedder, "commercial", False)
    monkeypatch.setattr(DlibFaceEmbedder, "licence", "for research only")
    assert run(*arguments) == 1
    assert "'for research only', which forbids commercial use" in " ".join(
        capsys.readouterr().err.split()
    )
