"""Thumbnails of every odd picture, within their bytes."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from personae.report.thumbnails import (
    TOTAL_BYTES,
    Thumbnail,
    ThumbnailSize,
    make_thumbnail,
    size_for,
    thumbnails,
)

SIZE = ThumbnailSize(64, 3000)


def opened(thumbnail: Thumbnail) -> Image.Image:
    assert thumbnail.data is not None, thumbnail.reason
    return Image.open(io.BytesIO(base64.b64decode(thumbnail.data)))


@pytest.mark.parametrize("count", [1, 100, 3000, 20_000, 40_000])
def test_all_thumbnails_stay_within_the_budget(count):
    assert size_for(count).max_bytes * count <= TOTAL_BYTES


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_every_mode_is_shown(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    gray = np.full((80, 120), 60_000, np.uint16)
    picture = Image.fromarray(gray) if mode == "I;16" else Image.new("RGB", (120, 80), "white")
    (picture if mode == "I;16" else picture.convert(mode)).save(path)
    image = opened(make_thumbnail(path, SIZE))
    assert max(image.size) <= 64
    assert min(image.convert("RGB").getpixel((20, 20))) > 225


def test_clear_becomes_white(tmp_path):
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert min(opened(make_thumbnail(tmp_path / "a.png", SIZE)).getpixel((5, 5))) > 250


def test_turned_by_exif_and_read_small(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (800, 400)).save(tmp_path / "a.jpg", exif=exif)
    assert opened(make_thumbnail(tmp_path / "a.jpg", SIZE)).size == (32, 64)


def test_noise_stays_within_its_bytes(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    tight = ThumbnailSize(128, 1650)
    data = make_thumbnail(tmp_path / "a.png", tight).data
    assert data is not None
    assert len(base64.b64decode(data)) <= tight.max_bytes


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "picture not found"),
        (b"", "picture could not be read"),
        (b"not a picture", "picture could not be read"),
        ("cut", "picture could not be read"),
    ],
)
def test_bad_files_give_a_reason(tmp_path, content, reason):
    path = tmp_path / "a.png"
    if content == "cut":
        Image.effect_noise((200, 200), 80).save(path)
        content = path.read_bytes()[:9000]
    if content is not None:
        path.write_bytes(content)
    assert make_thumbnail(path, SIZE) == Thumbnail(None, reason)


def test_a_huge_picture_is_not_decoded(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "a.png")
    assert "too large" in make_thumbnail(tmp_path / "a.png", SIZE).reason
    Image.new("1", (20_000, 20_000)).save(tmp_path / "b.png")
    (bomb,) = thumbnails([(tmp_path / "b.png", SIZE)])
    assert bomb.data is None


def test_order_is_kept(tmp_path):
    for shade in range(40):
        Image.new("L", (shade + 10, 10)).save(tmp_path / f"{shade}.png")
    jobs = ((tmp_path / f"{shade}.png", SIZE) for shade in range(40))
    widths = [opened(thumbnail).width for thumbnail in thumbnails(jobs)]
    assert widths == [shade + 10 for shade in range(40)]
