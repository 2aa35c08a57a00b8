"""What a pipeline leaves for people to look at: the contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from personae.compute.runs import write_atomic
from personae.data.contact_sheet import SheetPhoto, SheetRow, contact_sheet, shown
from personae.subjects.box import Box
from personae.subjects.picture import read_picture

__all__ = ["SHEET_ROWS", "Cell", "hidden", "write_sheet"]

SHEET_ROWS = 12
_CELL_PX, _COARSE = 200, 16
_GROWN = 0.35  # of a face's side, each way: hair, ears and chin
_CELLS = 4  # what is left of a face, across and down


@dataclass(frozen=True)
class Cell:
    """A picture of the sheet.

    Attributes:
        path: below the pipeline's folder.
        words: below the picture.
        faces: boxes of all faces that were found, in its pixels; None: nobody said where they are.
    """

    path: str
    words: str
    faces: tuple[Box, ...] | None = None


def write_sheet(
    out: Path, rows: Sequence[tuple[str, Sequence[Cell]]], *, blurred: bool = False
) -> None:
    """Write ``contact_sheet.png``: rows of a title and of pictures.

    ``blurred`` makes faces unknowable: each one that was found, with what is around it, and the
    whole of a picture of which nobody said where its faces are. A face that nobody found stays.
    No rows, no sheet.
    """
    if not rows:
        (out / "contact_sheet.png").unlink(missing_ok=True)
        return
    drawn = [
        SheetRow(title, tuple(_photo(out / cell.path, cell, blurred) for cell in cells))
        for title, cells in rows
    ]
    write_atomic(out / "contact_sheet.png", contact_sheet(drawn))


def hidden(picture: np.ndarray, faces: Sequence[Box]) -> np.ndarray:
    """A copy of a picture (H, W, 3) uint8 with four by four even patches where each face is."""
    image = Image.fromarray(picture)
    for box in faces:
        across, down = _GROWN * box.width, _GROWN * box.height
        wide = Box(box.left - across, box.top - down, box.right + across, box.bottom + down)
        inside = wide.clipped(image.width, image.height)
        if inside is None:
            continue
        left, top = int(inside.left), int(inside.top)
        right, bottom = int(np.ceil(inside.right)), int(np.ceil(inside.bottom))
        region = image.crop((left, top, right, bottom))
        few = region.resize((_CELLS, _CELLS), Image.Resampling.BOX)
        image.paste(few.resize(region.size, Image.Resampling.NEAREST), (left, top))
    return np.asarray(image)


def _photo(path: Path, cell: Cell, blurred: bool) -> SheetPhoto:
    picture = read_picture(path)
    if blurred and cell.faces is not None:
        picture = hidden(picture, cell.faces)
    small = ImageOps.contain(shown(picture, None), (_CELL_PX, _CELL_PX))
    if blurred and cell.faces is None:
        few = (max(small.width // _COARSE, 1), max(small.height // _COARSE, 1))
        small = small.resize(few).resize(small.size)
    return SheetPhoto(small, cell.words, doubtful=False)
