import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from personae.subjects.box import Box, pairwise_iou
from personae.subjects.subject import Reference
from personae.vision.detectors.candidates import (
    Candidates,
    box_means,
    component_boxes,
    containment,
    iou_matrix,
    ring_means,
    summed_area,
)
from personae.vision.detectors.finds import Find, GuidedConfig, suppressed
from personae.vision.detectors.foreground import estimated_masks
from personae.vision.detectors.heads import fit_heads, gather_evidence, posterior
from personae.vision.detectors.rehearsal import rehearse

corners = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 8), st.integers(1, 8)).map(
    lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3])
)


@given(st.lists(corners, min_size=1, max_size=4), st.lists(corners, min_size=1, max_size=4))
def test_iou_agrees_with_the_boxes_own(first, second):
    expected = pairwise_iou([Box(*b) for b in first], [Box(*b) for b in second])
    got = iou_matrix(np.array(first, float), np.array(second, float))
    assert np.allclose(got, expected)
    inside = containment(np.array(first, float), np.array(second, float))
    assert (inside >= got - 1e-12).all() and (inside <= 1).all()


@settings(deadline=None)
@given(corners)
def test_box_means_are_the_slow_means(box):
    maps = torch.rand(2, 18, 18, generator=torch.Generator().manual_seed(0))
    left, top, right, bottom = box
    got = box_means(summed_area(maps), np.array([box], float) * 4, 4.0)[0]
    assert torch.allclose(got, maps[:, top:bottom, left:right].mean(dim=(1, 2)), atol=1e-6)


def test_ring_is_what_lies_just_outside():
    maps = torch.zeros(1, 40, 40)
    maps[:, 10:30, 10:30] = 1
    table = summed_area(maps)
    boxes = np.array([[10, 10, 30, 30], [15, 15, 25, 25.0]])
    inside = box_means(table, boxes, 1.0)[:, 0].numpy()
    ring = ring_means(table, boxes, inside, 1.0)
    assert inside.tolist() == [1, 1]
    assert ring == pytest.approx([0.0, 1.0], abs=1e-6)
    assert Candidates(boxes, inside, ring).leak == pytest.approx([0.0, 1.0], abs=1e-6)


def test_low_levels_hold_two_touching_things_and_high_ones_part_them():
    height = np.zeros((40, 80))
    height[5:35, 5:75] = 0.3
    height[8:32, 8:38] = height[8:32, 42:72] = 0.9
    boxes = component_boxes(height, np.ones_like(height, bool), 4.0).tolist()
    assert [20, 20, 300, 140] in boxes
    assert [32, 32, 152, 128] in boxes and [168, 32, 288, 128] in boxes


def test_nothing_high_gives_no_boxes():
    boxes = component_boxes(np.zeros((9, 9)), np.ones((9, 9), bool), 16.0)
    assert boxes.shape == (0, 4)
    assert box_means(summed_area(torch.zeros(3, 9, 9)), boxes, 16.0).shape == (0, 3)


def toy(rng, where, direction):
    """A map (6, 12, 12) of noise, with a direction added where the mask (12, 12) is True."""
    noise = 0.3 * rng.standard_normal((6, 12, 12))
    return torch.from_numpy(noise + where * direction[:, None, None]).float()


def test_heads_tell_two_subjects_and_background_apart():
    rng = np.random.default_rng(0)
    first, second = np.eye(6)[0] * 2, np.eye(6)[1] * 2
    where = np.zeros((12, 12))
    where[2:8, 2:8] = 1
    mask = torch.from_numpy(where).float()
    evidence = [
        gather_evidence([toy(rng, where, d) for _ in range(4)], [mask] * 4) for d in (first, second)
    ]
    heads = fit_heads(evidence)
    assert heads.shape == (7, 2)
    maps = posterior(toy(rng, where, first), heads)
    assert maps.min() >= 0 and maps.max() <= 1
    inside = mask > 0
    assert maps[0][inside].mean() > 0.6
    assert maps[1][inside].mean() < 0.2
    assert maps[:, ~inside].mean() < 0.2


def test_heads_agree_with_a_slow_weighted_ridge():
    rng = np.random.default_rng(1)
    dense = torch.from_numpy(rng.standard_normal((3, 4, 4))).float()
    mask = (torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) > 0.6).float()
    heads = fit_heads([gather_evidence([dense], [mask])], ridge=0.05)[:, 0]
    gram, toward, total = np.zeros((4, 4)), np.zeros(4), 0.0
    for y in range(4):
        for x in range(4):
            cover = float(mask[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean())
            weight = 1.0 if cover > 0.05 else 0.6
            row = np.append(dense[:, y, x].numpy(), 1.0)
            gram += weight * np.outer(row, row)
            toward += weight * cover * row
            total += weight
    slow = np.linalg.solve(gram + 0.05 * total * np.eye(4), toward)
    assert np.allclose(heads.numpy(), slow, atol=1e-4)


def test_suppression_keeps_the_surest_and_parts_by_subject():
    box = np.array([0, 0, 10, 10.0])
    near, part, far = box + 1, np.array([2, 2, 6, 6.0]), box + 30
    finds = [
        Find(near, 0.6, "a"),
        Find(box, 0.9, "a"),
        Find(part, 0.8, "a"),
        Find(far, 0.5, "a"),
        Find(part, 0.4, "b"),
        Find(box, 0.3, "b"),
    ]
    kept = suppressed(finds, GuidedConfig())
    assert [(item.score, item.subject) for item in kept] == [(0.9, "a"), (0.5, "a"), (0.4, "b")]


def reference(seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 90, (60, 80, 3), dtype=np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:60] = True
    image[mask] = 250
    return Reference(image, mask)


def test_rehearsals_show_the_subject_where_they_say():
    rehearsal = rehearse(np.random.default_rng(3), [reference()], 128)
    again = rehearse(np.random.default_rng(3), [reference()], 128)
    assert rehearsal.image.shape == (128, 128, 3) and rehearsal.mask.shape == (128, 128)
    assert np.array_equal(rehearsal.image, again.image)
    inside, outside = rehearsal.image[rehearsal.mask], rehearsal.image[~rehearsal.mask]
    assert inside.mean() > outside.mean() + 40


def test_rehearsals_need_no_background_in_the_photo():
    full = Reference(np.full((30, 30, 3), 200, np.uint8), np.ones((30, 30), bool))
    for seed in range(6):
        assert rehearse(np.random.default_rng(seed), [full], 96).mask.any()


def test_the_middle_is_taken_for_the_subject():
    rng = np.random.default_rng(0)
    yes = np.zeros((12, 12))
    yes[3:9, 2:8] = 1
    maps = {i: toy(rng, yes, np.eye(6)[0] * 3) for i in range(2)}
    images = [np.full((48, 48, 3), i, np.uint8) for i in range(2)]
    masks = estimated_masks(images, lambda image: maps[int(image[0, 0, 0])])
    truth = np.kron(yes, np.ones((4, 4))).astype(bool)
    for mask in masks:
        assert (mask & truth).sum() / (mask | truth).sum() > 0.6
