"""The detector: known faces are found, once, and what is no face, or no picture, is not."""

import numpy as np
import pytest
from PIL import Image

from personae.errors import DataError
from personae.subjects.box import Box
from personae.vision.faces.detect import DlibFaceDetector, without_duplicates
from personae.vision.protocols import Detection

HOG_ONLY = DlibFaceDetector(use_cnn=False)


@pytest.fixture(scope="module")
def astronaut():
    import skimage.data

    return skimage.data.astronaut()


def inside(box, x, y):
    return box.left < x < box.right and box.top < y < box.bottom


def test_finds_the_astronaut_once_with_landmarks_on_her_face(astronaut):
    (face,) = HOG_ONLY.detect(astronaut)
    assert inside(face.box, 222, 115)  # the tip of her nose
    assert face.subject is None
    assert face.landmarks.shape == (5, 2)
    assert face.landmarks.dtype == np.float64
    right_outer, right_inner, left_outer, left_inner, nose = face.landmarks
    assert left_outer[0] < left_inner[0] < nose[0] < right_inner[0] < right_outer[0]
    assert nose[1] > face.landmarks[:4, 1].max()


def test_same_face_when_turned_by_a_mirror_or_moved(astronaut):
    (face,) = HOG_ONLY.detect(astronaut)
    (mirrored,) = HOG_ONLY.detect(astronaut[:, ::-1])  # negative strides too
    assert abs(mirrored.box.center[0] - (512 - face.box.center[0])) < 15
    moved = np.zeros((600, 700, 3), np.uint8)
    moved[60:572, 150:662] = astronaut
    (again,) = HOG_ONLY.detect(moved)
    assert np.abs(np.subtract(again.box.center, face.box.center) - (150, 60)).max() < 15


def test_boxes_and_landmarks_are_in_pixels_of_a_large_picture(astronaut):
    large = np.asarray(Image.fromarray(astronaut).resize((2048, 2048)))
    (small_face,), (face,) = HOG_ONLY.detect(astronaut), HOG_ONLY.detect(large)
    assert face.box.iou(small_face.box.scaled(4)) > 0.6
    assert np.abs(face.landmarks - 4 * small_face.landmarks).max() < 16


@pytest.mark.parametrize("name", ["cat", "coffee", "rocket", "chelsea"])
def test_no_face_where_there_is_none(name):
    import skimage.data

    assert HOG_ONLY.detect(getattr(skimage.data, name)(), expected=1) == []


def test_cnn_finds_a_tilted_face_that_hog_does_not(astronaut):
    tilted = np.asarray(Image.fromarray(astronaut[:300, 60:380]).rotate(-50))
    assert HOG_ONLY.detect(tilted, expected=1) == []
    (face,) = DlibFaceDetector().detect(tilted, expected=1)
    assert inside(face.box, 160, 150)
    assert DlibFaceDetector().detect(tilted) == []  # not expected, not paid for


def test_expecting_more_never_hides_what_was_found(astronaut):
    boxes = [item.box for item in HOG_ONLY.detect(astronaut)]
    assert boxes == [item.box for item in HOG_ONLY.detect(astronaut, expected=1)]
    assert set(boxes) <= {item.box for item in HOG_ONLY.detect(astronaut, expected=3)}


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (30_000, 20), (3, 30_000), (5, 5)])
def test_odd_shapes_have_no_face_and_do_no_harm(shape):
    assert HOG_ONLY.detect(np.full((*shape, 3), 127, np.uint8), expected=1) == []


@pytest.mark.parametrize("shape", [(1, 1), (2, 3000), (900, 40)])
def test_cnn_survives_small_and_thin_pictures(shape):
    assert DlibFaceDetector().detect(np.full((*shape, 3), 127, np.uint8), expected=1) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((9, 9, 3)),
        np.zeros((0, 9, 3), np.uint8),
    ],
)
def test_refuses_what_is_no_picture(image):
    with pytest.raises(DataError, match="uint8"):
        HOG_ONLY.detect(image)


def test_a_small_box_inside_a_large_one_is_the_same_face():
    large, within, beside = Box(0, 0, 90, 90), Box(30, 30, 60, 60), Box(80, 0, 170, 90)
    found = [Detection(box, score) for box, score in ((large, 2.0), (within, 1.0), (beside, 0.5))]
    assert [item.box for item in without_duplicates(found)] == [large, beside]


def test_finds_both_and_the_third_smaller_face(data_dir):
    path = data_dir / "photos/people/obama_and_biden.jpg"
    found = DlibFaceDetector().detect(np.asarray(Image.open(path)), expected=2)
    assert len(found) == 3
    for x, y in ((636, 254), (430, 271), (858, 580)):
        assert sum(inside(item.box, x, y) for item in found) == 1


@pytest.mark.parametrize("subject", ["chow", "corgi", "monster", "robot"])
def test_no_face_on_animals_and_toys(subject, data_dir):
    for path in sorted((data_dir / "photos/subjects" / subject).glob("0[0-4].jpg")):
        assert HOG_ONLY.detect(np.asarray(Image.open(path).convert("RGB"))) == []
