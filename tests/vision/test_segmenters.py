import numpy as np
import pytest
from PIL import Image, ImageDraw

from personae.errors import RequestError, WeightsError
from personae.subjects.box import Box
from personae.subjects.mask import mask_iou
from personae.vision.segmenters import GrabCut, GrabCutConfig, Sam2
from personae.vision.segmenters.grabcut import main_part, resized_map
from tests.vision.tiny_words import save_sam2

SIDES = (120, 90)


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    ground = Image.fromarray(rng.integers(90, 160, (6, 8, 3), dtype=np.uint8))
    ground = ground.resize(SIDES, Image.Resampling.BICUBIC)
    mask = Image.new("1", SIDES)
    for canvas, fill in ((ground, (220, 30, 30)), (mask, 1)):
        ImageDraw.Draw(canvas).ellipse((35, 20, 85, 70), fill=fill)
    return np.asarray(ground), np.asarray(mask)


@pytest.mark.parametrize("config", [GrabCutConfig(), GrabCutConfig(long_side_px=60)])
def test_grabcut_fits_a_thing_in_a_box_and_in_a_map(photo, config) -> None:
    image, truth = photo
    cut = GrabCut(config)
    in_box = cut.segment(image, Box(25, 12, 95, 78))
    assert in_box.shape == truth.shape
    assert in_box.dtype == bool
    assert mask_iou(in_box, truth) > 0.9
    y, x = np.mgrid[0:9, 0:12]
    rough = np.exp(-((x - 5.5) ** 2 + (y - 4) ** 2) / 6)
    assert mask_iou(main_part(cut.segment(image, rough)), truth) > 0.9


def test_grabcut_is_the_same_every_time_whatever_was_cut_before(photo) -> None:
    image, _ = photo
    cut, box = GrabCut(), Box(25, 12, 95, 78)
    first = cut.segment(image, box)
    cut.segment(image[::-1].copy(), Box(0, 0, 50, 50))
    assert np.array_equal(first, cut.segment(image, box))


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_map_that_says_nothing_ends_in_nothing_or_all(photo, level) -> None:
    mask = GrabCut().segment(photo[0], np.full((4, 4), level))
    assert mask.all() if level else not mask.any()


def test_grabcut_leaves_its_input_alone_and_checks_its_levels(photo) -> None:
    image, _ = photo
    before, rough = image.copy(), np.eye(5)
    GrabCut().segment(image, rough)
    assert np.array_equal(image, before)
    assert np.array_equal(rough, np.eye(5))
    with pytest.raises(RequestError, match="background <= likely"):
        GrabCutConfig(background=0.7)


def test_the_main_part_is_the_largest_without_holes() -> None:
    mask = np.zeros((8, 12), dtype=bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    mask[2:4, 9:11] = True
    kept = main_part(mask)
    assert kept[3, 3]
    assert not kept[:, 9:].any()
    assert not main_part(np.zeros((3, 3), dtype=bool)).any()


def test_a_map_keeps_its_mean_when_it_shrinks() -> None:
    values = np.random.default_rng(0).random((40, 40))
    assert resized_map(values, (10, 10)).mean() == pytest.approx(values.mean(), abs=1e-5)


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory):
    return save_sam2(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def sam(sam_folder):
    return Sam2(sam_folder)


def test_sam2_gives_a_mask_of_the_photos_size_that_depends_on_the_box(sam, photo) -> None:
    image, _ = photo
    masks = [sam.segment(image, box) for box in (Box(10, 10, 60, 60), Box(0, 0, 120, 90))]
    assert all(mask.shape == image.shape[:2] and mask.dtype == bool for mask in masks)
    assert np.array_equal(masks[0], sam.segment(image, Box(10, 10, 60, 60)))


def test_sam2_sees_the_box_in_its_own_square_grown_and_inside(sam, monkeypatch) -> None:
    """Compared with the model's own normalization: each side scaled by itself."""
    seen = {}
    network = sam._network

    def look(**inputs):
        seen.update(inputs)
        return network(**inputs)

    monkeypatch.setattr(sam, "_network", type("Spy", (), {"config": network.config,
                        "__call__": lambda self, **i: look(**i)})())  # fmt: skip
    sam.segment(np.zeros((90, 120, 3), np.uint8), Box(30, 0, 90, 60))
    left, top, right, bottom = seen["input_boxes"][0, 0].tolist()
    assert (left, top) == pytest.approx(((30 - 3) * 64 / 120, 0))
    assert (right, bottom) == pytest.approx(((90 + 3) * 64 / 120, 63 * 64 / 90))
    assert seen["pixel_values"].shape == (1, 3, 64, 64)
    assert seen["pixel_values"][0, :, 0, 0].tolist() == pytest.approx(
        [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], abs=1e-4
    )
    assert seen["multimask_output"] is False


def test_sam2_takes_a_map_by_its_box_and_nothing_for_nothing(sam, photo) -> None:
    image, truth = photo
    assert np.array_equal(
        sam.segment(image, truth.astype(np.float32)), sam.segment(image, Box(35, 20, 86, 71))
    )
    assert not sam.segment(image, np.zeros((4, 4))).any()


def test_sam2_says_what_is_missing(tmp_path) -> None:
    with pytest.raises(WeightsError, match="no Sam2Model could be loaded"):
        Sam2(tmp_path)
