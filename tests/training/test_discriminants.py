"""Directions that tell identities apart, against SciPy, and the toon eyes made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.errors import DataError, WeightsError
from personae.training.discriminants import discriminants
from personae.training.eyes_album import AlbumPlan, album
from personae.training.eyes_batches import crops_of
from personae.vision.toons.discriminants import DiscriminantEmbedder, photo_features


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


def test_toons_that_nobody_learned_are_told_apart(tmp_path: Path) -> None:
    plan = AlbumPlan(split="test", families=24, start=50, likes=0, seed=9)
    held = album(plan, tmp_path)
    eyes = DiscriminantEmbedder()
    crops = crops_of(held, np.arange(len(held.row)), eyes.template, np.random.default_rng(4))
    found, plain = eyes.embed(crops), photo_features(crops)
    who = torch.from_numpy(held.who)
    pictures = torch.from_numpy(held.picture)
    same = (who[:, None] == who[None]) & (pictures[:, None] != pictures[None])

    def told(cosine: Tensor) -> float:
        own, other = cosine[same], cosine[who[:, None] != who[None]]
        return float((own[:, None] > other[None]).float().mean())

    assert told(eyes.cosine(found, found)) > 0.9
    assert told(plain @ plain.T) < 0.8
    assert eyes.embed(crops[:0]).shape == (0, 64)
    assert bool(((eyes.similarity(found, found) >= 0) & (eyes.similarity(found, found) <= 1)).all())


def test_shapes_and_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="64"):
        DiscriminantEmbedder().embed(torch.zeros(1, 3, 32, 32))
    with pytest.raises(WeightsError, match="cannot be read"):
        DiscriminantEmbedder(tmp_path / "none.safetensors")
