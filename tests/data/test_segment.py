import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from personae.data.doubts import (
    DoubtConfig,
    alike,
    cut_off_sides,
    doubts_about,
    duplicates,
    second_share,
    sharpness,
    unlike,
)
from personae.data.segment import (
    EyesForCutting,
    GivenCutter,
    TogetherCutter,
    WordsCutter,
    all_show_a_face,
    build_cutter,
    face_detector,
    person_middle,
)
from personae.errors import DataError, RequestError, WeightsError
from personae.subjects.box import Box
from personae.subjects.mask import mask_iou
from personae.vision.protocols import Detection
from personae.vision.segmenters import GrabCut

CONFIG = DoubtConfig()
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (200, 200, 3), dtype=np.uint8)


def box_mask(left, top, right, bottom, side=200):
    mask = np.zeros((side, side), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def kinds(image, mask, num_boxes=1, num_faces=1):
    return {item.kind for item in doubts_about(image, mask, num_boxes, num_faces, CONFIG)}


MIDDLE = box_mask(40, 40, 160, 160)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (MIDDLE, set()),
        (None, {"no subject"}),
        (np.zeros((200, 200), dtype=bool), {"no subject"}),
        (np.ones((200, 200), dtype=bool), {"mask everything"}),
        (box_mask(50, 50, 60, 60), {"mask nothing", "too small"}),
        (box_mask(20, 20, 80, 180) | box_mask(120, 20, 180, 140), {"two candidates"}),
        (box_mask(20, 20, 120, 180) | box_mask(150, 20, 180, 60), set()),
        (box_mask(0, 40, 200, 160), {"cut off"}),
        (box_mask(0, 40, 150, 160), set()),
        (box_mask(60, 60, 120, 120), {"too small"}),
    ],
)
def test_a_mask_is_doubted_for_what_is_wrong_with_it(mask, expected) -> None:
    assert kinds(NOISE, mask) == expected


def test_candidates_that_the_eyes_counted_are_doubted() -> None:
    assert kinds(NOISE, MIDDLE, num_boxes=2) == {"two candidates"}
    assert kinds(NOISE, MIDDLE, num_faces=2) == {"two candidates"}
    assert kinds(NOISE, None, num_boxes=0) == {"no subject"}


def test_a_blurred_subject_is_doubted_and_a_blurred_background_is_not() -> None:
    blurred = np.asarray(Image.fromarray(NOISE).filter(ImageFilter.GaussianBlur(4)))
    assert kinds(blurred, MIDDLE) == {"blurred"}
    assert kinds(np.where(MIDDLE[..., None], NOISE, blurred), MIDDLE) == set()
    assert sharpness(blurred, MIDDLE) < sharpness(NOISE, MIDDLE)


@given(st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False))
def test_second_share_is_a_share_and_no_part_is_counted_twice(height, width, random) -> None:
    mask = np.array([[random.random() < 0.5 for _ in range(width)] for _ in range(height)])
    assert 0 <= second_share(mask) <= 1


def test_sides_that_cut_are_named() -> None:
    assert cut_off_sides(box_mask(0, 0, 200, 10), 0.5) == ["top"]
    assert cut_off_sides(np.ones((4, 4), dtype=bool), 0.5) == ["left", "top", "right", "bottom"]


def test_a_copy_in_another_size_and_light_is_a_duplicate_and_another_photo_is_not() -> None:
    smooth = [
        np.asarray(
            Image.fromarray(RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((90, 90))
        )
        for _ in range(2)
    ]
    copy = np.asarray(Image.fromarray((smooth[0] * 0.8).astype(np.uint8)).resize((70, 70)))
    assert alike(smooth[0], copy) > 0.98
    assert duplicates([smooth[0], smooth[1], copy, copy], CONFIG.alike) == {2: 0, 3: 0}
    black, white = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 255, np.uint8)
    assert duplicates([black, white, black], CONFIG.alike) == {2: 0}


def test_the_one_that_is_unlike_the_others_is_named_and_of_two_none() -> None:
    near = [np.array([1.0, 0.1 * i, 0]) / np.hypot(1, 0.1 * i) for i in range(3)]
    other = np.array([0.0, 0, 1])
    assert set(unlike([near[0], None, near[1], other, near[2]], CONFIG)) == {3}
    assert unlike([near[0], other], CONFIG) == {}
    assert unlike([np.eye(3)[i] for i in range(3)], CONFIG) == {}, (
        "all unlike: nobody is the odd one"
    )


