from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from personae.errors import DataError, WeightsError
from personae.subjects.box import Box
from personae.subjects.scene import Claim
from personae.toons import scene
from personae.training.eyes_album import AlbumPlan, album
from personae.training.eyes_learners import LEARNERS
from personae.training.eyes_trial import auc, descriptors, sightings, verification_pairs
from personae.vision.faces import FaceEyes
from personae.vision.protocols import Detection
from personae.vision.toons import (
    Examiner,
    ExaminerDetector,
    ExaminerEmbedder,
    ToonFaceDetector,
    ToonFaceEmbedder,
)
from personae.vision.toons.finding import enough, prepared
from personae.vision.toons.networks import CenterNet, IdentityNet
from personae.vision.toons.shipped import (
    TOON_WEIGHTS,
    load_into,
    read_facts,
    shipped_path,
    weights_bytes,
)

DETECTORS = (ToonFaceDetector, ExaminerDetector)
EMBEDDERS = (ToonFaceEmbedder, ExaminerEmbedder)


def test_weights_that_do_not_ship_say_how_to_train_them() -> None:
    with pytest.raises(WeightsError, match=r"python -m personae\.training\.eyes nobody"):
        shipped_path("nobody")
    assert set(TOON_WEIGHTS) == {*LEARNERS, "toon-discriminants"}


