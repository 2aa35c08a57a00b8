from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from personae.errors import RequestError
from personae.toons.identity import look_alike, split_of, toon
from personae.training.eyes import EYES_RECIPES, EyesRecipe, train_eyes
from personae.training.eyes_album import Album, AlbumPlan, album, trait_codes
from personae.training.eyes_batches import crops_of, face_batch
from personae.training.eyes_dictionary import fit_dictionary, k_means, patches_of
from personae.training.eyes_features import moved, random_batch
from personae.training.eyes_learners import LEARNERS
from personae.training.eyes_noise import blurred, compressed, damaged, softened
from personae.training.eyes_trial import verification, verification_pairs
from personae.vision.toons.embedder import TOON_TEMPLATE
from personae.vision.toons.networks import Dictionary
from personae.vision.toons.traits import TRAIT_CHOICES

PLAN = AlbumPlan(split="train", families=3, likes=1)


@pytest.fixture(scope="module")
def albums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("albums")


@pytest.fixture(scope="module")
def pages(albums: Path) -> Album:
    return album(PLAN, albums)


def small(name: str, **changes: object) -> EyesRecipe:
    batch = 12 if name in {"toon-identity", "examiner-patches"} else 4
    return EyesRecipe(**{"steps": 4, "batch": batch, "plan": PLAN, "seed": 1, **changes})


def test_an_album_is_what_its_plan_says(pages: Album, albums: Path) -> None:
    again = album(PLAN, albums)  # from the disk
    for name, value in pages.arrays().items():
        assert (value == getattr(again, name)).all(), name
    assert pages.family.tolist() == [0, 0, 1, 1, 2, 2]
    in_scene = pages.place[pages.picture] >= 0
    for who in range(6):
        assert in_scene[pages.who == who].sum() == 1
        assert (~in_scene[pages.who == who]).sum() == 2  # its reference and one portrait more
    for index in range(len(pages.shapes)):
        assert pages.image(index).shape[:2] == tuple(pages.shapes[index])


def test_every_recipe_learns_from_training_identities_only() -> None:
    from personae.toons.identity import identities

    for recipe in EYES_RECIPES.values():
        assert recipe.plan.split == "train"
        seeds = identities(recipe.plan.split, recipe.plan.families, recipe.plan.start)
        assert {split_of(seed) for seed in seeds} == {"train"}


def test_the_examiner_is_of_another_make() -> None:
    eyes = [LEARNERS[name]().network for name in ("toon-centers", "toon-identity")]
    examiner = [LEARNERS[name]().network for name in ("examiner-regions", "examiner-patches")]
    assert not {type(item) for item in eyes} & {type(item) for item in examiner}
    seeds = [EYES_RECIPES[name].seed for name in LEARNERS]
    assert len(set(seeds)) == 5


def test_codes_of_look_alikes_differ_where_they_differ() -> None:
    model = toon(11)
    other = look_alike(model, seed=0, changes=1)
    names = list(TRAIT_CHOICES)
    a, b = trait_codes(model), trait_codes(other)
    seen = (model.attributes(), other.attributes())
    changed = {
        name for name in seen[0].keys() | seen[1].keys() if seen[0].get(name) != seen[1].get(name)
    }
    assert {names[i] for i in range(len(names)) if a[i] != b[i]} == changed


def test_batches_are_a_function_of_seed_and_step(pages: Album) -> None:
    first, again, other = (face_batch(pages, 8, 3, step) for step in (5, 5, 6))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    maps = torch.rand(2, len(pages.row), 4, 3, 3, generator=torch.Generator().manual_seed(0))
    views, same = (random_batch(pages, 2, 12, 3, 5) for _ in range(2))
    assert torch.equal(views.of(maps), same.of(maps))
    assert views.of(maps).shape == (12, 4, 3, 3)


def test_faces_at_random_are_those_of_the_album(pages: Album) -> None:
    made, again = (random_batch(pages, 2, 64, 3, 5) for _ in range(2))
    assert (made.face == again.face).all() and (made.version == again.version).all()
    assert made.who.tolist() == pages.who[made.face].tolist()
    assert made.traits.tolist() == pages.traits[pages.who[made.face]].tolist()
    assert len(np.unique(made.face)) > len(pages.row) // 2


def test_moved_crops_hold_the_same_pixels() -> None:
    crops = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    made = moved(crops, np.random.default_rng(1))
    assert torch.equal(made.flatten(2).sort().values, crops.flatten(2).sort().values)
    kept = [
        any(torch.equal(one.roll(by, (1, 2)), other) for by in np.ndindex(8, 8))
        for one, other in zip(crops, made, strict=True)
    ]
    assert 0 < sum(kept) < 12  # the others are mirrored


