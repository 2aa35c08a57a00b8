"""One tiny model for all tests of this room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from personae.compute.device import limited_threads
from personae.diffusion.backbone import Context
from personae.diffusion.flux2 import Flux2Backbone
from personae.diffusion.load import load_backbone
from tests.diffusion.tiny import save_tiny_klein


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads cost a tiny model more than they bring."""
    with limited_threads(1):
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that nobody changes."""
    return save_tiny_klein(tmp_path_factory.mktemp("tiny") / "klein")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Flux2Backbone:
    """A backbone that nobody changes."""
    backbone = load_backbone(tiny_folder)
    assert isinstance(backbone, Flux2Backbone)
    return backbone


@pytest.fixture
def fresh(tiny_folder: Path) -> Flux2Backbone:
    """A backbone of one's own."""
    backbone = load_backbone(tiny_folder)
    assert isinstance(backbone, Flux2Backbone)
    return backbone


class Batch:
    """Random inputs of a tiny backbone: three pictures of 96 x 64 from two references each."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(3, 32, 4, 6, generator=generator)
        self.time = torch.tensor([0.2, 0.6, 1.0])
        references = tuple(torch.randn(3, 32, 4, 4, generator=generator) for _ in range(2))
        self.context = Context(torch.randn(3, 32, 72, generator=generator), references)


@pytest.fixture
def batch() -> Batch:
    return Batch()
