"""Aligned crops: dlib's own, to its rounding; in batches; differentiable in the pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from personae.errors import DataError
from personae.vision.faces.align import (
    ARCFACE_TEMPLATE,
    ARCFACE_TEMPLATE_FOR_DLIB_POINTS,
    DLIB_TEMPLATE,
    FaceTemplate,
    aligned_crops,
    chip_maps,
    similarity_transform,
)

TINY = FaceTemplate("tiny", 6, DLIB_TEMPLATE.points * 6 / 150, as_dlib=True)


def picture_of(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def landmarks(size, turn, center, template=DLIB_TEMPLATE):
    """The template's points, scaled to this size, turned, and put here."""
    points = (template.points / template.side_px - 0.5) * size
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return points @ np.array([[c, s], [-s, c]]) + np.array(center)


def dlib_chip(image, points):
    import dlib

    parts = dlib.points([dlib.point(int(x), int(y)) for x, y in points])
    shape = dlib.full_object_detection(dlib.rectangle(0, 0, 10, 10), parts)
    return dlib.get_face_chip(image, shape, size=150, padding=0.25)


@pytest.mark.parametrize("turn", [0, 20, -65, 170])
@pytest.mark.parametrize("size", [40, 120, 290, 310, 480])
@pytest.mark.parametrize("center", [(256, 256), (130, 380)])
def test_equals_dlibs_crop_to_its_rounding(size, turn, center):
    """dlib cuts fractions off in each halving and in the crop: ours is up to 1 brighter a step."""
    import skimage.data

    image = skimage.data.astronaut()
    points = np.round(landmarks(size, turn, center))
    ours = aligned_crops([picture_of(image)], [points[None]])[0].permute(1, 2, 0).numpy()
    theirs = dlib_chip(image, points).astype(float)
    inside = (theirs.sum(-1) > 0) & (ours.sum(-1) > 0)
    assert inside.mean() > 0.5
    difference = (ours - theirs)[inside]
    steps = 1 if size < 300 else 3
    assert np.quantile(np.abs(difference), 0.98) < steps
    assert np.abs(difference).mean() < 0.6 * steps


def test_equals_dlibs_crop_and_descriptor_on_photographs(data_dir):
    from personae.vision.faces.detect import DlibFaceDetector
    from personae.vision.faces.embed import DlibFaceEmbedder

    for path in sorted((data_dir / "photos/people").glob("*_[12].jpg")):
        image = np.asarray(Image.open(path).convert("RGB"))
        points = DlibFaceDetector(use_cnn=False).detect(image)[0].landmarks
        ours = aligned_crops([picture_of(image)], [points[None]])
        theirs = picture_of(dlib_chip(image, points))[None]
        assert (ours - theirs).abs().mean() < 1.1
        a, b = DlibFaceEmbedder().embed(torch.cat([ours, theirs]) / 255)
        assert torch.dist(a, b) < 0.01  # strangers are 0.6 and more apart


@given(st.floats(0.1, 10), st.floats(-np.pi, np.pi), st.floats(-99, 99), st.floats(-99, 99))
def test_similarity_transform_recovers_what_made_the_points(scale, turn, x, y):
    a = scale * np.exp(1j * turn)
    made = np.array([[a.real, -a.imag, x], [a.imag, a.real, y]])
    source = DLIB_TEMPLATE.points
    target = source @ made[:, :2].T + made[:, 2]
    np.testing.assert_allclose(similarity_transform(source[None], target[None])[0], made, atol=1e-8)


def test_similarity_transform_is_umeyamas():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 5, 2))
    s, t = source - source.mean(0), target - target.mean(0)
    u, d, vt = np.linalg.svd(t.T @ s / 5)
    sign = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ sign @ vt
    scale = (d * np.diag(sign)).sum() / (s**2).sum(1).mean()
    expected = np.c_[scale * rotation, target.mean(0) - scale * rotation @ source.mean(0)]
    np.testing.assert_allclose(similarity_transform(source[None], target[None])[0], expected)


@pytest.mark.parametrize("points", [np.zeros((1, 5, 2)), np.full((1, 5, 2), np.nan)])
def test_refuses_senseless_landmarks(points):
    with pytest.raises(DataError, match="landmarks"):
        chip_maps(points, DLIB_TEMPLATE)


