"""The checkpoint that ships: what it is, and that it draws toons it never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from personae.cli import main
from personae.compute.runs import read_rows
from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import DIFFUSERS_FILE, load_lora
from personae.generation import draw
from personae.subjects.manifest import read_scenes
from personae.toons import MAX_TOONS, adapter_folder, checkpoint_folder, scene, write_scenes
from personae.training.rewards import PlainReward, RewardsRecipe, make_reward
from personae.vision.faces import FaceEyes
from personae.vision.toons import ToonFaceDetector, ToonFaceEmbedder


@pytest.fixture(scope="module")
def model() -> Backbone:
    return load_backbone("toons")


def test_it_is_an_ordinary_small_folder_of_safetensors_with_a_card() -> None:
    files = [path for path in checkpoint_folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 32 * 2**20
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".jinja", ".txt"}
    index = json.loads((checkpoint_folder() / "model_index.json").read_text())
    assert index["_class_name"] == "Flux2KleinPipeline"
    assert index["transformer"][1] == "Flux2Transformer2DModel"
    assert index["vae"][1] == "AutoencoderKLFlux2"
    card = (checkpoint_folder() / "README.md").read_text()
    assert all(word in card for word in ("Data", "Recipe", "seconds", "Hardware", "Apache-2.0"))


def test_it_takes_as_many_toons_as_the_world_has(model: Backbone) -> None:
    assert model.limits.max_subjects == MAX_TOONS
    assert model.limits.sizes == ((128, 128), (192, 128))


def test_it_draws_unseen_toons_from_their_references(model: Backbone, tmp_path: Path) -> None:
    """Drawn faces are nearer to their own references than to those of the next scene."""
    asked = [scene(seed, count=2, split="test") for seed in range(500, 508)]
    read = read_scenes(write_scenes(asked, tmp_path)).scenes
    eyes = FaceEyes(ToonFaceDetector(), ToonFaceEmbedder())
    known = [[eyes.faces(m.reference.image, 1)[1][0] for m in item.members] for item in asked]
    found, own, strange = 0, [], []
    for number, one in enumerate(read):
        _, rows = eyes.faces(draw(model, one, seed=0), 2)
        found += len(rows)
        own.append(assigned(rows, known[number]))
        strange.append(assigned(rows, known[(number + 1) % len(known)]))
    assert found >= 14
    assert np.mean(own) > np.mean(strange) + 0.1


def test_its_adapter_ships_small_with_a_card_and_draws_subjects_better(
    model: Backbone, tmp_path: Path
) -> None:
    """By the strict matching reward, on the same unseen scenes with the same seed."""
    folder = adapter_folder("toons-umo")
    assert {path.name for path in folder.iterdir()} == {DIFFUSERS_FILE, "README.md"}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4 * 2**20
    card = (folder / "README.md").read_text()
    assert all(word in card for word in ("ReReFL", "strict_matching", "apache-2.0", "seconds"))
    asked = [scene(seed, count=2, split="test") for seed in range(500, 516)]
    read = read_scenes(write_scenes(asked, tmp_path)).scenes
    reward = PlainReward(make_reward(RewardsRecipe(faces="toons"), torch.device("cpu")))
    known = [{m.name: [m.reference.image] for m in item.members} for item in asked]
    adapted = load_backbone("toons")
    load_lora(adapted, "toons-umo")
    before, after = (
        np.mean([value for value, _ in reward([draw(backbone, one, 0) for one in read], known)])
        for backbone in (model, adapted)
    )
    assert after > before + 0.03


def assigned(rows: Sequence[Tensor], references: Sequence[Tensor]) -> float:
    """Mean cosine of the best one-to-one assignment; an absent subject counts 0."""
    cosine = np.zeros((len(references), max(len(rows), len(references))))
    for i, reference in enumerate(references):
        for j, row in enumerate(rows):
            cosine[i, j] = float(row @ reference)
    return float(cosine[linear_sum_assignment(-cosine)].mean())


def test_the_same_scene_and_seed_are_the_same_picture(model: Backbone, tmp_path: Path) -> None:
    (one,) = read_scenes(write_scenes([scene(3, count=1, split="test")], tmp_path)).scenes
    first, again, other = (draw(model, one, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_the_command_chooses_the_best_by_toon_eyes(tmp_path: Path) -> None:
    path = write_scenes([scene(5, count=1, split="test")], tmp_path)
    command = ["generate", str(path), "--model", "toons", "--out", str(tmp_path / "drawn")]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--steps", "8", "--best-of", "2"])
    assert not ended.value.code
    (row,) = read_rows(tmp_path / "drawn" / "images.jsonl")
    assert "toon" in row["best_of"]["rater"]
    assert row["reference_guidance"] == load_backbone("toons").limits.reference_guidance
