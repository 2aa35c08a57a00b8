"""Aesthetic scores: where there are weights, and where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from personae.data.pipeline.aesthetic import Aesthetic
from personae.data.pipeline.items import Item
from personae.data.pipeline.runner import run_pipeline
from personae.vision.aesthetic import AestheticScorer
from personae.vision.embedders.crops import image_tensor
from tests.vision.tiny_clip import save_tiny_clip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny true CLIP and a head of one layer for its 24 numbers."""
    home = tmp_path_factory.mktemp("aesthetic")
    torch.manual_seed(1)
    layer = {"layers.0.weight": 3 * torch.randn(1, 24), "layers.0.bias": torch.tensor([5.0])}
    save_file(layer, home / "head.safetensors")
    return home / "head.safetensors", save_tiny_clip(home / "clip")


@pytest.fixture
def source(tmp_path: Path) -> list[Item]:
    rng, made = np.random.default_rng(0), []
    for number in range(8):
        small = rng.integers(0, 255, (3, 3, 3), np.uint8)
        path = tmp_path / f"{number}.png"
        Image.fromarray(small).resize((40, 40)).save(path)
        made.append(Item(id=str(number), files={"image": str(path)}))
    return made


def test_low_scores_are_dropped_with_their_number(
    weights: tuple[Path, Path], source: list[Item], tmp_path: Path
) -> None:
    head, clip = weights
    scorer = AestheticScorer(head, clip)
    pictures = [image_tensor(np.asarray(Image.open(item.files["image"]))) for item in source]
    with torch.no_grad():
        expected = scorer.score(torch.stack(pictures)).numpy()
    least = float(np.median(expected))
    step = Aesthetic(head=str(head), encoder=str(clip), least=least, device="cpu")
    account = run_pipeline(source, [step], tmp_path / "out")
    kept = {item.id: item.data["aesthetic"] for item in account.items()}
    assert kept == {
        str(k): pytest.approx(float(value), abs=2e-3)
        for k, value in enumerate(expected)
        if value >= least
    }
    assert account.steps[0].dropped == {"its aesthetic score is too low": 4}
    assert not account.steps[0].unmeasured


def test_without_weights_nothing_is_scored_and_the_account_says_why(
    weights: tuple[Path, Path], source: list[Item], tmp_path: Path
) -> None:
    head, clip = weights
    late = tmp_path / "late.safetensors"
    step = Aesthetic(head=str(late), encoder=str(clip), least=9.0, device="cpu")
    account = run_pipeline(source, [step], tmp_path / "out")
    assert account.steps[0].num_out == 8 and not account.steps[0].dropped
    ((reason, count),) = account.steps[0].unmeasured.items()
    assert count == 8 and reason.startswith("no aesthetic score:") and "late.safetensors" in reason
    assert all("aesthetic" not in item.data for item in account.items())
    assert '"unmeasured"' in (tmp_path / "out/account.json").read_text()
    late.write_bytes(head.read_bytes())
    again = run_pipeline(source, [step], tmp_path / "out").steps[0]
    assert again.num_made == again.num_shards, "once there are weights, everything is looked at"
    assert again.num_out < 8 and not again.unmeasured
