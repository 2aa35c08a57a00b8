"""Every mistake of a recipe, all at once, each with where, expected, came and do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.errors import DataError, WeightsError
from personae.training.dry_run import dry_run
from personae.training.machine_check import check_folder
from personae.training.recipe import read_recipe
from personae.training.recipe_check import Mistake, read_whole
from tests.training.dry.told import wheres

KLEIN = "black-forest-labs/FLUX.2-klein-base-4B"


ALL_WRONG = """
seeed = 1
device = "cupboard"
[data]
workers = "many"
sizes = [[64, 60]]
file = "none.jsonl"
[lora]
rank = 3
targets = ["to_nothing"]
[training]
step = 3
steps = 0
caption_dropout = 7
trackers = ["notebook"]
[optimizer]
lr = -1.0
name = "sgd"
[rewards]
faces = "arcface:none.safetensors"
embedder = "eyes"
[rewards.weights]
sir = 1.0
presence = 1.0
[rerefl]
window = [3, 9]
gradient_steps = 7
[rollout]
steps = 4
[validation]
every = 2
examiner = "nobody"
"""


def test_all_mistakes_at_once(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'base = "{tiny}"\n{ALL_WRONG}')
    run = dry_run(path, tmp_path / "run", ["training.keep=0", "nonsense", "rollout.guidance=-1"])
    assert sorted(wheres(run)) == sorted(
        [
            "--set nonsense",
            "seeed",
            "data.workers",
            "training.step",
            "training.steps",
            "training.caption_dropout",
            "training.keep",
            "optimizer.lr",
            "optimizer.name",
            "rollout.guidance",
            "data.sizes",
            "validation.file",
            "data.file",
            "device",
            "training.trackers",
            "rerefl.window",
            "rerefl.gradient_steps",
            "rewards.weights.presence",
            "rewards.faces",
            "rewards.embedder",
            "validation.examiner",
            "lora.targets",
        ]
    )
    for item in run.mistakes:
        assert all((item.where, item.expected, item.came, item.do)), item
    told = {item.where.removeprefix(f"{path}: "): item for item in run.mistakes}
    assert told["training.step"].do == "did you mean 'steps'?"
    assert "attn.to_q" in told["lora.targets"].do
    assert told["rerefl.window"].came == "[3, 9] in rollouts of 4 steps"
    assert run.plan["base"] == str(tiny)


@pytest.mark.parametrize(
    ("settings", "where", "words"),
    [
        (["base=/nowhere/at/all"], "base", "no such folder"),
        (["device=cuda:99"], "device", "cuda:99"),
        (["lora.rank=0"], "lora.rank", "1 or more"),
        (["lora.start=nowhere"], "lora.start", "that save_lora wrote, or one of toons-umo"),
        (["training.train_text_encoder=true"], "training.train_text_encoder", "drop one"),
        (["rerefl.window=[1,5]"], "rerefl.window", "at most 4"),
        (["rerefl.decoder=/none"], "rerefl.decoder", "small_decoder"),
        (["rewards.faces=dlibb"], "rewards.faces", "dlib, toons"),
        (["rewards.faces=arcface:x.onnx"], "rewards.faces", "gradient"),
        (["rewards.detector=eyes"], "rewards.detector", "guided"),
        (["rewards.embedder=dino:/none"], "rewards.embedder", "not there"),
        (["rewards.weights.hpsv3=1.0"], "rewards.weights.hpsv3", "gradient"),
        (["validation.every=2"], "validation.file", "not trained on"),
        (["validation.every=2", "validation.file=none.jsonl"], "validation.file", "no such file"),
        (["data.sizes=[[60,64]]"], "data.sizes", "multiples of 16"),
        (["data.sizes=[]"], "data.sizes", "the base has none"),
        (["data.toons.count=0"], "data.toons", "count 1 or more"),
        (["training.trackers=['x']"], "training.trackers", "tensorboard"),
        (["training.quantize=nf4"], "training.quantize", "nf4"),
        (["objective.kl_weight=0.5"], "objective.kl_weight", "set rerefl.penalty"),
        (
            ["objective.dco_beta=9.0", "objective.soft_alpha=0.0"],
            "objective",
            "0, dco_beta = 9; rem",
        ),
    ],
)
def test_one_mistake_is_found(
    recipe: Path, tmp_path: Path, settings: list[str], where: str, words: str
) -> None:
    if settings[0].startswith("data.toons"):
        text = recipe.read_text()
        recipe.write_text("\n".join(x for x in text.splitlines() if not x.startswith("file")))
    run = dry_run(recipe, tmp_path / "run", settings)
    assert where in wheres(run)
    assert words in str(run.mistakes[wheres(run).index(where)])


def test_each_bad_line_of_the_data_is_named(recipe: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    line = {"image": "a.png", "prompt": "x"}
    lines = [
        {"id": 1, **line, "references": ["a.png"]},
        {"id": 2, **line, "references": ["a.png"] * 6},
        {"id": 3, **line},
        {"id": 4, **line, "references": ["none.png"]},
        {"id": 5, **line, "references": ["b.png"]},
        {"id": 6, **line, "references": []},
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in lines) + "no json\n")
    run = dry_run(recipe, tmp_path / "run", [f"data.file={path}"])
    told = [str(item) for item in run.mistakes]
    for place, words in (
        (f"{path}:2", "at most 5 references"),
        (f"{path}:3", "'references' is missing"),
        (f"{path}:4", "no such file"),
        (f"{path}:6", "at least one reference"),
        (f"{path}:7", "not JSON"),
        (str(path), "b.png: cannot be read"),
    ):
        assert any(text.startswith(f"{place}: ") and words in text for text in told), (place, told)
    assert run.plan["examples"] == 5


def test_validation_by_the_data_it_trains_on(recipe: Path, examples: Path, tmp_path: Path) -> None:
    settings = ["validation.every=2", f"validation.file={examples}"]
    run = dry_run(recipe, tmp_path / "run", settings)
    assert wheres(run) == ["validation.file"]
    assert "other identities" in str(run.mistakes[0])


def test_a_damaged_base_is_found_by_its_headers(tiny: Path, recipe: Path, tmp_path: Path) -> None:
    import shutil

    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    path = base / "transformer" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_layers": 2, "mlp_ratio": 2.0}))
    run = dry_run(recipe, tmp_path / "run", [f"base={base}"])
    assert wheres(run) == ["base"]
    assert "tensors of its configuration in transformer" in str(run.mistakes[0])
    (file,) = (base / "vae").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-5])
    path.write_text(json.dumps(config))
    assert "not a whole safetensors file" in str(
        dry_run(recipe, tmp_path / "run", [f"base={base}"]).mistakes[0]
    )
    index = json.loads((base / "model_index.json").read_text())
    (base / "model_index.json").write_text(json.dumps({**index, "_class_name": "OtherPipeline"}))
    run = dry_run(recipe, tmp_path / "run", [f"base={base}"])
    assert "a family that is not known" in str(run.mistakes[0])


def test_a_hub_that_does_not_answer_is_no_mistake(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from personae.diffusion import load

    def fetch(name: str, *_: object) -> Path:
        raise WeightsError(f"model {name}: could not be fetched") from cause

    monkeypatch.setattr(load, "_fetch", fetch)
    cause: Exception = OSError("the network is down")
    run = dry_run(recipe, tmp_path / "run", ["base=owner/model"])
    assert run.mistakes == ()
    assert "the hub did not answer (the network is down)" in str(run.unchecked[0])
    assert run.memory is None

    class RepositoryNotFoundError(OSError):
        """As the hub's client calls it."""

    cause = RepositoryNotFoundError("404")
    run = dry_run(recipe, tmp_path / "run", ["base=owner/model"])
    assert wheres(run) == ["base"]


