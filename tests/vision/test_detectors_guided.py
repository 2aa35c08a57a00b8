import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageDraw

from personae.errors import RequestError
from personae.subjects.box import Box
from personae.subjects.collage import Placed, cut_out, paste
from personae.subjects.mask import mask_iou
from personae.subjects.picture import read_mask, read_picture
from personae.subjects.subject import Reference
from personae.vision.detectors import GuidedConfig, GuidedDetector, ThingEyes
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.embedders.crops import reference_crop

CAT_PX, CUP_PX = (70, 5, 370, 295), (85, 20, 480, 385)


def ellipse(image, box):
    mask = Image.new("1", image.shape[1::-1])
    ImageDraw.Draw(mask).ellipse(box, fill=1)
    return np.asarray(mask)


@pytest.fixture(scope="module")
def cast():
    cat, cup = skimage.data.chelsea(), skimage.data.coffee()
    return {
        "cat": [Reference(cat, ellipse(cat, CAT_PX))],
        "cup": [Reference(cup, ellipse(cup, CUP_PX))],
    }


@pytest.fixture(scope="module")
def detector():
    return GuidedDetector(
        EfficientNetEmbedder(), GuidedConfig(long_side_px=512, rehearsals=3, candidates=4)
    )


def collage(cast, places):
    """Mirrored, darker cut-outs on gravel: (subject, box) pairs -> (400, 560, 3)."""
    gravel = np.repeat(skimage.data.gravel()[:400, :, None], 3, axis=2)
    canvas = np.concatenate([gravel, gravel[:, :48]], axis=1)
    cuts = {name: cut_out(item[0].image, item[0].mask) for name, item in cast.items()}
    dark = {name: (cut.image * 0.9).astype(np.uint8) for name, cut in cuts.items()}
    placed = [Placed(type(cuts[n])(dark[n], cuts[n].mask).mirrored(), box) for n, box in places]
    return paste(canvas, placed, feather_px=1.0)


def ious(found, places):
    """For each place the best overlap of a find of its subject."""
    return [
        max((item.box.iou(box) for item in found if item.subject == name), default=0.0)
        for name, box in places
    ]


APART = [("cat", Box(30, 60, 210, 234)), ("cup", Box(330, 180, 540, 374))]
TOUCHING = [("cat", Box(80, 110, 280, 304)), ("cup", Box(275, 120, 490, 318))]
TWICE = [("cat", Box(20, 30, 200, 204)), ("cat", Box(330, 180, 530, 374))]


@pytest.mark.parametrize("places", [APART, TOUCHING, TWICE], ids=["apart", "touching", "twice"])
def test_finds_each_pasted_subject_once(detector, cast, places):
    found = detector.detect(collage(cast, places), cast, {})
    assert len(found) == 2
    assert min(ious(found, places)) > 0.5
    scores = [item.score for item in found]
    assert scores == sorted(scores, reverse=True)


def test_an_absent_subject_is_not_found(detector, cast):
    found = detector.detect(collage(cast, APART[:1]), cast, {})
    assert [item.subject for item in found] == ["cat"]
    assert detector.detect(skimage.data.astronaut(), cast, {}) == []


def test_the_same_input_gives_the_same_boxes(detector, cast):
    picture, cat = collage(cast, APART), {"cat": cast["cat"]}
    fresh = GuidedDetector(detector.embedder, detector.config)
    first, second = detector.detect(picture, cat, {}), fresh.detect(picture, cat, {})
    assert [item.box.xyxy for item in first] == [item.box.xyxy for item in second]


def test_references_are_prepared_once_by_content(detector, cast, monkeypatch):
    first = detector.detect(skimage.data.astronaut(), cast, {})
    monkeypatch.setattr(detector, "_prepared", lambda references: pytest.fail("prepared again"))
    copies = {
        name: [Reference(item.image.copy(), item.mask.copy()) for item in items]
        for name, items in cast.items()
    }
    assert detector.detect(skimage.data.astronaut(), copies, {}) == first


def test_masks_are_estimated_where_none_is_given(detector, cast):
    bare = [Reference(cast["cup"][0].image)]
    (guess,) = detector.masked(bare)
    assert mask_iou(guess.mask, cast["cup"][0].mask) > 0.45
    assert detector.masked(cast["cup"])[0] is cast["cup"][0]
    eyes = ThingEyes(detector, detector.embedder)
    assert torch.equal(eyes.reference_descriptors(bare), eyes.reference_descriptors([guess]))
    known = eyes.reference_descriptors([*cast["cup"], *cast["cat"]])
    cosine = eyes.embedder.cosine(eyes.reference_descriptors(bare), known)[0]
    assert cosine[0] > 0.7 > cosine[1]


def test_other_detectors_take_whole_photos(detector, cast):
    class Blind:
        name = "blind"

        def detect(self, image, cast, nouns):
            return []

    eyes = ThingEyes(Blind(), detector.embedder)
    assert eyes.name == "blind+efficientnet-lite0"
    bare = Reference(cast["cup"][0].image)
    whole = detector.embedder.embed(reference_crop(bare, 224)[None])
    assert torch.allclose(eyes.reference_descriptors([bare]), whole, atol=1e-5)


def test_odd_pictures_do_no_harm(detector, cast):
    for shape in ((1, 1, 3), (3, 900, 3), (700, 20, 3)):
        assert detector.detect(np.zeros(shape, np.uint8), cast, {}) == []
    tiny = {"dot": [Reference(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), bool))]}
    assert isinstance(detector.detect(skimage.data.astronaut(), tiny, {}), list)
    assert detector.detect(skimage.data.astronaut(), {}, {}) == []


def test_a_subject_without_references_is_a_wrong_request(detector):
    with pytest.raises(RequestError, match="'ghost' has no reference"):
        detector.detect(skimage.data.astronaut(), {"ghost": []}, {})


def test_thing_eyes_describe_what_they_find(detector, cast):
    eyes = ThingEyes(detector, detector.embedder)
    assert eyes.name == "guided+efficientnet-lite0" and eyes.commercial
    found, descriptors = eyes.things(collage(cast, APART), cast, {})
    assert descriptors.shape == (len(found), 1280)
    known = torch.cat([eyes.reference_descriptors(cast[name]) for name in ("cat", "cup")])
    similar = eyes.embedder.similarity(descriptors, known)
    for row, item in zip(similar, found, strict=True):
        own, other = (0, 1) if item.subject == "cat" else (1, 0)
        assert row[own] > 0.9 and row[other] < 0.1
    none, empty = eyes.things(skimage.data.astronaut(), cast, {})
    assert none == [] and empty.shape == (0, 1280)
    with pytest.raises(RequestError, match="at least one photo"):
        eyes.reference_descriptors([])


def photos(data_dir, name, indices):
    for index in indices:
        path = data_dir / "photos" / "subjects" / name / f"{index:02d}.jpg"
        image = read_picture(path)
        yield Reference(image, read_mask(path.with_suffix(".mask.png"), image.shape[:2]))


@pytest.mark.slow
def test_two_dogs_that_touch_are_told_apart(data_dir, detector):
    cast = {name: list(photos(data_dir, name, (0, 1))) for name in ("corgi", "chow")}
    shown = {name: list(photos(data_dir, name, (3,))) for name in cast}
    places = [("corgi", Box(60, 100, 240, 330)), ("chow", Box(235, 130, 500, 330))]
    found = detector.detect(collage(shown, places), cast, {})
    assert sorted(item.subject for item in found) == ["chow", "corgi"]
    assert min(ious(found, places)) > 0.5
