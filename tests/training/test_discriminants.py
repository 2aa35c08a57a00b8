"""Directions that tell identities apart, against SciPy, and the toon eyes made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from personae.diffusion.load import load_backbone
from personae.errors import DataError, WeightsError
from personae.training.discriminants import discriminants
from personae.training.drawn_faces import DrawnPlan, drawn_faces
from personae.vision.faces.embed import pairwise_cosine
from personae.vision.toons.detector import ToonFaceDetector
from personae.vision.toons.discriminants import DiscriminantEmbedder
from personae.vision.toons.shipped import shipped_path


def drawn(seed: int, people: int = 30, views: int = 5, width: int = 12) -> tuple[Tensor, Tensor]:
    """Identities that differ in three columns, and views that differ much more in the others."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), views)
    means = np.zeros((people, width))
    means[:, :3] = rng.normal(size=(people, 3))
    spread = np.where(np.arange(width) < 3, 0.2, 3.0)
    rows = means[who] + rng.normal(size=(len(who), width)) * spread
    return torch.from_numpy(rows).float(), torch.from_numpy(who)


def slow(rows: np.ndarray, who: np.ndarray, count: int, shrinkage: float) -> np.ndarray:
    """Scatter summed row by row, the generalized problem left to SciPy."""
    names = sorted(set(who.tolist()))
    means = {name: rows[who == name].mean(0) for name in names}
    within = np.zeros((rows.shape[1], rows.shape[1]))
    for row, name in zip(rows, who, strict=True):
        within += np.outer(row - means[name], row - means[name])
    within /= len(rows) - len(names)
    within += shrinkage * np.trace(within) / len(within) * np.eye(len(within))
    between = np.cov(np.stack([means[name] for name in names]).T)
    values, vectors = scipy.linalg.eigh(between, within)
    return vectors[:, -count:] * np.sqrt(values[-count:])


def test_directions_are_those_of_the_generalized_problem() -> None:
    rows, who = drawn(0)
    mean, matrix = discriminants(rows, who, count=4, shrinkage=0.1)
    expected = slow(rows.double().numpy(), who.numpy(), 4, 0.1)
    assert np.allclose(mean, rows.mean(0), atol=1e-5)
    # Directions have no sign.
    assert np.allclose(np.abs(matrix.numpy()), np.abs(expected), atol=1e-4)


def test_they_tell_others_apart_where_the_features_do_not() -> None:
    mean, matrix = discriminants(*drawn(0), count=3, shrinkage=0.01)
    rows, who = drawn(1)
    same = (who[:, None] == who[None]) & ~torch.eye(len(who), dtype=torch.bool)

    def told(values: Tensor) -> float:
        cosine = F.normalize(values, dim=1) @ F.normalize(values, dim=1).T
        own, other = cosine[same], cosine[who[:, None] != who[None]]
        return float((own[:, None] > other[None, ::7]).float().mean())

    assert told(rows) < 0.65
    assert told((rows - mean) @ matrix) > 0.9


@pytest.mark.parametrize(("rows", "count"), [(0, 2), (3, 2), (9, 13)])
def test_too_little_to_learn_from(rows: int, count: int) -> None:
    with pytest.raises(DataError, match="several rows of some identities"):
        discriminants(
            torch.randn(rows, 12), torch.arange(rows) // (3 if rows == 9 else 1), count=count
        )


def test_unseen_toons_as_the_model_draws_them_are_told_apart(tmp_path: Path) -> None:
    plan = DrawnPlan(split="test", chunks=1, scenes=16, begins=(0.5, 0.7), steps=2)
    backbone = load_backbone("toons", device="cpu", dtype=torch.float32)
    faces = drawn_faces(plan, backbone, ToonFaceDetector(), tmp_path)
    held = load_file(shipped_path(DiscriminantEmbedder.name))
    turned = (faces.features - held["mean"].float()) @ held["matrix"].float()
    reference, drawn = faces.kind == 0, faces.kind > 1
    own = faces.who[drawn][:, None] == faces.who[reference][None]

    def told(values: Tensor) -> float:
        cosine = pairwise_cosine(values[drawn], values[reference])
        return float((cosine[own][:, None] > cosine[~own][None]).float().mean())

    assert told(turned) > 0.88
    assert told(faces.features) < 0.8


def test_values_and_none_at_all() -> None:
    eyes = DiscriminantEmbedder()
    found = eyes.embed(torch.rand(3, 3, 64, 64))
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)
    assert bool(((eyes.similarity(found, found) >= 0) & (eyes.similarity(found, found) <= 1)).all())
    assert eyes.embed(torch.zeros(0, 3, 64, 64)).shape == (0, 64)


def test_shapes_and_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="64"):
        DiscriminantEmbedder().embed(torch.zeros(1, 3, 32, 32))
    with pytest.raises(WeightsError, match="cannot be read"):
        DiscriminantEmbedder(tmp_path / "none.safetensors")
