"""Faces as the shipped model draws them: whose they are, and that they are what they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.training.drawn_faces import DrawnFaces, DrawnPlan, drawn_faces
from personae.vision.toons.detector import ToonFaceDetector

PLAN = DrawnPlan(split="test", chunks=2, scenes=5, begins=(0.3, 0.95), steps=2)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("toons", device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="module")
def faces(backbone: Backbone, folder: Path) -> DrawnFaces:
    return drawn_faces(PLAN, backbone, ToonFaceDetector(), folder)


def test_every_subject_is_there_and_little_noise_changes_it_least(faces: DrawnFaces) -> None:
    assert torch.bincount(faces.kind).tolist()[:2] == [20, 20]
    assert sorted(set(faces.who.tolist())) == list(range(20))
    assert faces.features.dtype == torch.float32
    assert len(faces.features) == len(faces.who) == len(faces.kind)
    apart = faces.features - faces.features.mean(0)
    apart = apart / apart.norm(dim=1, keepdim=True)

    def told(kind: int) -> float:
        """How much more a drawing is like its own subject as rendered than like the others."""
        rendered, drawn = faces.kind == 1, faces.kind == kind
        cosine = apart[drawn] @ apart[rendered].T
        own = faces.who[drawn][:, None] == faces.who[rendered][None]
        return float(cosine[own].mean() - cosine[~own].mean())

    few, many = (int((faces.kind == kind).sum()) for kind in (2, 3))
    assert few >= 15  # of 20: at 0.3 everybody stands where they stood
    assert many < few
    assert told(2) > 0.3
    assert told(2) > told(3) + 0.1


def test_what_is_there_is_read_and_what_is_not_is_drawn_alike(
    faces: DrawnFaces, backbone: Backbone, folder: Path
) -> None:
    first, second = sorted(folder.iterdir())
    before = load_file(second)
    second.unlink()
    written = first.stat().st_mtime_ns
    again = drawn_faces(PLAN, backbone, ToonFaceDetector(), folder)
    assert first.stat().st_mtime_ns == written
    # To rounding: how threads share a sum is not fixed.
    assert torch.allclose(again.features, faces.features, atol=2e-3)
    assert torch.equal(again.who, faces.who)
    assert torch.equal(load_file(second)["who"], before["who"])
