"""An adapter that training saved is what was trained: for diffusers, for ComfyUI, for us."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from personae.config import build_config
from personae.diffusion.backbone import Backbone, Context
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import COMFY_FILE, DIFFUSERS_FILE, load_lora, lora_parameters
from personae.errors import WorkError
from personae.training.finetune import finetune
from personae.training.recipe import Recipe
from personae.training.saved import check_adapter
from tests.training.conftest import MakeRecipe
from tests.training.rewards.fakes import Brightness

LORA = {"rank": 3, "alpha": 6.0}
METHODS: dict[str, dict[str, Any]] = {
    "finetune": {},
    "rerefl": {"rewards": {}, "rerefl": {"window": [1, 2]}, "rollout": {"steps": 2}},
}


@dataclass(frozen=True)
class Saved:
    """What a run left: the model as it was trained, and the folder it saved."""

    backbone: Backbone
    folder: Path


@pytest.fixture(scope="module", params=METHODS)
def saved(request: Any, tiny: Path, examples: Path, tmp_path_factory: Any) -> Saved:
    folder = tmp_path_factory.mktemp(request.param)
    data = {
        "base": str(tiny),
        "device": "cpu",
        "data": {"file": str(examples), "sizes": [[64, 64]], "workers": 1},
        "training": {"steps": 2, "batch_size": 2},
        "optimizer": {"lr": 0.1, "warm_up": 0},
        "lora": LORA,
        **METHODS[request.param],
    }
    recipe = build_config(Recipe, data)
    backbone = load_backbone(tiny)
    result = finetune(recipe, folder / "run", backbone=backbone, reward=Brightness())
    assert result.saved == folder / "run" / "adapter"
    return Saved(backbone, result.saved)


def said(backbone: Backbone) -> torch.Tensor:
    """What the model says of fixed noise, words and a reference."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, *backbone.latent_shape(64, 64), generator=generator)
    reference = torch.randn(2, *backbone.latent_shape(64, 64), generator=generator)
    context = Context(backbone.encode_prompt(["girl 1", "man 2 in a park"]), (reference,))
    with torch.no_grad():
        return backbone.predict(x, torch.tensor([0.3, 0.9]), context)


def test_training_changed_the_model(saved: Saved, tiny: Path) -> None:
    assert (said(saved.backbone) - said(load_backbone(tiny))).abs().max() > 1e-3


def test_diffusers_draws_as_the_trained_model(saved: Saved, tiny: Path) -> None:
    fresh = load_backbone(tiny)
    fresh.pipeline.load_lora_weights(saved.folder)
    torch.testing.assert_close(said(fresh), said(saved.backbone), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["", DIFFUSERS_FILE, COMFY_FILE])
def test_each_file_loads_back(saved: Saved, tiny: Path, name: str) -> None:
    fresh = load_backbone(tiny)
    load_lora(fresh, saved.folder / name)
    torch.testing.assert_close(said(fresh), said(saved.backbone), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [DIFFUSERS_FILE, COMFY_FILE])
@pytest.mark.parametrize("harm", ["changed", "lacking", "torn", "gone"])
def test_what_is_not_what_was_trained_is_found(
    saved: Saved, tmp_path: Path, name: str, harm: str
) -> None:
    for each in (DIFFUSERS_FILE, COMFY_FILE):
        (tmp_path / each).write_bytes((saved.folder / each).read_bytes())
    check_adapter(saved.backbone, tmp_path)
    path = tmp_path / name
    tensors = load_file(path)
    first = min(tensors)
    if harm == "changed":
        tensors[first].view(-1)[0] += 1e-4
        save_file(tensors, path)
    elif harm == "lacking":
        save_file({key: value for key, value in tensors.items() if key != first}, path)
    elif harm == "torn":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.unlink()
    if (harm, name) == ("gone", COMFY_FILE):
        check_adapter(saved.backbone, tmp_path)  # layers may have no original names
        return
    with pytest.raises(WorkError, match=rf"{name}.*--resume"):
        check_adapter(saved.backbone, tmp_path)


def test_training_itself_looks(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from personae.diffusion import lora

    def careless(backbone: Backbone, folder: Path, *rest: Any, **more: Any) -> Path:
        path = save(backbone, folder, *rest, **more)
        for name in (DIFFUSERS_FILE, COMFY_FILE):
            (folder / name).write_bytes((folder / name).read_bytes()[:-4] + b"\x01\x02\x03\x04")
        return path

    save = lora.save_lora
    monkeypatch.setattr(lora, "save_lora", careless)
    with pytest.raises(WorkError, match="not those that were trained"):
        finetune(make_recipe(lora=LORA, training={"steps": 1}), tmp_path / "run")


def test_the_mean_of_the_weights_is_what_is_saved(
    make_recipe: MakeRecipe, tiny: Path, tmp_path: Path
) -> None:
    backbone = load_backbone(tiny)
    recipe = make_recipe(lora=LORA, training={"steps": 3, "ema_decay": 0.9}, optimizer={"lr": 0.1})
    result = finetune(recipe, tmp_path / "run", backbone=backbone)
    assert result.saved is not None
    stored = load_file(result.saved / DIFFUSERS_FILE)
    name, now = next(iter(lora_parameters(backbone).items()))
    assert not torch.equal(stored[f"transformer.{name.replace('.default', '')}"], now.detach())
    (mean,) = (tmp_path / "run" / "checkpoints").glob("step-*/ema.safetensors")
    kept = load_file(mean)[f"denoiser.{name}"]
    assert torch.equal(stored[f"transformer.{name.replace('.default', '')}"], kept)
