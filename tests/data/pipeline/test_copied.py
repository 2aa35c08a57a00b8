"""Copies of faces, and the same face in another pose."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from personae.data.pipeline.copied import copied
from personae.data.pipeline.thresholds import THRESHOLDS
from personae.subjects.box import Box
from personae.toons import portrait, toon

MOST = THRESHOLDS["toons"].most_copied


def moved(box: Box, factor: float, x: float = 0, y: float = 0) -> Box:
    return Box(*(factor * side + shift for side, shift in zip(box.xyxy, (x, y, x, y), strict=True)))


def jpeg(picture: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=30)
    return np.asarray(Image.open(stream))


@pytest.mark.parametrize("seed", [9, 19, 29, 39])
def test_a_copy_is_one_however_it_was_saved_and_boxed(seed: int) -> None:
    one = portrait(toon(seed), 0, 128)
    picture, box = one.image, one.face
    big = np.asarray(Image.fromarray(picture).resize((208, 208)))
    mirrored = Box(128 - box.right, box.top, 128 - box.left, box.bottom)
    pasted = np.full((200, 200, 3), 90, np.uint8)
    pasted[40:168, 30:158] = picture
    copies = {
        "itself": (picture, box),
        "as JPEG": (jpeg(picture), box),
        "darker": ((picture * 0.7).astype(np.uint8), box),
        "larger": (big, moved(box, 208 / 128)),
        "mirrored": (np.ascontiguousarray(picture[:, ::-1]), mirrored),
        "elsewhere": (pasted, moved(box, 1, 30, 40)),
        "by another box": (picture, moved(box, 1, 0.1 * box.width, -0.08 * box.height)),
    }
    for name, (other, where) in copies.items():
        assert copied(picture, box, other, where) >= MOST, name


def test_another_pose_is_no_copy() -> None:
    values = []
    for seed in range(9, 209, 10):
        one = portrait(toon(seed), 0, 128)
        other = portrait(toon(seed), 1, 128, than=one.pose)
        values.append(copied(one.image, one.face, other.image, other.face))
    assert np.mean(np.array(values) < MOST) >= 0.85
    assert np.median(values) < MOST - 0.1


def test_the_correlation_is_the_one_worked_out_by_hand() -> None:
    """At the scale of itself, against the plain formula on the same patch."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (10, 10, 3), np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize((120, 120)))
    box = Box(40, 40, 80, 80)
    face = cv2.resize(picture[42:78, 42:78], (40, 40), interpolation=cv2.INTER_AREA).astype(float)
    damaged = np.clip(picture + rng.normal(0, 20, picture.shape), 0, 255).astype(np.uint8)
    other = cv2.resize(damaged[42:78, 42:78], (40, 40), interpolation=cv2.INTER_AREA).astype(float)
    a, b = (part - part.mean((0, 1)) for part in (face, other))
    slow = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
    assert copied(picture, box, damaged, box) == pytest.approx(slow, abs=0.05)


def test_what_is_flat_or_outside_is_no_copy() -> None:
    flat = np.full((50, 50, 3), 128, np.uint8)
    one = portrait(toon(9), 0, 128)
    assert copied(one.image, one.face, flat, Box(10, 10, 30, 30)) == 0.0
    assert copied(flat, Box(10, 10, 30, 30), one.image, one.face) == 0.0
    assert copied(one.image, one.face, one.image, Box(900, 900, 930, 930)) == 0.0
