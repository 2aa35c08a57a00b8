from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from personae.data.collage_batch import render_collages
from personae.data.collages import CollagePlan, Piece, pre_scaled, render_collage
from personae.data.mixes import Photo, cut_mix, side_by_side
from personae.data.seg_mix import Backdrop, SegMixRecipe, plan_collage, seg_mix
from personae.errors import RequestError
from personae.subjects.collage import CutOut
from tests.reference.collage_loops import paste_slowly


def blob(subject: str, width: int, height: int, color: tuple[int, int, int]) -> Piece:
    """An ellipse of one color with a darker left half."""
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2 + 0.5) / width) ** 2 + ((y - height / 2 + 0.5) / height) ** 2 <= 0.25
    image = np.full((height, width, 3), color, np.uint8)
    image[:, : width // 2] //= 2
    return Piece(subject, CutOut(image, inside.astype(np.uint8) * 255))


RED, BLUE = blob("red", 60, 90, (200, 40, 40)), blob("blue", 90, 40, (40, 40, 220))
GREEN = blob("green", 50, 50, (30, 200, 30))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    first=st.tuples(st.integers(5, 900), st.integers(5, 900)),
    second=st.tuples(st.integers(5, 900), st.integers(5, 900)),
)
def test_two_subjects_lie_as_mudi_lays_them(
    seed: int, first: tuple[int, int], second: tuple[int, int]
) -> None:
    """At 1024: at most 480 x 992, at least three quarters of that, borders of 1 to 256 pixels."""
    pieces = [blob("a", *first, (9, 9, 9)), blob("b", *second, (7, 7, 7))]
    plan = plan_collage(pieces, np.random.default_rng(seed), (1024, 1024), SegMixRecipe())
    for piece, (left, top, right, bottom) in zip(pieces, plan.boxes, strict=True):
        width, height = right - left, bottom - top
        largest = min(480 / piece.width, 992 / piece.height)
        assert width <= 480 and height <= 992
        assert left >= 0 and right <= 1024 and top >= 0 and bottom <= 1024
        assert width >= int(0.75 * largest * piece.width) >= width * 0.75 - 1
    assert any(1 <= box[0] <= 256 for box in plan.boxes)
    assert any(1 <= 1024 - box[2] <= 256 for box in plan.boxes)
    assert sorted(plan.front) == [0, 1]


def test_order_in_the_caption_says_nothing_about_places() -> None:
    rng = np.random.default_rng(0)
    lefts = [plan_collage([RED, BLUE], rng, (256, 256), SegMixRecipe()).boxes for _ in range(400)]
    share = np.mean([boxes[0][0] < boxes[1][0] for boxes in lefts])
    assert 0.42 < share < 0.58
    mixed = seg_mix([RED, BLUE], rng, (256, 256))
    assert mixed.prompt == "a photo of a {red} and a {blue}, simple background."


@pytest.mark.parametrize("size", [(96, 96), (120, 64)])
@pytest.mark.parametrize("flip", [False, True])
def test_pasting_is_the_slow_pasting(size: tuple[int, int], flip: bool) -> None:
    rng = np.random.default_rng(3)
    recipe = SegMixRecipe(flip=flip, backgrounds=("noise",))
    for _ in range(5):
        pieces = [RED, BLUE, GREEN]
        plan = plan_collage(pieces, rng, size, recipe)
        canvas = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
        picture, owner = paste_slowly(plan, pieces, canvas)
        mixed = render_collage(plan, pieces, canvas.copy(), "words")
        assert np.array_equal(mixed.image, picture)
        for place, name in enumerate(("red", "blue", "green")):
            assert np.array_equal(mixed.masks[name], owner == place)
        assert np.array_equal(mixed.mask, owner >= 0)


def test_what_is_in_front_hides_what_is_behind() -> None:
    boxes = ((0, 0, 60, 90), (0, 0, 60, 90))
    pieces = [RED, replace(RED, subject="twin")]
    mixed = render_collage(
        CollagePlan((64, 96), boxes, (1, 0), (False, False)),
        pieces,
        np.zeros((96, 64, 3), np.uint8),
        "",
    )
    assert mixed.masks["red"].any() and not mixed.masks["twin"].any()


