"""Boxes, masks, layouts and collages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personae.errors import DataError
from personae.subjects.box import Box, pairwise_iou
from personae.subjects.collage import Placed, cut_out, paste
from personae.subjects.layout import layout_box_px
from personae.subjects.mask import mask_box, mask_iou

SIDE = 24
edge = st.integers(0, SIDE - 1)


@st.composite
def boxes(draw) -> Box:
    left, top = draw(edge), draw(edge)
    right, bottom = draw(st.integers(left + 1, SIDE)), draw(st.integers(top + 1, SIDE))
    return Box(left, top, right, bottom)


def filled(box: Box) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    left, top, right, bottom = (int(value) for value in box.xyxy)
    mask[top:bottom, left:right] = True
    return mask


@given(boxes(), boxes())
def test_box_iou_is_the_iou_of_the_pixels(first: Box, second: Box) -> None:
    assert first.iou(second) == pytest.approx(mask_iou(filled(first), filled(second)))
    assert pairwise_iou([first], [second])[0, 0] == first.iou(second)


@given(boxes())
def test_the_box_of_a_filled_box_is_the_box(box: Box) -> None:
    assert mask_box(filled(box)) == box


@given(boxes(), st.integers(1, SIDE), st.integers(1, SIDE))
def test_clipping_keeps_what_is_inside(box: Box, width: int, height: int) -> None:
    clipped = box.clipped(width, height)
    inside = filled(box)[:height, :width]
    assert (clipped is None) == (not inside.any())
    if clipped is not None:
        assert clipped.area == inside.sum()


@pytest.mark.parametrize("xyxy", [(0, 0, 0, 1), (2, 0, 1, 1), (0, 1, 1, 1)])
def test_an_empty_box_is_refused(xyxy) -> None:
    with pytest.raises(DataError, match="empty or inside out"):
        Box(*xyxy)


def test_pasting_fills_the_box_and_leaves_the_canvas_alone() -> None:
    photo = np.full((20, 20, 3), 77, np.uint8)
    mask = np.zeros((20, 20), bool)
    mask[5:15, 2:18] = True
    canvas = np.zeros((60, 60, 3), np.uint8)
    picture = paste(canvas, [Placed(cut_out(photo, mask), Box(10, 20, 42, 40))])
    assert mask_box(picture[:, :, 0] > 0) == Box(10, 20, 42, 40)
    assert not canvas.any()


def test_the_last_cut_out_is_in_front() -> None:
    mask = np.ones((8, 8), bool)
    dark = cut_out(np.full((8, 8, 3), 10, np.uint8), mask)
    light = cut_out(np.full((8, 8, 3), 200, np.uint8), mask)
    box = layout_box_px((0.25, 0.25, 0.75, 0.75), 32, 32)
    picture = paste(np.zeros((32, 32, 3), np.uint8), [Placed(dark, box), Placed(light, box)])
    assert picture[16, 16, 0] == 200
