"""The card beside saved weights: the numbers of the run, good metadata, nothing of a machine."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from personae.config import build_config
from personae.training.card import card
from personae.training.card_use import Trained, base_name
from personae.training.finetune import finetune
from personae.training.recipe import Recipe
from tests.training.conftest import MakeRecipe
from tests.training.rewards.fakes import Brightness

TRAINED = Trained(step=7, seconds=61.4, examples=6, subject_words="{noun} {index}")


def head_of(text: str) -> dict[str, Any]:
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert match
    head = yaml.safe_load(match[1])
    assert isinstance(head, dict)
    return head


def make(**sections: Any) -> Recipe:
    data = {"base": "black-forest-labs/FLUX.2-klein-base-4B", "data": {"file": "examples.jsonl"}}
    return build_config(Recipe, {**data, **sections})


@pytest.fixture(scope="module")
def run(tiny: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps with validation, and a card beside its adapter and its best one."""
    folder = tmp_path_factory.mktemp("card")
    recipe = build_config(
        Recipe,
        {
            "base": str(tiny),
            "device": "cpu",
            "data": {"file": str(examples), "sizes": [[64, 64]], "workers": 1},
            "training": {"steps": 3, "batch_size": 2, "log_every": 1},
            "lora": {"rank": 2},
            "rewards": {"weights": {"sir": 0.5}, "faces": f"arcface:{folder}/weights.safetensors"},
            "rerefl": {"window": [1, 1]},
            "rollout": {"steps": 1},
        },
    )
    finetune(recipe, folder / "run", reward=Brightness())
    return folder / "run"


def test_a_run_leaves_a_card_with_its_numbers(run: Path) -> None:
    text = (run / "adapter" / "README.md").read_text()
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert "on 6 examples of `examples.jsonl`, 2 a step, for 3 of 3 steps" in text
    assert f"| loss | {rows[-1]['loss']:.6g} |" in text
    assert f"| reward | {rows[-1]['reward']:.6g} |" in text
    assert "| sir | 0.5 | UMO's single-identity reward" in text
    assert "faces: `arcface:weights.safetensors`" in text
    assert "non-commercial" in text
    assert 'load_lora_weights("THIS FOLDER")' in text
    assert "comfyui.safetensors" in text
    assert "without their consent" in text
    assert '"girl 1 left of girl 2"' in text
    for line in ("sizes = [[64, 64]]", "window = [1, 1]", "rank = 2", "lr = 0.0001"):
        assert line in text


def test_its_metadata_is_yaml_that_the_hub_reads(run: Path) -> None:
    head = head_of((run / "adapter" / "README.md").read_text())
    assert head["base_model"] == "klein"
    assert head["base_model_relation"] == "adapter"
    assert head["library_name"] == "diffusers"
    assert head["license"] == "other"
    assert {"lora", "reinforcement-learning", "personae"} <= set(head["tags"])
    assert head_of(card(make(), TRAINED))["base_model_relation"] == "finetune"


def test_nothing_of_the_machine_is_in_it(run: Path) -> None:
    for path in run.rglob("adapter/*"):
        content = path.read_bytes().decode("latin-1")
        assert str(run.parent) not in content, path
        assert not re.search(r"[\"'`\s:=](/[a-z]+){2,}", content.partition("\0")[0]), path
        assert socket.gethostname() not in content, path


@pytest.mark.parametrize(
    ("base", "license_"),
    [
        ("black-forest-labs/FLUX.2-klein-base-4B", "apache-2.0"),
        ("toons", "apache-2.0"),
        ("someone/else", "other"),
    ],
)
def test_the_license_is_that_of_the_base_where_it_is_known(base: str, license_: str) -> None:
    text = card(make(base=base, lora={}), TRAINED)
    assert head_of(text)["license"] == license_
    assert head_of(text)["base_model"] == base
    loading = text.partition("```python")[2].partition("```")[0]
    assert ("load_backbone" in loading) is (base == "toons")


def test_the_license_of_a_folder_is_what_its_card_says(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: 'mit'\n---\nWords.\nlicense: gpl\n")
    text = card(make(base=str(tmp_path)), TRAINED)
    assert head_of(text)["license"] == "mit"
    assert str(tmp_path.parent) not in text
    (tmp_path / "README.md").write_bytes(b"\xff\xfe")
    assert head_of(card(make(base=str(tmp_path)), TRAINED))["license"] == "other"


def test_validation_at_the_best_step_is_told() -> None:
    told = replace(
        TRAINED,
        row={"step": 7, "loss": 0.5, "reward": None, "notes": ["x"], "lr": 1e-4},
        validation_step=4,
        validation={"features": 0.25, "reward": 0.75},
    )
    text = card(make(), told)
    assert "At step 4, on identities that it was not trained on" in text
    assert "| features | 0.25 |" in text
    assert "| lr | 0.0001 |" in text
    assert "| reward | 0.75 |" in text
    assert "| notes" not in text
    assert "Nothing was measured" in card(make(), TRAINED)


def test_a_model_is_loaded_by_itself() -> None:
    text = card(make(), TRAINED)
    assert 'from_pretrained("THIS FOLDER"' in text
    assert "load_lora_weights" not in text
    assert "ComfyUI" not in text


def test_the_best_weights_get_the_card_of_their_step(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from personae.training import session

    values = {0: 0.0, 1: 0.1, 2: 0.3, 3: 0.2}

    class Look:
        def look(self, session: session.Session) -> dict[str, float]:
            return {"validation.features": values[session.step], "validation.seconds": 1.0}

    recipe = make_recipe(lora={"rank": 2}, training={"steps": 3}, validation={"every": 1})
    chosen = session.Chosen(session.Finetuning(), Look())
    monkeypatch.setattr("personae.training.finetune.choose", lambda *_: chosen)
    result = finetune(recipe, tmp_path / "run")
    assert result.saved == tmp_path / "run" / "best" / "adapter"
    best = (result.saved / "README.md").read_text()
    assert "for 2 of 3 steps" in best
    last = (tmp_path / "run" / "adapter" / "README.md").read_text()
    assert "for 3 of 3 steps" in last
    for text, step, value in ((best, 2, 0.3), (last, 3, 0.2)):
        assert f"At step {step}, on identities that it was not trained on" in text
        assert f"| features | {value} |" in text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("runs/toons/model", "runs/toons/model"),
        ("../elsewhere/model", "model"),
        ("~/model", "model"),
        ("C:\\Users\\ann\\model", "model"),
        ("arcface:weights.onnx", "arcface:weights.onnx"),
        ("owlv2:/models/owl", "owlv2:owl"),
        ("florence-2:/models/florence", "florence-2:florence"),
        ("examiner", "examiner"),
    ],
)
def test_folders_of_a_machine_are_left_out(text: str, name: str) -> None:
    assert base_name(text) == name


def test_hostile_names_stay_inside_the_metadata() -> None:
    text = card(make(base='a"b\nlicense: mit #'), TRAINED)
    assert head_of(text)["license"] == "other"
    assert head_of(text)["base_model"] == 'a"b\nlicense: mit #'
