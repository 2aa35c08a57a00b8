"""A tiny model, a few examples made of it, and recipes to train it by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from personae.config import build_config
from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.training.recipe import Recipe
from tests.diffusion.tiny import save_tiny_klein

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random pipeline."""
    return save_tiny_klein(tmp_path_factory.mktemp("tiny") / "klein")


@pytest.fixture
def backbone(tiny: Path) -> Backbone:
    """The tiny pipeline, loaded anew."""
    return load_backbone(tiny)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples.jsonl: six pictures of 64 x 64, four with one reference and two with two."""
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    lines = []
    for number in range(6):
        names = [f"{number}.png", *(f"{number}-ref{k}.png" for k in range(1 + (number > 3)))]
        for name in names:
            small = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(small).resize((64, 64), Image.Resampling.NEAREST).save(folder / name)
        line = {"id": f"e{number}", "image": names[0], "prompt": f"girl {number} in a park"}
        lines.append(json.dumps({**line, "references": names[1:]}))
    path = folder / "examples.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def make_recipe(tiny: Path, examples: Path, tmp_path: Path) -> MakeRecipe:
    """A recipe of four steps; sections over it."""

    def make(**sections: Any) -> Recipe:
        data: dict[str, Any] = {
            "base": str(tiny),
            "device": "cpu",
            "data": {
                "file": str(examples),
                "sizes": [[64, 64]],
                "folder": str(tmp_path / "latents"),
                "workers": 1,
            },
            "training": {"steps": 4, "batch_size": 2, "log_every": 1, "save_every": 0},
            "optimizer": {"lr": 1e-3, "warm_up": 0},
        }
        for name, section in sections.items():
            merge = isinstance(section, dict) and name in data and name != "data"
            data[name] = {**data[name], **section} if merge else section
        return build_config(Recipe, data)

    return make
