"""Masks of mixes with models that take no references: SDXL, Stable Diffusion and FLUX.1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from personae.config import build_config
from personae.data.cast_examples import CastExamples
from personae.diffusion.load import load_backbone
from personae.training.finetune import finetune
from personae.training.methods import asked_of_batch, objective_pass
from personae.training.processes import Ranks
from personae.training.recipe import Recipe
from personae.training.session import Session
from personae.training.sources import WithoutReferences, example_source
from tests.data.cast import toon_cast
from tests.diffusion.families import save_tiny
from tests.diffusion.test_sdxl_schedule import save_sd

KINDS = ("sdxl", "flux1", "sd")


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toon_cast(tmp_path_factory.mktemp("cast"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("bases")
    made = {kind: save_tiny(place / kind, kind) for kind in ("sdxl", "flux1")}
    return {**made, "sd": save_sd(place / "sd")}


def recipe_of(base: Path, cast: Path, folder: Path, alpha: float, **told: Any) -> Recipe:
    held = {"file": str(cast), "count": 6, "probability": 1.0, **told}
    data = {"cast": held, "sizes": [[64, 64]], "folder": str(folder), "workers": 1}
    training = {"steps": 2, "batch_size": 2, "log_every": 1, "save_every": 0}
    sections = {"lora": {"rank": 2}, "objective": {"soft_alpha": alpha}, "training": training}
    return build_config(Recipe, {"base": str(base), "device": "cpu", "data": data, **sections})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_outside_a_mask_does_not_count(
    folders: dict[str, Path], cast: Path, tmp_path: Path, kind: str
) -> None:
    losses = {}
    for alpha in (0.0, 0.5, 1.0):
        recipe = recipe_of(folders[kind], cast, tmp_path / "latents", alpha)
        backbone = load_backbone(folders[kind])
        run = Session(recipe, tmp_path / str(alpha), Ranks(torch.device("cpu")), backbone)
        batch, draws = run.batch(0)
        losses[alpha] = objective_pass(run, batch, draws)[1].loss
    weight, asked = batch.weight, asked_of_batch(run, batch, draws)
    assert weight is not None and asked.weight is not None
    assert weight.min() == 0 and weight.max() > 0.5
    said = asked.answer(backbone).detach().requires_grad_()
    asked.error(said, 0.0).sum().backward()
    assert said.grad is not None
    outside = (weight == 0).expand_as(said)
    assert not said.grad[outside].any() and said.grad[~outside].all()
    torch.testing.assert_close(losses[0.5], (losses[0.0] + losses[1.0]) / 2)
    squared = (said.detach() - asked.target).square()
    torch.testing.assert_close(losses[0.0], (weight * squared).flatten(1).mean(1))
    assert (losses[0.0] < losses[1.0]).all()


def test_a_run_is_another_with_a_mask(folders: dict[str, Path], cast: Path, tmp_path: Path) -> None:
    logs = []
    for alpha in (1.0, 0.0):
        out = tmp_path / str(alpha)
        finetune(recipe_of(folders["sdxl"], cast, tmp_path / "latents", alpha), out)
        logs.append([json.loads(row) for row in (out / "log.jsonl").read_text().splitlines()])
    for plain, masked in zip(*logs, strict=True):
        assert 0 < masked["loss"] < plain["loss"]
        assert 0 < masked["grad_norm"] != plain["grad_norm"]


def test_only_stores_that_lost_their_masks_are_made_anew(
    folders: dict[str, Path], cast: Path, tmp_path: Path
) -> None:
    backbone = load_backbone(folders["sdxl"])
    for told, is_new in (({}, True), ({"mix": "none"}, False), ({"probability": 0.0}, False)):
        source = example_source(recipe_of(folders["sdxl"], cast, tmp_path, 1.0, **told), backbone)
        assert isinstance(source, WithoutReferences) and isinstance(source.source, CastExamples)
        before = {**source.source.settings(), "references": "none"}
        assert (source.settings() != before) is is_new
        assert (source[0].mask is not None) is is_new
