"""The sheet is as high as what is on it, and no title leaves it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from personae.data.contact_sheet import SheetPhoto, SheetRow, contact_sheet


def sheet(title: str, count: int, words: str = "words") -> np.ndarray:
    cell = SheetPhoto(Image.new("RGB", (200, 120), (0, 120, 0)), words, doubtful=False)
    made = contact_sheet([SheetRow(title, (cell,) * count)])
    return np.asarray(Image.open(io.BytesIO(made)))


def test_rows_are_as_high_as_their_photos_and_words() -> None:
    one, seven = sheet("short", 1), sheet("short", 7)
    assert one.shape[1] == seven.shape[1] == 6 * 210 + 10
    assert seven.shape[0] - one.shape[0] == 120 + 4 + 16 + 20
    more = sheet("short", 1, "many words that need another line of the cell")
    assert more.shape[0] - one.shape[0] == 16
    assert (one[-18:] == 255).all(), "nothing is cut off below"


def test_long_titles_are_wrapped_and_end_inside() -> None:
    long = sheet("a cat left of a mug, " * 14, 1)
    assert long.shape[0] > sheet("short", 1).shape[0]
    assert (long[:, -8:] == 255).all()
    green = (long == (0, 120, 0)).all(-1)
    assert green.sum() == 200 * 120, "no letter stands on a photo"