@pytest.mark.parametrize("name", sorted(TOON_WEIGHTS))
def test_shipped_weights_are_small_checked_and_say_what_they_learned_from(name: str) -> None:
    path = TOON_WEIGHTS[name].path()
    assert path.stat().st_size <= 2_000_000
    facts = read_facts(path)
    assert facts["name"] == name
    assert '"split": "train"' in facts["recipe"]


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(weights_bytes(IdentityNet(), {"name": "x"}))
    assert isinstance(load_into(IdentityNet(), path), IdentityNet)
    with pytest.raises(WeightsError, match="do not fit CenterNet"):
        load_into(CenterNet(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_into(IdentityNet(), path)


@pytest.mark.parametrize("kind", DETECTORS)
def test_faces_are_found_and_nothing_else(kind) -> None:
    items = [scene(seed, count=1 + seed % 5, split="test") for seed in range(300, 320)]
    true = [[member.face for member in item.members] for item in items]
    seen, _ = sightings(kind(), [item.image for item in items], true)
    assert seen.recall()[0] >= 0.95
    assert seen.precision()[0] >= 0.95


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_larger_picture_has_the_same_faces_at_its_scale(kind) -> None:
    item = scene(321, count=2, split="test")
    large = np.asarray(Image.fromarray(item.image).resize((384, 384), Image.Resampling.BICUBIC))
    small, found = (kind().detect(image) for image in (item.image, large))
    assert len(small) == len(found) == 2
    for first in small:
        near = max(found, key=lambda other: other.box.iou(first.box.scaled(3)))
        assert near.box.iou(first.box.scaled(3)) > 0.8
        assert np.abs(near.landmarks - 3 * first.landmarks).max() < 8


@pytest.mark.parametrize("kind", DETECTORS)
def test_no_toon_no_face(kind) -> None:
    rng = np.random.default_rng(0)
    empty = np.full((128, 128, 3), 127, np.uint8)
    noise = rng.integers(0, 255, (128, 192, 3)).astype(np.uint8)
    assert not kind().detect(empty)
    assert not kind().detect(noise)
    with pytest.raises(DataError, match="uint8"):
        kind().detect(empty.astype(np.float32))


@pytest.mark.parametrize("kind", EMBEDDERS)
def test_descriptors_are_unit_vectors_with_a_gradient(kind) -> None:
    eyes = kind()
    crops = torch.rand(2, 3, eyes.side_px, eyes.side_px, generator=torch.Generator().manual_seed(0))
    crops.requires_grad_(True)
    rows = eyes.embed(crops)
    assert torch.allclose(rows.norm(dim=1), torch.ones(2), atol=1e-5)
    eyes.similarity(rows[:1], rows[1:]).sum().backward()
    assert float(crops.grad.abs().max()) > 0
    assert torch.isfinite(crops.grad).all()
    with pytest.raises(DataError, match=eyes.name):
        eyes.embed(torch.rand(1, 3, 50, 50))


@pytest.mark.parametrize(("detector", "embedder"), list(zip(DETECTORS, EMBEDDERS, strict=True)))
def test_a_toon_is_itself_and_no_stranger(detector, embedder) -> None:
    eyes = FaceEyes(detector(), embedder())
    items = [scene(seed, count=2, split="test") for seed in range(330, 338)]
    same, other = [], []
    for item in items:
        references = [eyes.faces(member.reference.image, 1)[1][:1] for member in item.members]
        found, rows = eyes.faces(item.image, 2)
        assert len(found) == 2
        order = sorted(range(2), key=lambda i: found[i].box.left)
        truth = sorted(range(2), key=lambda i: item.members[i].face.left)
        for place, who in zip(order, truth, strict=True):
            alike = embedder().similarity(references[who], rows[place : place + 1])
            apart = embedder().similarity(references[1 - who], rows[place : place + 1])
            same.append(float(alike))
            other.append(float(apart))
    assert np.median(same) > 0.9
    assert np.median(other) < 0.1
    assert np.mean(same) - np.mean(other) > 0.7


@pytest.mark.parametrize("kind", EMBEDDERS)
def test_look_alikes_are_told_apart(kind, tmp_path: Path) -> None:
    """Twenty families whose members differ in one trait; 0.94 and 0.95 of 300 (docs/numbers.md)."""
    pages = album(AlbumPlan(split="test", families=20, seed=6), tmp_path)
    pairs, rows, eyes = verification_pairs(pages), descriptors(kind(), pages), kind()
    said = eyes.agreement(rows[pairs.first][:, None], rows[pairs.second][:, None])
    values = said[:, 0, 0].detach().numpy()
    same, alike, strange = (values[pairs.kind == number] for number in range(3))
    assert auc(same, alike) > 0.9
    assert auc(same, strange) > 0.99


def test_the_examiner_answers_what_it_can_see() -> None:
    judge, right, asked = Examiner.load(), 0, 0
    for seed in range(340, 352):
        item = scene(seed, split="test")
        where = {m.name: Detection(m.face, 1.0, None, m.landmarks) for m in item.members}
        claims = [claim for claim in item.claims if claim.kind in {"place", "wears", "action"}]
        for claim, answer in zip(claims, judge.answer(item.image, claims, where), strict=True):
            right += answer.seen == claim.expected
            asked += 1
    assert asked > 20
    assert right / asked > 0.8


def test_the_examiner_does_not_guess() -> None:
    judge = Examiner.load()
    image = scene(1, count=1, split="test").image
    claims = [
        Claim("wears", "a", "crown"),
        Claim("wears", "b", "scarf"),
        Claim("place", None, "moon"),
        Claim("mood", "a", "glad"),
    ]
    answers = judge.answer(image, claims, {"a": Detection(Box(20, 20, 60, 60), 1.0), "b": None})
    assert [answer.seen for answer in answers] == [None] * 4
    assert all(answer.reason for answer in answers)


def test_faces_that_are_expected_may_be_less_sure() -> None:
    found = [Detection(Box(0, 0, 1, 1), score) for score in (0.9, 0.3, 0.28, 0.1)]
    assert [len(enough(found, 0.4, 0.25, expected)) for expected in (0, 1, 2, 3, 9)] == [
        1,
        1,
        2,
        3,
        3,
    ]


def test_padding_adds_no_black() -> None:
    seen = prepared(np.full((100, 120, 3), 200, np.uint8), 128, 32)
    assert seen.pixels.shape == (1, 3, 128, 160)
    assert float(seen.pixels.min()) == pytest.approx(200 / 255, abs=1e-4)
    assert seen.factor == pytest.approx(100 / 128)
