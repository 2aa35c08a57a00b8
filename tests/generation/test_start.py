"""The collage that mean-shifted noise starts from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from personae.generation import Drawing, start
from personae.generation.start import fitted, picture_layout
from personae.subjects.box import Box
from personae.subjects.collage import CutOut
from personae.subjects.mask import mask_box
from personae.subjects.references import load_reference
from personae.subjects.subject import Reference
from tests.generation.fake import scenes


def start_picture(scene, photos, size, drawing, seed):
    layout = picture_layout(scene, photos, size, drawing, seed)
    return start.start_picture(layout, photos, size)


@pytest.fixture
def pair(tmp_path):
    (scene,) = scenes(tmp_path, "s")
    photos = {
        name: load_reference(subject.references[0]) for name, subject in scene.subjects.items()
    }
    return scene, photos


def test_cut_outs_stand_in_their_boxes_on_white(pair) -> None:
    scene, photos = pair
    picture, mask = start_picture(scene, photos, (128, 64), Drawing(layout="halves"), 0)
    assert picture.shape == (64, 128, 3)
    assert (picture[~mask] == 255).all()
    assert np.abs(picture[:, :64][mask[:, :64]].mean(0) - (0, 100, 200)).max() < 1
    assert np.abs(picture[:, 64:][mask[:, 64:]].mean(0) - (60, 100, 200)).max() < 1
    box = mask_box(mask[:, :64])
    assert box.width / box.height == pytest.approx(0.5, abs=0.03), "10 x 20 pixels in the photo"
    assert box.bottom >= 62, "on the floor"


def test_a_reference_without_a_mask_is_pasted_whole(pair) -> None:
    scene, photos = pair
    bare = {name: Reference(photo.image) for name, photo in photos.items()}
    _, mask = start_picture(scene, bare, (128, 64), Drawing(layout="halves"), 0)
    box = mask_box(mask[:, :64])
    assert box.width / box.height == pytest.approx(40 / 30, abs=0.03)


def test_a_random_layout_is_the_same_for_a_seed_and_another_for_another(pair) -> None:
    scene, photos = pair
    drawing = Drawing(layout="random")
    masks = [start_picture(scene, photos, (128, 64), drawing, seed)[1] for seed in (0, 0, 1)]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    elsewhere = start_picture(replace(scene, id="t"), photos, (128, 64), drawing, 0)[1]
    assert not np.array_equal(masks[0], elsewhere)


@pytest.mark.parametrize(("height", "width"), [(4, 2), (2, 4), (3, 3)])
def test_a_cut_out_fits_its_box_and_keeps_its_aspect(height: int, width: int) -> None:
    cut = CutOut(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8))
    outer = Box(10.0, 20.0, 40.0, 100.0)
    inner = fitted(cut, outer)
    assert inner.width / inner.height == pytest.approx(width / height)
    assert inner.width == pytest.approx(30) or inner.height == pytest.approx(80)
    assert inner.bottom == outer.bottom
    assert inner.center[0] == outer.center[0]