def test_faces_of_a_batch_lie_where_they_are(pages: Album) -> None:
    made = face_batch(pages, 32, 0, 0)
    rows = torch.cat(made.faces)
    assert len(rows) > 20
    middles = (rows[:, :2] + rows[:, 2:4]) / 2
    size = rows[:, 2:4] - rows[:, :2]
    points = rows[:, 4:].view(-1, 5, 2)
    assert ((points - middles[:, None]).abs() < size[:, None]).all()
    assert (points[:, 0, 0] < points[:, 1, 0]).all()  # eyes stay left and right when mirrored
    assert (points[:, 3, 0] < points[:, 4, 0]).all()
    assert (points[:, 2, 1] < points[:, 3, 1]).all()  # and the nose above the mouth


def test_a_dictionary_says_what_its_card_says(pages: Album) -> None:
    """The convolution against whitening, distances and means, patch by patch."""
    crops = crops_of(pages, np.arange(12), TOON_TEMPLATE, np.random.default_rng(0))
    dictionary = Dictionary(6, 2, 6, 2, 30)  # a cell a patch
    fit_dictionary(dictionary, crops, seed=0, num_patches=2000)
    said = dictionary(crops[:1])[0]
    assert said.shape == (10, 30, 30)
    rng = np.random.default_rng([0, 7])
    points = patches_of(crops, 6, 2000, rng).double()
    values, vectors = torch.linalg.eigh(torch.cov(points.T))
    whiten = torch.diag((values + 0.003) ** -0.5) @ vectors.T
    centers = k_means((points - points.mean(0)) @ whiten.T, 6, rng)
    for line, column in ((0, 0), (7, 20), (29, 29)):
        patch = crops[0, :, 2 * line : 2 * line + 6, 2 * column : 2 * column + 6].flatten().double()
        spot = whiten @ (patch - points.mean(0))
        far = (spot - centers).square().sum(1)
        expected = [((far.mean() - far) / 2).relu(), spot[-1:].relu(), spot[-2:-1].relu()]
        expected += [(-spot[-1:]).relu(), (-spot[-2:-1]).relu()]
        assert torch.allclose(said[:, line, column].double(), torch.cat(expected), atol=1e-3)


def test_centers_are_means_of_what_is_nearest_to_them() -> None:
    points = torch.cat(
        [
            torch.randn(50, 2, generator=torch.Generator().manual_seed(k)) * 0.1 + 5 * k
            for k in range(3)
        ]
    )
    centers = k_means(points, 3, np.random.default_rng(3), rounds=20)
    nearest = torch.cdist(points, centers).argmin(1)
    for index in range(3):
        if (nearest == index).any():
            assert torch.allclose(centers[index], points[nearest == index].mean(0), atol=1e-4)


def test_damage_keeps_the_picture_a_picture() -> None:
    rng = np.random.default_rng(0)
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    made = damaged(images, rng)
    assert made.shape == images.shape
    assert float(made.min()) >= 0 and float(made.max()) <= 1
    untouched = [bool(torch.equal(a, b)) for a, b in zip(made, images, strict=True)]
    assert 0 < sum(untouched) < 12
    line = torch.zeros(1, 3, 32, 32)
    line[..., 16] = 1
    assert float(blurred(line, 1.0)[0, 0, 16, 16]) < 0.5
    assert float(blurred(line, 1.0).sum()) == pytest.approx(float(line.sum()), rel=1e-3)
    assert float(softened(line, 2.0, torch.zeros_like(line))[0, 0, 16].max()) < 0.9
    assert compressed(images[0], 30).shape == images[0].shape


@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_training_resumes_as_if_it_had_not_stopped(name: str, tmp_path: Path, albums: Path) -> None:
    whole = train_eyes(name, small(name), tmp_path / "whole", albums=albums)
    parts = tmp_path / "parts"
    # Every call makes at most one step: the clock is past its limit after the first.
    for _ in range(4):
        train_eyes(name, small(name), parts, albums=albums, max_seconds=1e-9)
    assert (parts / f"{name}.safetensors").is_file()
    _same(whole.parent / "state.safetensors", parts / "state.safetensors")
    _same(whole, parts / f"{name}.safetensors")


def _same(first: Path, second: Path) -> None:
    a, b = load_file(first), load_file(second)
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert torch.equal(value, b[key]), key


def test_a_run_of_another_recipe_is_not_gone_on_with(tmp_path: Path, albums: Path) -> None:
    train_eyes("toon-identity", small("toon-identity", steps=1), tmp_path, albums=albums)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 1 and rows[-1]["traits"] > 0
    with pytest.raises(RequestError, match="another recipe"):
        train_eyes("toon-identity", small("toon-identity", seed=2), tmp_path, albums=albums)
    with pytest.raises(RequestError, match="toon-identity"):
        train_eyes("toon-ears", small("toon-identity"), tmp_path, albums=albums)


def test_a_verdict_that_knows_everything_is_perfect(pages: Album) -> None:
    pairs = verification_pairs(pages, strangers=4)
    truth = np.where(pairs.kind == 0, 1.0, 0.0)
    seen = verification(truth, pairs)
    assert seen.strangers == (1.0, 1.0, 1.0)
    assert seen.look_alikes == (1.0, 1.0, 1.0)
    assert seen.num_same == 12 and seen.num_look_alikes == 12
    blind = verification(np.zeros(len(pairs.kind)), pairs)
    assert blind.strangers[0] == 0.5
