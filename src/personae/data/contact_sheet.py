"""The contact sheet: every photo of a cast with its mask, to check by eye; doubtful ones in red."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

__all__ = ["SheetPhoto", "SheetRow", "contact_sheet", "shown"]

_CELL_PX, _GAP_PX, _LINE_PX, _TITLE_PX = 200, 10, 16, 22
_WORDS, _TITLE, _TITLE_LINES = 13, 16, 4
_PER_ROW = 6
_INK, _PAPER, _RED, _LINE = (30, 30, 30), (255, 255, 255), (205, 25, 25), (0, 200, 90)
_DIMMED = (40, 60, 90)


@dataclass(frozen=True, eq=False)
class SheetPhoto:
    """One cell: a picture made by `shown`, what stands below it, and whether it is doubtful."""

    picture: Image.Image
    words: str
    doubtful: bool


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One subject: its heading and its photos."""

    title: str
    photos: tuple[SheetPhoto, ...]


def shown(image: np.ndarray, mask: np.ndarray | None) -> Image.Image:
    """A photo (H, W, 3) uint8 for a cell: small, darkened where the mask (H, W) bool is False."""
    picture = Image.fromarray(image)
    picture.thumbnail((_CELL_PX, _CELL_PX))
    if mask is None:
        return picture
    small = Image.fromarray(mask).convert("L").resize(picture.size, Image.Resampling.BOX)
    dark = Image.blend(picture, Image.new("RGB", picture.size, _DIMMED), 0.75)
    picture = Image.composite(picture, dark, small)
    inside = small.point(lambda value: 255 * (value > 127))
    outline = Image.new("L", picture.size)
    outline.paste(inside)
    edge = np.asarray(inside.filter(ImageFilter.MaxFilter(3))) > np.asarray(outline)
    picture.paste(_LINE, mask=Image.fromarray(edge))
    return picture


def contact_sheet(rows: Sequence[SheetRow]) -> bytes:
    """The sheet as a PNG: a heading a subject, six photos a line; as high as what is on it."""
    width = _PER_ROW * (_CELL_PX + _GAP_PX) + _GAP_PX
    titles = [_wrapped(row.title, _font(_TITLE), width - 2 * _GAP_PX, _TITLE_LINES) for row in rows]
    lines = [_lines(row.photos) for row in rows]
    height = _GAP_PX + sum(
        _title_height(title) + sum(_height(line) for line in held)
        for title, held in zip(titles, lines, strict=True)
    )
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw, top = ImageDraw.Draw(sheet), _GAP_PX
    for title, held in zip(titles, lines, strict=True):
        draw.multiline_text((_GAP_PX, top), title, fill=_INK, font=_font(_TITLE), spacing=4)
        top += _title_height(title)
        for line in held:
            for across, photo in enumerate(line):
                at = (_GAP_PX + across * (_CELL_PX + _GAP_PX), top)
                _draw_photo(sheet, draw, photo, at)
            top += _height(line)
    stream = BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _lines(photos: Sequence[SheetPhoto]) -> list[Sequence[SheetPhoto]]:
    return [photos[first : first + _PER_ROW] for first in range(0, len(photos), _PER_ROW)]


def _title_height(title: str) -> int:
    return _TITLE_PX * (1 + title.count("\n")) + 4


def _height(line: Sequence[SheetPhoto]) -> int:
    """Of a line of photos, their words and the gap below included."""
    return max(
        photo.picture.height + 4 + _LINE_PX * (1 + _words(photo).count("\n")) for photo in line
    ) + 2 * _GAP_PX  # fmt: skip


def _words(photo: SheetPhoto) -> str:
    return _wrapped(photo.words, _font(_WORDS), _CELL_PX)


def _draw_photo(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, photo: SheetPhoto, at: tuple[int, int]
) -> None:
    left, top = at
    picture = photo.picture
    sheet.paste(picture, at)
    if photo.doubtful:
        frame = (left - 3, top - 3, left + picture.width + 2, top + picture.height + 2)
        draw.rectangle(frame, outline=_RED, width=4)
    color, below = _RED if photo.doubtful else _INK, (left, top + picture.height + 4)
    draw.multiline_text(below, _words(photo), fill=color, font=_font(_WORDS), spacing=2)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _wrapped(text: str, font: Any, width: int, most: int = 3) -> str:
    """The text in lines that fit, at most so many; the last one says when more was left out."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(
        lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1] + " ..."]
    )