@pytest.mark.parametrize(
    ("images", "points"),
    [
        (torch.zeros(2, 3, 9, 9), [np.ones((1, 5, 2))]),
        (torch.zeros(1, 1, 9, 9), [np.ones((1, 5, 2))]),
        (torch.zeros(1, 3, 9, 9, dtype=torch.uint8), [np.ones((1, 5, 2))]),
        (torch.zeros(1, 3, 9, 9), [np.ones((1, 4, 2))]),
    ],
)
def test_refuses_pictures_and_landmarks_that_do_not_fit(images, points):
    with pytest.raises(DataError):
        aligned_crops(images, points)


def test_many_faces_of_many_pictures_are_each_their_own():
    generator = torch.Generator().manual_seed(0)
    sizes = [(90, 120), (400, 300), (50, 50)]
    images = [torch.rand(3, *size, generator=generator) for size in sizes]
    points = [
        np.stack([landmarks(60, 10, (60, 45)), landmarks(30, -40, (20, 70))]),
        np.zeros((0, 5, 2)),
        landmarks(45, 90, (25, 25))[None],
    ]
    together = aligned_crops(images, points)
    assert together.shape == (3, 3, 150, 150)
    single = [aligned_crops([images[k]], [p[None]]) for k in range(3) for p in points[k]]
    torch.testing.assert_close(together, torch.cat(single))


def test_a_face_beyond_the_border_is_black_there_and_nothing_breaks():
    white = torch.ones(3, 40, 40)
    partly, wholly = landmarks(60, 0, (0, 20)), landmarks(600, 0, (9000, -9000))
    crops = aligned_crops([white], [np.stack([partly, wholly])])
    assert crops[0, :, 75, :70].max() == 0
    assert crops[0, :, 75, 80:150].min() == 1
    assert crops[1].abs().max() == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (4, 5)])
def test_thin_pictures(shape):
    crops = aligned_crops([torch.ones(3, *shape)], [landmarks(900, 0, (1, 1))[None]])
    assert crops.shape == (1, 3, 150, 150)
    assert torch.isfinite(crops).all()


def test_no_face_at_all_is_an_empty_batch():
    assert aligned_crops(torch.zeros(2, 3, 9, 9), [np.zeros((0, 5, 2))] * 2).shape[0] == 0
    assert aligned_crops([], []).shape == (0, 3, 150, 150)


@pytest.mark.parametrize("size", [5.0, 26.0])
def test_gradcheck_to_the_pixels(size):
    """At the crop's own scale, and through two halvings of a face larger than the crop."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 26, 24, generator=generator, dtype=torch.float64)
    points = [landmarks(size, 15, (12, 13), TINY)[None]]

    def crop(pixels):
        return aligned_crops(pixels, points, TINY)

    assert torch.autograd.gradcheck(crop, images.requires_grad_(True), fast_mode=True)
    assert crop(images).abs().sum() > 0


def test_half_precision_comes_out_in_float32():
    images = torch.rand(1, 3, 60, 60).to(torch.bfloat16)
    assert aligned_crops(images, [landmarks(40, 0, (30, 30))[None]]).dtype == torch.float32


@pytest.mark.parametrize("template", [ARCFACE_TEMPLATE, ARCFACE_TEMPLATE_FOR_DLIB_POINTS])
def test_arcface_template_puts_landmarks_where_it_says(template):
    image = torch.zeros(3, 300, 300)
    where = np.round(landmarks(180, 0, (150, 150), template))
    for x, y in where.astype(int):
        image[:, y - 1 : y + 2, x - 1 : x + 2] = 1
    crop = aligned_crops([image], [where[None]], template)[0]
    assert crop.shape == (3, 112, 112)
    for x, y in np.round(template.points).astype(int):
        assert crop[0, y - 1 : y + 2, x - 1 : x + 2].max() > 0.5


def test_both_arcface_templates_agree_on_the_eyes():
    corners = ARCFACE_TEMPLATE_FOR_DLIB_POINTS.points
    eyes = np.stack([corners[2:4].mean(0), corners[:2].mean(0)])
    np.testing.assert_allclose(eyes, ARCFACE_TEMPLATE.points[:2], atol=1e-9)
    nose_tip, mouth = ARCFACE_TEMPLATE.points[2, 1], ARCFACE_TEMPLATE.points[3:, 1].mean()
    assert nose_tip < corners[4, 1] < mouth  # the base of the nose lies between tip and mouth
