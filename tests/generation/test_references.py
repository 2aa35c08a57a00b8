"""References as the model gets them: squares, unstretched, the subject inside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personae.generation.references import chosen_reference, reference_picture
from personae.subjects.subject import Reference
from tests.generation.fake import scenes


def disk(height: int, width: int, y: int, x: int, radius: int) -> Reference:
    """A black disk on gray, and its mask."""
    rows, columns = np.mgrid[:height, :width]
    mask = np.hypot(rows - y, columns - x) <= radius
    image = np.full((height, width, 3), 128, np.uint8)
    image[mask] = 0
    return Reference(image, mask)


def extent(picture: np.ndarray) -> tuple[int, int]:
    """Height and width of what is black."""
    black = picture[..., 0] < 64
    return int(black.any(1).sum()), int(black.any(0).sum())


@given(st.integers(20, 90), st.integers(20, 90), st.booleans())
def test_a_disk_stays_a_disk(height: int, width: int, masked: bool) -> None:
    photo = disk(height, width, height // 2, width // 2, 8)
    picture = reference_picture(photo if masked else Reference(photo.image), 64)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    tall, wide = extent(picture)
    assert abs(tall - wide) <= 2
    if masked:
        assert tall == pytest.approx(64 / 1.2, abs=4)


def test_the_part_around_the_mask_comes_from_the_photo_where_it_reaches() -> None:
    corner = reference_picture(disk(100, 100, 9, 9, 8), 60)
    assert (corner < 250).all(), "the square was moved into the photo: no white"
    whole = reference_picture(disk(20, 100, 10, 50, 9), 60)
    assert (whole[0] == 255).all(), "the photo is too low for the square: white above"


def test_a_photo_of_the_very_size_is_left_alone() -> None:
    photo = disk(64, 64, 20, 20, 5)
    assert reference_picture(photo, 64) is photo.image


def test_a_photo_without_a_mask_is_whole() -> None:
    image = np.arange(30 * 50 * 3, dtype=np.uint8).reshape(30, 50, 3)
    picture = reference_picture(Reference(image), 50)
    assert np.array_equal(picture[10:40], image)
    assert (picture[:10] == 255).all()
    assert (picture[40:] == 255).all()


def test_an_index_beyond_the_last_reference_takes_the_last(tmp_path) -> None:
    (scene,) = scenes(tmp_path, "s")
    subject = scene.subjects["bob"]
    first, tenth = chosen_reference(subject), chosen_reference(subject, 9)
    assert np.array_equal(first.image, tenth.image)
    assert first.mask is not None
    assert first.mask.sum() == 200