@pytest.mark.parametrize("feather", [0, 2])
def test_the_batch_is_the_plain_one(feather: int) -> None:
    rng = np.random.default_rng(1)
    recipe = SegMixRecipe(flip=True, feather_px=feather, backgrounds=("noise",))
    groups = [[RED, BLUE], [RED, BLUE, GREEN], [GREEN, RED], [BLUE, GREEN]]
    plans = [plan_collage(group, rng, (128, 96), recipe) for group in groups]
    canvases = [rng.integers(0, 256, (96, 128, 3), np.uint8) for _ in groups]
    stacked = torch.stack([torch.from_numpy(c.copy()).permute(2, 0, 1) / 255 for c in canvases])
    pictures, masks = render_collages(plans, groups, stacked, feather)
    assert masks.shape == (4, 3, 96, 128)
    for row, (plan, group) in enumerate(zip(plans, groups, strict=True)):
        plain = render_collage(plan, group, canvases[row], "", feather)
        levels = (pictures[row].permute(1, 2, 0) * 255).numpy()
        apart = np.abs(levels - plain.image)
        assert np.mean(apart > 2.5) < 2e-3, "more than an edge pixel or two differ"
        shown = np.stack(list(plain.masks.values()))
        assert np.mean(shown != masks[row, : len(group)].numpy()) < 1e-3
        assert not masks[row, len(group) :].any()


def test_a_batch_has_one_size() -> None:
    rng = np.random.default_rng(0)
    plans = [plan_collage([RED, BLUE], rng, size, SegMixRecipe()) for size in ((64, 64), (96, 64))]
    with pytest.raises(RequestError, match="one size"):
        render_collages(plans, [[RED, BLUE]] * 2, torch.ones(2, 3, 64, 64))


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_without_overlap_no_box_lies_over_another(count: int) -> None:
    rng = np.random.default_rng(count)
    pieces = [replace(RED, subject=str(place)) for place in range(count)]
    recipe = SegMixRecipe(overlap=False)
    for _ in range(20):
        boxes = plan_collage(pieces, rng, (128, 128), recipe).boxes
        for place, a in enumerate(boxes):
            for b in boxes[place + 1 :]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_relative_sizes_are_kept_and_nothing_about_them_is_random() -> None:
    rng = np.random.default_rng(0)
    recipe = SegMixRecipe(relative_sizes={"red": 1.0, "blue": 0.5})
    for _ in range(10):
        red, blue = plan_collage([RED, BLUE], rng, (512, 512), recipe).boxes
        assert (blue[3] - blue[1]) / (red[3] - red[1]) == pytest.approx(0.5, abs=0.02)
        assert red[2] - red[0] <= 512 / 2 and blue[2] - blue[0] <= 512 / 2


def test_same_height_shares_a_level() -> None:
    pieces = [RED, replace(RED, subject="twin")]
    recipe = SegMixRecipe(same_height=True, scale=(1.0, 1.0))
    boxes = plan_collage(pieces, np.random.default_rng(5), (512, 256), recipe).boxes
    assert boxes[0][1] == boxes[1][1]


def test_backgrounds_are_what_they_are_called() -> None:
    rng = np.random.default_rng(0)
    for name, value in (("white", 255), ("black", 0)):
        mixed = seg_mix([RED, BLUE], rng, (128, 128), SegMixRecipe(backgrounds=(name,)))
        assert (mixed.image[~mixed.mask] == value).all()
    recipe = SegMixRecipe(backgrounds=("pictures",), template="flux")
    lawn = np.full((128, 128, 3), 77, np.uint8)
    mixed = seg_mix([RED, BLUE], rng, (128, 128), recipe, (Backdrop(lawn, "lawn"),))
    assert (mixed.image[~mixed.mask] == 77).all() and (lawn == 77).all()
    assert "a small {red} and a small {blue}, lawn simple background, pasted" in mixed.prompt
    with pytest.raises(RequestError, match="name a folder of pictures"):
        seg_mix([RED, BLUE], rng, (128, 128), recipe)


