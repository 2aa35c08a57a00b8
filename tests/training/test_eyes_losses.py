from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.subjects.box import Box
from personae.training.eyes_losses import (
    center_loss,
    center_targets,
    region_loss,
    region_targets,
    trait_loss,
)
from personae.training.eyes_trial import auc, matched
from personae.vision.toons.finding import centers_to_faces, regions_to_faces, without_overlap
from tests.reference import eyes_loops

FACE = torch.tensor([30.0, 22, 66, 60, 40, 40, 56, 41, 48, 47, 43, 53, 53, 54])
OTHER = torch.tensor([80.0, 70, 110, 98, 88, 83, 102, 84, 95, 88, 90, 93, 100, 94])


def perfect_center_maps(targets) -> torch.Tensor:
    heat = torch.logit(targets.heat.clamp(1e-4, 1 - 1e-4))
    return torch.cat([heat[:, None], targets.shape], 1)


def perfect_region_maps(targets) -> torch.Tensor:
    return torch.cat([torch.logit(targets.heat.clamp(1e-4, 1 - 1e-4))[:, None], targets.shape], 1)


@pytest.mark.parametrize("kind", ["centers", "regions"])
def test_what_is_encoded_is_decoded_again(kind: str) -> None:
    faces = [torch.stack([FACE, OTHER])]
    if kind == "centers":
        maps = perfect_center_maps(center_targets(faces, (32, 32), 4, 32.0))[0]
        found = centers_to_faces(maps, 4, 32.0, least=0.5)
    else:
        maps = perfect_region_maps(region_targets(faces, (16, 16), 8, 32.0))[0]
        found = regions_to_faces(maps, 8, 32.0, least=0.5)
    found = sorted(without_overlap(found), key=lambda item: item.box.left)
    assert len(found) == 2
    for item, row in zip(found, faces[0], strict=True):
        assert np.allclose(item.box.xyxy, row[:4].numpy(), atol=1e-3)
        assert np.allclose(item.landmarks.reshape(-1), row[4:].numpy(), atol=1e-3)


@pytest.mark.parametrize("kind", ["centers", "regions"])
def test_a_perfect_map_costs_least(kind: str) -> None:
    faces = [torch.stack([FACE, OTHER]), torch.zeros(0, 14)]
    make, cost, perfect = {
        "centers": (
            lambda: center_targets(faces, (32, 32), 4, 32.0),
            center_loss,
            perfect_center_maps,
        ),
        "regions": (
            lambda: region_targets(faces, (16, 16), 8, 32.0),
            region_loss,
            perfect_region_maps,
        ),
    }[kind]
    targets = make()
    maps = perfect(targets)
    # A hill of heat has slopes; only its top and the plain below are certain.
    best = float(cost(maps, targets))
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(0))
    assert best < float(cost(maps + 0.5 * noise, targets))
    assert best < 0.05


def test_no_face_at_all_is_a_loss_that_can_be_minimized() -> None:
    nothing = [torch.zeros(0, 14)]
    for make, cost, size, stride in (
        (center_targets, center_loss, (32, 32), 4),
        (region_targets, region_loss, (16, 16), 8),
    ):
        maps = torch.zeros(1, 15, *size, requires_grad=True)
        cost(maps, make(nothing, size, stride, 32.0)).backward()
        assert torch.isfinite(maps.grad).all()
        assert (maps.grad[:, 0] > 0).all()  # less face everywhere is better


def test_a_trait_that_cannot_be_seen_is_the_last_choice() -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    traits = torch.tensor([[0, -1], [1, -1], [0, 1]])
    parts = logits.log_softmax(1) * 0
    parts[:, :2] = logits[:, :2].log_softmax(1)
    parts[:, 2:] = logits[:, 2:].log_softmax(1)
    right = [parts[0, 0], parts[1, 1], parts[2, 0], parts[0, 4], parts[1, 4], parts[2, 3]]
    expected = -sum(float(item) for item in right) / 6
    assert float(trait_loss(logits, traits, [2, 3])) == pytest.approx(expected, rel=1e-5)


@given(
    st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=6),
    st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.5]), min_size=1, max_size=6),
)
def test_area_equals_the_slow_one(same: list[float], different: list[float]) -> None:
    fast = auc(np.array(same), np.array(different))
    assert fast == pytest.approx(eyes_loops.area(same, different))


def test_a_find_is_matched_once() -> None:
    true = [Box(0, 0, 10, 10), Box(20, 0, 30, 10)]
    found = [Box(1, 0, 11, 10), Box(0, 0, 10, 10), Box(50, 50, 60, 60)]
    assert matched(found, true) == {0: 1}
