"""A tiny random model of the true classes, for the whole room."""

from __future__ import annotations

import pytest

from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from tests.diffusion.tiny import save_tiny_klein


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Backbone:
    """A random FLUX.2 Klein pipeline."""
    return load_backbone(save_tiny_klein(tmp_path_factory.mktemp("tiny")))
