"""A recipe without mistakes, and what a dry run must not touch."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from personae.training.flops import PictureFlops


@pytest.fixture
def with_weights() -> None:
    """Some tests train, or load a tiny model, to compare."""


@pytest.fixture(autouse=True)
def no_weights_and_no_network(monkeypatch: pytest.MonkeyPatch, request: Any) -> None:
    """Whatever reads weights or asks the network raises."""
    if "with_weights" in request.fixturenames:
        return

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a dry run reads no weights and asks no network")

    import diffusers
    import transformers

    for owner, name in (
        (safetensors, "safe_open"),
        (safetensors.torch, "load_file"),
        (safetensors.torch, "load"),
        (torch, "load"),
        (diffusers.DiffusionPipeline, "from_pretrained"),
        (diffusers.ModelMixin, "from_pretrained"),
        (transformers.PreTrainedModel, "from_pretrained"),
        (socket.socket, "connect"),
    ):
        monkeypatch.setattr(owner, name, refuse)
    if "test_mistakes" in request.node.nodeid:  # nor does looking for mistakes need to count
        monkeypatch.setattr("personae.training.dry_run.decoder_cost", lambda *_: (1e9, 1000))
        flops = PictureFlops(*[1e9] * 6)
        monkeypatch.setattr("personae.training.dry_run.picture_flops", lambda *_: flops)
    if "toons" not in request.node.name:  # one test measures, the others need no true speed
        monkeypatch.setattr("personae.training.needs.measured_speed", lambda *_, **__: 1e10)


@pytest.fixture
def recipe(tiny: Path, examples: Path, tmp_path: Path) -> Path:
    """A recipe without mistakes: an adapter on a tiny model, from a file, with a reward."""
    path = tmp_path / "small.toml"
    path.write_text(
        f'base = "{tiny}"\ndevice = "cpu"\n[data]\nfile = "{examples}"\nsizes = [[64, 64]]\n'
        "workers = 1\n[training]\nsteps = 4\nbatch_size = 2\nlog_every = 1\nsave_every = 2\n"
        "ema_decay = 0.9\n[lora]\nrank = 3\n[rewards.weights]\nsir = 1.0\n"
        "[rerefl]\nwindow = [1, 2]\n[rollout]\nsteps = 4\n"
    )
    return path
