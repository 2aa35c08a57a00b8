"""Face eyes end to end: same person near 1, strangers near 0, and a gradient to the pixels."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from personae.errors import DataError
from personae.vision.faces.detect import DlibFaceDetector
from personae.vision.faces.embed import (
    DLIB_CALIBRATION,
    DlibFaceEmbedder,
    FaceEyes,
    pairwise_cosine,
    squared_distance,
)
from personae.vision.protocols import Embedder

EYES = FaceEyes(DlibFaceDetector(use_cnn=False), DlibFaceEmbedder())


@pytest.fixture(scope="module")
def astronaut():
    import skimage.data

    return skimage.data.astronaut()


def test_is_an_embedder_and_says_its_name():
    assert isinstance(EYES.embedder, Embedder)
    assert EYES.name == "dlib-hog+dlib-resnet-v1"
    assert EYES.embedder.commercial
    assert pickle.loads(pickle.dumps(EYES)).name == EYES.name


def test_faces_are_what_dlib_describes(astronaut):
    import dlib

    from personae.vision.faces.detect import LANDMARK_WEIGHTS
    from personae.vision.faces.embed import DLIB_WEIGHTS

    (face,), descriptors = EYES.faces(astronaut)
    left, top, right, bottom = (round(value) for value in face.box.xyxy)
    predictor = dlib.shape_predictor(str(LANDMARK_WEIGHTS.path()))
    shape = predictor(astronaut, dlib.rectangle(left, top, right - 1, bottom - 1))
    model = dlib.face_recognition_model_v1(str(DLIB_WEIGHTS.path()))
    theirs = np.array(model.compute_face_descriptor(astronaut, shape))
    assert descriptors.shape == (1, 128)
    assert np.linalg.norm(descriptors[0].numpy() - theirs) < 0.01


def test_a_picture_without_a_face_has_no_descriptors():
    found, descriptors = EYES.faces(np.zeros((60, 60, 3), np.uint8), expected=2)
    assert found == []
    assert descriptors.shape == (0, 128)


def test_the_same_face_is_alike_however_it_is_shown(astronaut):
    _, first = EYES.faces(astronaut)
    variants = [
        np.asarray(Image.fromarray(astronaut).resize((700, 700))),
        np.asarray(Image.fromarray(astronaut).rotate(10)),
        (astronaut * 0.8).astype(np.uint8),
    ]
    for variant in variants:
        _, second = EYES.faces(variant)
        assert EYES.embedder.similarity(first, second).max() > 0.9


def test_gradient_reaches_the_pixels_of_the_face_and_no_others(astronaut):
    (face,), _ = EYES.faces(astronaut)
    pictures = torch.from_numpy(astronaut).permute(2, 0, 1)[None].float() / 255
    pictures = pictures.repeat(2, 1, 1, 1).requires_grad_(True)
    points = face.landmarks[None]
    found = EYES.embed_faces(pictures, [points, points + 3])
    EYES.embedder.similarity(found[:1], found[1:].detach() + 0.01).sum().backward()
    x, y = (int(value) for value in face.box.center)
    assert pictures.grad[0, :, y - 30 : y + 30, x - 30 : x + 30].abs().min(0).values.median() > 0
    assert pictures.grad[0, :, 300:].abs().max() == 0
    assert pictures.grad[1].abs().max() == 0


def test_similarity_is_symmetric_monotone_and_one_with_itself():
    a = torch.randn(4, 128, generator=torch.Generator().manual_seed(0)) * 0.06
    b = torch.randn(3, 128, generator=torch.Generator().manual_seed(1)) * 0.06
    similarity = EYES.embedder.similarity
    torch.testing.assert_close(similarity(a, b), similarity(b, a).T)
    assert similarity(a, a).diagonal().min() > 0.999
    order = squared_distance(a, b).flatten().argsort()
    assert (similarity(a, b).flatten()[order].diff() <= 0).all()


def test_gradient_is_finite_where_the_distance_is_zero():
    a = torch.zeros(1, 128, requires_grad=True)
    EYES.embedder.similarity(a, a.detach()).sum().backward()
    assert torch.isfinite(a.grad).all()


def test_similarity_is_half_at_the_authors_threshold():
    a, b = torch.zeros(1, 128), torch.zeros(1, 128)
    b[0, 0] = 0.6
    assert EYES.embedder.similarity(a, b).item() == pytest.approx(0.5, abs=1e-5)
    assert "0.6" in DLIB_CALIBRATION.source


def test_cosine_of_a_zero_descriptor_is_zero():
    assert pairwise_cosine(torch.zeros(1, 8), torch.ones(2, 8)).abs().max() == 0


@pytest.mark.parametrize(
    "crops", [torch.zeros(1, 3, 112, 112), torch.zeros(3, 150, 150), torch.zeros(1, 1, 150, 150)]
)
def test_refuses_crops_of_another_size(crops):
    with pytest.raises(DataError, match="150"):
        EYES.embedder.embed(crops)


def test_refuses_whole_numbers():
    with pytest.raises(DataError, match="floating"):
        EYES.embedder.embed(torch.zeros(1, 3, 150, 150, dtype=torch.uint8))


def descriptors_of(folder, pattern):
    found = []
    for path in sorted(folder.glob(pattern)):
        detections, rows = EYES.faces(np.asarray(Image.open(path).convert("RGB")))
        largest = max(range(len(detections)), key=lambda i: detections[i].box.area)
        found.append(rows[largest])
    return torch.stack(found)


def test_people_are_themselves_and_nobody_else(data_dir):
    people = data_dir / "photos/people"
    obama, biden = descriptors_of(people, "obama_[12].jpg"), descriptors_of(people, "biden_*.jpg")
    similarity = EYES.embedder.similarity
    assert similarity(obama[:1], obama[1:]).item() > 0.9
    assert similarity(biden[:1], biden[1:]).item() > 0.9
    assert similarity(obama, biden).max() < 0.1
    group = np.asarray(Image.open(people / "obama_and_biden.jpg"))
    found, rows = EYES.faces(group, expected=2)
    scores = torch.stack([similarity(who, rows).mean(0) for who in (obama, biden)])
    assert (scores > 0.9).sum(1).tolist() == [1, 1]
    assert len(found) == 3
    assert scores.max(0).values.sort().values[0] < 0.1  # the third face is neither


def test_photographed_people_and_generated_strangers_are_apart(data_dir):
    strangers = descriptors_of(data_dir / "benchmarks/xversebench/human", "*.jpg")
    assert len(strangers) == 20
    people = descriptors_of(data_dir / "photos/people", "*_[12].jpg")
    similarity = EYES.embedder.similarity(people, strangers)
    assert similarity.max() < 0.5
    assert (similarity < 0.1).float().mean() > 0.9
