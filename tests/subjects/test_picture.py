"""Every odd picture gives RGB, or an error that names the file and says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.errors import DataError
from personae.subjects.picture import MAX_PIXELS, read_mask, read_picture

RED = (200, 30, 40)


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def plain(mode: str, color, size=(40, 30)) -> Image.Image:
    return Image.new(mode, size, color)


def palette(path: Path) -> Path:
    return saved(path / "palette.png", plain("RGB", RED).quantize(8))


def sixteen_bit(path: Path) -> Path:
    values = np.full((30, 40), 200 * 257, np.uint16)
    return saved(path / "deep.png", Image.fromarray(values))


def transparent(path: Path) -> Path:
    image = plain("RGBA", (0, 0, 0, 0))
    image.paste((*RED, 255), (10, 10, 30, 20))
    return saved(path / "alpha.png", image)


def animated(path: Path) -> Path:
    frames = [plain("RGB", RED), plain("RGB", (0, 0, 255))]
    return saved(
        path / "moves.webp", frames[0], save_all=True, append_images=frames[1:], lossless=True
    )


def rotated(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(path / "turned.png", plain("RGB", RED, (40, 30)), exif=exif)


@pytest.mark.parametrize(
    ("make", "shape", "color"),
    [
        (lambda path: saved(path / "grey.png", plain("L", 200)), (30, 40, 3), (200, 200, 200)),
        (palette, (30, 40, 3), RED),
        (sixteen_bit, (30, 40, 3), (200, 200, 200)),
        (lambda path: saved(path / "c.jpg", plain("CMYK", (0, 0, 0, 0))), (30, 40, 3), (255,) * 3),
        (transparent, (30, 40, 3), RED),
        (animated, (30, 40, 3), RED),
        (rotated, (40, 30, 3), RED),
        (lambda path: saved(path / "liar.png", plain("RGB", RED), format="BMP"), (30, 40, 3), RED),
        (lambda path: saved(path / "bit.png", plain("1", 1)), (30, 40, 3), (255, 255, 255)),
        (
            lambda path: saved(path / "strip.png", plain("L", 9, (30_000, 20))),
            (20, 30_000, 3),
            (9,) * 3,
        ),
    ],
    ids=[
        "grey",
        "palette",
        "16-bit",
        "CMYK",
        "alpha",
        "animated",
        "EXIF",
        "suffix",
        "1-bit",
        "30000",
    ],
)
def test_odd_pictures_become_rgb(make, shape, color, tmp_path: Path) -> None:
    image = read_picture(make(tmp_path))
    assert image.shape == shape
    assert image.dtype == np.uint8
    assert np.abs(image[shape[0] // 2, shape[1] // 2].astype(int) - color).max() <= 2


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    assert read_picture(transparent(tmp_path))[0, 0].tolist() == [255, 255, 255]


def bomb(path: Path) -> Path:
    """A PNG whose header promises 30,000 x 30,000 pixels."""
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    idat = b"IDAT" + zlib.compress(b"\0" * 1000)
    data += struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
    (path / "bomb.png").write_bytes(data)
    return path / "bomb.png"


def truncated(path: Path, suffix: str) -> Path:
    whole = saved(path / f"whole.{suffix}", Image.effect_noise((200, 200), 50).convert("RGB"))
    torn = path / f"torn.{suffix}"
    content = whole.read_bytes()
    torn.write_bytes(content[: len(content) // 2])
    return torn


def text(path: Path) -> Path:
    (path / "note.jpg").write_text("no picture")
    return path / "note.jpg"


def empty(path: Path) -> Path:
    (path / "empty.png").touch()
    return path / "empty.png"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path / "gone.png", "no such file"),
        (lambda path: path, "cannot be read"),
        (empty, "empty"),
        (text, "not a picture"),
        (lambda path: truncated(path, "png"), "truncated or damaged"),
        (lambda path: truncated(path, "jpg"), "truncated or damaged"),
        (lambda path: truncated(path, "webp"), "damaged|cannot be"),
        (lambda path: saved(path / "dot.png", plain("RGB", RED, (1, 1))), "too small"),
        (bomb, f"more than {MAX_PIXELS // 1_000_000} million pixels"),
    ],
    ids=["missing", "folder", "zero-byte", "text", "png", "jpeg", "webp", "1-pixel", "bomb"],
)
def test_bad_pictures_say_what_is_wrong(make, says, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(DataError, match=says) as caught:
        read_picture(path)
    assert str(caught.value).startswith(str(path))


def test_masks_count_by_brightness_or_alpha(tmp_path: Path) -> None:
    grey = plain("L", 0)
    grey.paste(255, (0, 0, 20, 30))
    alpha = plain("RGBA", (9, 9, 9, 0))
    alpha.paste((9, 9, 9, 255), (0, 0, 20, 30))
    by_grey = read_mask(saved(tmp_path / "g.png", grey), (30, 40))
    by_alpha = read_mask(saved(tmp_path / "a.png", alpha), (30, 40))
    assert by_grey.sum() == 600
    assert np.array_equal(by_grey, by_alpha)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mask is 40x30, its photo 41x30"):
        read_mask(saved(tmp_path / "m.png", plain("L", 255)), (30, 41))
