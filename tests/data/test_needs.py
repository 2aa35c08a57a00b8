"""What recipes need, said before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from personae.cli.app import app
from personae.data.needs import recipe_needs
from personae.data.synthesize import read_synthesis

RECIPES = Path(__file__).parents[2] / "recipes" / "data"
SPEAKER = ['planned.speaker={by="folder:/nowhere"}', 'planned.nouns=["a", "b", "c", "d"]']


def states(recipe: str, *settings: str) -> dict[str, str]:
    needs = recipe_needs(read_synthesis(RECIPES / recipe, settings))
    assert all(need.todo for need in needs if need.state == "missing")
    return {need.where: need.state for need in needs}


@pytest.fixture(autouse=True)
def _empty_hub(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_what_ships_is_here_and_what_is_published_is_to_be_fetched() -> None:
    toons = states("synthesize_toons.toml")
    assert toons == dict.fromkeys(["faces.eyes", "redrawn.model", "redrawn.adapter"], "here")
    flux = states("synthesize_flux.toml")
    assert flux.pop("base") == "here"
    assert list(flux) == [
        "drawn.by", "located.by", "located.segmenter", "located.embedder", "redrawn.model",
    ]  # fmt: skip
    assert set(flux.values()) == {"to be fetched"}


def test_folders_are_looked_into(tmp_path) -> None:
    owl, sdxl = tmp_path / "owl", "stabilityai/stable-diffusion-xl-base-1.0"
    held = {"empty": [], "drawer": ["model_index.json", "x.safetensors"]}
    for name, files in {**held, "owl": ["config.json", "x.safetensors"]}.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
    told = states(
        "synthesize_flux.toml",
        f"located.by=owlv2:{owl}",
        f"located.segmenter=sam2:{tmp_path / 'empty'}",
        "located.embedder=dinov2:/nowhere",
        f"drawn.by={tmp_path / 'drawer'}",
        f"redrawn.model={sdxl}",
    )
    assert told["located.by"] == told["drawn.by"] == "here"
    assert told["located.segmenter"] == told["located.embedder"] == "missing"
    assert told["redrawn.model"] == "missing", "it takes no references"
    told = states("synthesize_flux.toml", f"redrawn.model={sdxl}", "redrawn.adapter=/no/file")
    assert told["redrawn.model"] == "to be fetched" and told["redrawn.adapter"] == "missing"


def test_speakers_are_named_and_not_asked(tmp_path) -> None:
    url = 'captioned.speaker={url="http://127.0.0.1:9/v1", model="m"}'
    told = states("synthesize_flux.toml", "planner=llm", *SPEAKER, url)
    assert told["planned.speaker"] == "missing"
    assert told["captioned.speaker"] == "not asked"
    assert "planned.speaker" not in states("synthesize_flux.toml", *SPEAKER)


def test_who_edits_is_asked_for_and_must_take_references() -> None:
    assert "edited.by" not in states("synthesize_toons.toml", "edited.by=world")
    assert states("synthesize_toons.toml", "edited.by=toons")["edited.by"] == "here"
    assert states("synthesize_flux.toml", "edited.by=/nowhere")["edited.by"] == "missing"
    klein, sdxl = "black-forest-labs/FLUX.2-klein-4B", "stabilityai/stable-diffusion-xl-base-1.0"
    assert states("synthesize_flux.toml", f"edited.by={sdxl}")["edited.by"] == "missing"
    assert states("synthesize_flux.toml", f"edited.by={klein}")["edited.by"] == "to be fetched"


def test_the_command_runs_nothing_and_says_by_its_status_what_is_missing(tmp_path) -> None:
    recipe, out = str(RECIPES / "synthesize_flux.toml"), tmp_path / "out"
    told = ["data", "synthesize", recipe, "--out", str(out), "--dry-run"]
    done = CliRunner().invoke(app, [*told, "--json"])
    assert done.exit_code == 0 and not out.exists()
    assert json.loads(done.stdout)["needs"][0]["where"] == "drawn.by"
    done = CliRunner().invoke(app, [*told, "--set", "located.embedder=nothing"])
    assert done.exit_code == 2 and "missing" in done.stdout + done.output