def test_feathering_makes_edges_soft_and_leaves_the_middle() -> None:
    rng, hard = np.random.default_rng(2), SegMixRecipe(backgrounds=("black",))
    plan = plan_collage([RED, BLUE], rng, (128, 128), hard)
    canvas = np.zeros((128, 128, 3), np.uint8)
    sharp = render_collage(plan, [RED, BLUE], canvas.copy(), "").image
    soft = render_collage(plan, [RED, BLUE], canvas.copy(), "", feather_px=2).image
    assert 0 < np.mean(sharp != soft) < 0.5
    left, top, right, bottom = plan.boxes[plan.front[-1]]
    x, y = (left + 3 * right) // 4, (top + bottom) // 2
    assert np.array_equal(sharp[y, x], soft[y, x])


def test_one_seed_is_one_collage_and_the_input_stays() -> None:
    before = RED.cut.image.copy()
    first, second = (seg_mix([RED, BLUE], np.random.default_rng(7), (96, 96)) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(RED.cut.image, before)


def test_large_pieces_are_scaled_down_once_and_small_ones_stay() -> None:
    huge = blob("huge", 1200, 900, (1, 2, 3))
    small = pre_scaled(huge, (256, 256))
    assert max(small.width / 128, small.height / 256) == pytest.approx(1, abs=0.02)
    assert pre_scaled(RED, (1024, 1024)) is RED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": ()}, "two, three"),
        ({"scale": (0.0, 1.0)}, "least"),
        ({"margin": 0.6}, "margin"),
        ({"feather_px": -1}, "feather"),
        ({"relative_sizes": {"a": 0.0}}, "above 0"),
        ({"backgrounds": ("grass",)}, "white"),
        ({"template": "a photo"}, "subjects"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        SegMixRecipe(**change)


def test_one_subject_cannot_be_mixed() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(RequestError, match="two subjects or more; got 1"):
        seg_mix([RED], rng, (64, 64))
    with pytest.raises(RequestError, match="two subjects or more; got 1"):
        cut_mix([Photo("a", RED.cut.image, RED.cut.mask > 0)], rng, (64, 64))


def test_cut_mix_stitches_photos_in_columns_with_their_backgrounds() -> None:
    grounds = {"a": 50, "b": 200}
    photos = []
    for name, level in grounds.items():
        image = np.full((80, 100, 3), level, np.uint8)
        mask = np.zeros((80, 100), bool)
        mask[30:60, 40:60] = True
        photos.append(Photo(name, image, mask))
    seen = set()
    for seed in range(8):
        mixed = cut_mix(photos, np.random.default_rng(seed), (64, 64))
        left, right = mixed.image[0, 0, 0], mixed.image[0, -1, 0]
        assert {int(left), int(right)} == {50, 200}
        assert (mixed.image[:, :32] == left).all() and (mixed.image[:, 32:] == right).all()
        for name, level in grounds.items():
            assert (mixed.image[mixed.masks[name]] == level).all() and mixed.masks[name].any()
        seen.add(int(left))
    assert seen == {50, 200}
    assert mixed.negative == mixed.prompt


def test_side_by_side_is_as_large_as_fits_and_never_over_another() -> None:
    for seed in range(6):
        mixed = side_by_side([RED, BLUE], np.random.default_rng(seed), (128, 128))
        a, b = mixed.boxes.values()
        assert a.right <= b.left + 1 or b.right <= a.left + 1
        assert max(b.width, a.width) >= 58


def test_counts_are_shares() -> None:
    rng = np.random.default_rng(0)
    recipe = SegMixRecipe(counts=(1.0, 3.0))
    drawn = [recipe.count(rng, 5) for _ in range(800)]
    assert 0.68 < np.mean(np.array(drawn) == 3) < 0.82
    assert {recipe.count(rng, 2) for _ in range(20)} == {2}
    assert SegMixRecipe(counts=(0.0, 1.0)).count(rng, 2) == 2
