"""Fine-tuning SDXL and FLUX.1 by a recipe, from an examples file to an adapter that loads back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from personae.diffusion.backbone import Context
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora, lora_parameters
from personae.errors import RequestError
from personae.training.choose import choose
from personae.training.dry_run import dry_run
from personae.training.finetune import finetune
from personae.training.sources import example_source
from tests.diffusion.families import save_tiny, tiny_configs, uno
from tests.training.conftest import MakeRecipe

KINDS = ("sdxl", "flux1", "uno")
PREFIX = {"sdxl": "unet.", "flux1": "transformer.", "uno": "transformer."}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("bases")
    return {
        "sdxl": save_tiny(place / "sdxl", "sdxl"),
        "flux1": save_tiny(place / "flux1", "flux1"),
        "uno": save_tiny(place / "uno", "flux1", uno(tiny_configs("flux1").limits)),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_two_steps_an_adapter_and_a_picture(
    make_recipe: MakeRecipe, folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    recipe = make_recipe(
        base=str(folders[kind]),
        lora={"rank": 2},
        optimizer={"lr": 1e-2},
        training={"steps": 2, "gradient_checkpointing": True, "caption_dropout": 0.5},
        samples={"every": 2, "count": 1, "steps": 1},
    )
    result = finetune(recipe, tmp_path / "run")
    assert result.steps == 2
    assert result.saved is not None
    assert (tmp_path / "run" / "samples" / "step-00000002.png").is_file()
    stored = load_file(result.saved / "pytorch_lora_weights.safetensors")
    assert all(name.startswith(PREFIX[kind]) for name in stored)
    assert sum(bool(value.any()) for name, value in stored.items() if "lora_B" in name) > 0

    ours, theirs, plain = (load_backbone(folders[kind]) for _ in range(3))
    load_lora(ours, result.saved)
    theirs.pipeline.load_lora_weights(result.saved)
    x = torch.randn(1, *ours.latent_shape(64, 64), generator=torch.Generator().manual_seed(0))
    asked = (x, torch.tensor([0.5]), Context(ours.encode_prompt(["girl 1"])))
    with torch.no_grad():
        answers = [model.predict(*asked) for model in (ours, theirs, plain)]
    torch.testing.assert_close(answers[0], answers[1])
    assert (answers[0] - answers[2]).abs().max() > 1e-4
    settings = {"width": 64, "height": 64, "latents": x, "steps": 1, "guidance": 2.0}
    assert ours.draw("girl 1", [], **settings)[0].dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_begins_as_the_adapter_of_another(
    make_recipe: MakeRecipe, folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    settings = {"base": str(folders[kind]), "training": {"steps": 1}}
    first = finetune(make_recipe(**settings, lora={"rank": 2}), tmp_path / "first")
    begun = load_backbone(folders[kind])
    standing = {"lr": 1e-30, "weight_decay": 0.0}
    start = {"rank": 2, "start": str(first.saved)}
    finetune(
        make_recipe(**settings, lora=start, optimizer=standing), tmp_path / "next", backbone=begun
    )
    stored = load_file(first.saved / "pytorch_lora_weights.safetensors")
    held = lora_parameters(begun)
    assert len(held) == len(stored)
    for name, value in held.items():
        layer, part, _, end = name.rsplit(".", 3)
        torch.testing.assert_close(value.data, stored[f"{PREFIX[kind]}{layer}.{part}.{end}"])


def test_all_weights_and_both_text_encoders(
    make_recipe: MakeRecipe, folders: dict[str, Path], tmp_path: Path
) -> None:
    for kind in ("sdxl", "flux1"):
        training = {"steps": 1, "train_text_encoder": True, "gradient_checkpointing": True}
        recipe = make_recipe(base=str(folders[kind]), training=training)
        result = finetune(recipe, tmp_path / kind)
        again, before = load_backbone(result.saved), load_backbone(folders[kind])
        for name in ("text_encoder", "text_encoder_2"):
            pair = [getattr(model.pipeline, name).state_dict() for model in (again, before)]
            assert any((pair[0][key] != pair[1][key].bfloat16()).any() for key in pair[0])


@pytest.mark.parametrize("kind", ["sdxl", "flux1"])
def test_gradient_checkpointing_changes_nothing_but_memory(
    make_recipe: MakeRecipe, folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    seen = []
    for saved in (False, True):
        training = {"steps": 2, "gradient_checkpointing": saved}
        recipe = make_recipe(base=str(folders[kind]), training=training, lora={"rank": 2})
        finetune(recipe, tmp_path / str(saved))
        rows = (tmp_path / str(saved) / "log.jsonl").read_text().splitlines()
        seen.append([json.loads(row) for row in rows])
    for plain, other in zip(*seen, strict=True):
        assert plain["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert plain["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


def test_prompts_are_kept_and_found(
    make_recipe: MakeRecipe, folders: dict[str, Path], tmp_path: Path
) -> None:
    data = {"sizes": [[64, 64]], "workers": 1, "cache_text": True}
    for kind in ("sdxl", "flux1"):
        recipe = make_recipe(base=str(folders[kind]), lora={"rank": 2}, training={"steps": 2})
        data |= {"file": str(recipe.data.file), "folder": str(tmp_path / kind / "latents")}
        kept = make_recipe(
            base=str(folders[kind]),
            lora={"rank": 2},
            training={"steps": 2, "caption_dropout": 0.5},
            data=data,
        )
        assert finetune(kept, tmp_path / kind / "run").steps == 2


def test_examples_have_no_references_where_none_are_taken(
    make_recipe: MakeRecipe, folders: dict[str, Path]
) -> None:
    for kind, count in (("sdxl", 0), ("flux1", 0), ("uno", 1)):
        backbone = load_backbone(folders[kind])
        recipe = make_recipe(base=str(folders[kind]))
        assert len(example_source(recipe, backbone)[0].references) == count
        toons = make_recipe(
            base=str(folders[kind]), data={"toons": {"count": 2, "weights": [1.0]}, "workers": 1}
        )
        assert len(example_source(toons, backbone)[0].references) == count
    with pytest.raises(RequestError, match="rectified flow"):
        grpo = make_recipe(
            base=str(folders["sdxl"]),
            grpo={"prompts": 2},
            rewards={"faces": "toons"},
            lora={"rank": 2},
        )
        choose(grpo, load_backbone(folders["sdxl"]), torch.device("cpu"), reward=lambda *_: None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_tells_what_it_needs(
    make_recipe: MakeRecipe, folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    data = make_recipe().data
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'base = "{folders[kind]}"\ndevice = "cpu"\n[data]\nfile = "{data.file}"\n'
        "sizes = [[64, 64]]\nworkers = 1\n[lora]\nrank = 2\n[training]\nsteps = 2\n"
        "batch_size = 2\n"
    )
    told = dry_run(path, tmp_path / "run")
    assert not told.mistakes
    assert told.memory is not None
    assert told.time is not None
    assert told.memory.total > told.memory.certain > 0
    parts = {"unet" if kind == "sdxl" else "transformer", "text_encoder", "text_encoder_2", "vae"}
    assert {f"{part} weights" for part in parts} <= set(told.memory.held)