def test_without_a_network_weights_have_to_be_here(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("personae.training.base_check.hub_folder", lambda *_: None)
    run = dry_run(recipe, tmp_path / "run", [f"base={KLEIN}"])
    assert "base" in wheres(run)
    assert "HF_HUB_OFFLINE" in str(run.mistakes[wheres(run).index("base")])


def test_the_folder_of_another_run(recipe: Path, tmp_path: Path) -> None:
    from personae.config import as_data, as_toml

    out = tmp_path / "run"
    out.mkdir()
    held = as_toml(as_data(read_recipe(recipe, ["optimizer.lr=0.5"])))
    (out / "recipe.resolved.toml").write_text(held)
    told = read_recipe(recipe)
    for resume in (False, True):
        (mistake,) = check_folder(told, out, resume)
        assert "optimizer.lr differ" in str(mistake)
    assert wheres(dry_run(recipe, out)) == ["--out"]
    (out / "recipe.resolved.toml").write_text(as_toml(as_data(told)))
    (mistake,) = check_folder(told, out, resume=False)
    assert "--resume" in str(mistake)
    assert not any(isinstance(item, Mistake) for item in check_folder(told, out, resume=True))
    (out / "recipe.resolved.toml").write_text("[")
    (mistake,) = check_folder(told, out, resume=True)
    assert "not TOML" in str(mistake)
    assert "a folder" in str(check_folder(told, recipe, resume=False)[0])


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    for name, text in (("torn.toml", "[data\n"), ("empty.toml", "")):
        (tmp_path / name).write_text(text)
        run = dry_run(tmp_path / name, tmp_path / "run")
        assert run.mistakes
    assert "no such file" in str(dry_run(tmp_path / "none.toml", tmp_path).mistakes[0])
    run = dry_run(tmp_path / "empty.toml", tmp_path / "run")
    assert {item.where.rpartition(" ")[2] for item in run.mistakes} == {"base", "data"}


def test_the_reader_and_the_check_agree(recipe: Path) -> None:
    """What one takes without an error has no mistake for the other, and the other way round."""
    for setting in (
        "training.precision=bf16",
        "training.precision=fp8",
        "rewards.margin=1.5",
        "lora.alpha=none",
        "rollout.steps=0",
        "seed=true",
        "data.sizes=[[64]]",
        "rewards.weights={}",
        "grpo.group=4",
        "validation.best_by=reward",
        "training.offload_text_encoder=true",
        "objective.dco_beta=9.0",
    ):
        try:
            read_recipe(recipe, [setting])
            is_right = True
        except DataError:
            is_right = False
        mistakes = read_whole(recipe, [setting]).mistakes
        assert (not mistakes) is is_right, (setting, mistakes)
        assert all(isinstance(item, Mistake) for item in mistakes)
