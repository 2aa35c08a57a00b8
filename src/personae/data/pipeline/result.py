"""What a pipeline leaves for people to look at: the contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import ImageOps

from personae.compute.runs import write_atomic
from personae.data.contact_sheet import SheetPhoto, SheetRow, contact_sheet, shown
from personae.subjects.picture import read_picture

__all__ = ["SHEET_ROWS", "write_sheet"]

SHEET_ROWS = 12
_CELL_PX, _COARSE = 200, 16


def write_sheet(
    out: Path, rows: Sequence[tuple[str, Sequence[tuple[str, str]]]], *, blurred: bool = False
) -> None:
    """Write ``contact_sheet.png``: rows of a title and of pictures (path in ``out``, words).

    ``blurred`` makes the pictures so coarse that nobody can be known by them. No rows, no sheet.
    """
    if not rows:
        (out / "contact_sheet.png").unlink(missing_ok=True)
        return
    drawn = [
        SheetRow(title, tuple(_cell(out / path, words, blurred) for path, words in cells))
        for title, cells in rows
    ]
    write_atomic(out / "contact_sheet.png", contact_sheet(drawn))


def _cell(path: Path, words: str, blurred: bool) -> SheetPhoto:
    picture = ImageOps.contain(shown(read_picture(path), None), (_CELL_PX, _CELL_PX))
    if blurred:
        small = (max(picture.width // _COARSE, 1), max(picture.height // _COARSE, 1))
        picture = picture.resize(small).resize(picture.size)
    return SheetPhoto(picture, words, doubtful=False)