def scene(index, centers, side=160):
    """A striped red and yellow thing on another cloudy background in each photo."""
    rng = np.random.default_rng(index)
    clouds = rng.integers(0, 120, (5, 5, 3), dtype=np.uint8)
    clouds[..., 0] = clouds[..., 0] // 2
    image = Image.fromarray(clouds).resize((side, side), Image.Resampling.BICUBIC)
    mask = Image.new("1", (side, side))
    for x, y in centers:
        for canvas, colors in ((image, ("#d01818", "#f0d020")), (mask, (1, 1))):
            draw = ImageDraw.Draw(canvas)
            draw.ellipse((x - 32, y - 38, x + 32, y + 38), fill=colors[0])
            draw.ellipse((x - 14, y - 6, x + 14, y + 26), fill=colors[1])
    return np.asarray(image), np.asarray(mask)


PHOTOS = [scene(i, [(70 + 10 * i, 76 + 4 * i)]) for i in range(3)]


@pytest.fixture(scope="module")
def together():
    return TogetherCutter(GrabCut())


def test_photos_cut_together_need_neither_words_nor_masks(together) -> None:
    images = [image for image, _ in PHOTOS]
    cuts = together.cut(images, [None] * 3, "thing", [None] * 3)
    for cut, (_, truth) in zip(cuts, PHOTOS, strict=True):
        assert mask_iou(cut.mask, truth) > 0.8
        assert cut.by == "guided+grabcut"
    again = together.cut(images, [None] * 3, "thing", [None] * 3)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(cuts, again, strict=True))


def test_a_given_mask_stays_and_teaches(together) -> None:
    images, known = [image for image, _ in PHOTOS], PHOTOS[0][1]
    cuts = together.cut(images, [known, None, None], "thing", [None] * 3)
    assert cuts[0].mask is known
    assert [cut.by for cut in cuts] == ["given", "guided+grabcut", "guided+grabcut"]
    assert mask_iou(cuts[2].mask, PHOTOS[2][1]) > 0.8


def test_a_photo_with_two_of_them_has_a_second_part(together) -> None:
    twice, _ = scene(7, [(42, 80), (118, 80)])
    images = [*(image for image, _ in PHOTOS), twice]
    cuts = together.cut(images, [*(mask for _, mask in PHOTOS), None], "thing", [None] * 4)
    assert second_share(cuts[3].mask) > CONFIG.second


class _Boxes:
    name = "boxes"

    def __init__(self, boxes):
        self.boxes = boxes

    def detect(self, image, cast, nouns):
        assert list(nouns.values()) == ["red thing"]
        return [Detection(box, 0.9 - 0.1 * i) for i, box in enumerate(self.boxes)]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_words_find_boxes_and_their_number_is_kept(count) -> None:
    image, truth = PHOTOS[0]
    boxes = [Box(35, 35, 105, 118), Box(0, 0, 20, 20)][:count]
    (cut,) = WordsCutter(_Boxes(boxes), GrabCut()).cut([image], [None], "red thing", [None])
    assert cut.num_boxes == count
    assert (cut.mask is None) == (count == 0)
    assert count == 0 or mask_iou(cut.mask, truth) > 0.85


class _Mute:
    name = "mute"

    def detect(self, image, cast, nouns):
        raise DataError("the answer cannot be read: x<loc_1>")


def test_a_detector_that_cannot_be_understood_is_no_absence() -> None:
    (cut,) = WordsCutter(_Mute(), GrabCut()).cut([PHOTOS[0][0]], [None], "red thing", [None])
    assert cut.mask is None and cut.unread == "the answer cannot be read: x<loc_1>"


def test_eyes_are_chosen_by_name(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("personae.data.segment.in_hub_cache", lambda source: False)
    assert build_cutter(EyesForCutting()).name == "guided+grabcut"
    assert isinstance(build_cutter(EyesForCutting(detector="given")), GivenCutter)
    for wrong in (EyesForCutting(detector="yolo"), EyesForCutting(segmenter="scissors")):
        with pytest.raises(RequestError, match="expected auto"):
            build_cutter(wrong)
    with pytest.raises(WeightsError, match="no Sam2Model"):
        build_cutter(EyesForCutting(segmenter=f"sam2:{tmp_path}"))
    with pytest.raises(WeightsError, match="no Florence2ForConditionalGeneration"):
        build_cutter(EyesForCutting(detector=f"florence-2:{tmp_path}"))
    with pytest.raises(RequestError, match="dlib or toons"):
        face_detector("none")


class _Faces:
    name = "faces"

    def detect(self, image, expected=0):
        return [Detection(Box(0, 0, 2, 2), 1.0)] if image.any() else []


def test_a_subject_is_a_person_where_every_photo_shows_a_face() -> None:
    face, none = np.ones((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    assert all_show_a_face([face, face], _Faces()) == "person"
    assert all_show_a_face([face, none], _Faces()) == "object"


def test_a_persons_middle_lies_below_the_face_and_inside_the_photo() -> None:
    mask = person_middle((100, 100), Box(40, 10, 60, 30))
    assert mask[20, 50]
    assert mask[50, 50]
    assert not mask[80, 50]
    assert not mask[20, 20]
    assert person_middle((30, 30), Box(25, 20, 35, 40)).any()
