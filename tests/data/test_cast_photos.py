"""Photos kept small make the very same examples, in little memory."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from personae.data.backdrops import covering, cropped
from personae.data.cast_examples import CastExamples, CastRecipe
from personae.data.cast_photos import CastPhotos
from personae.data.seg_mix import SegMixRecipe
from personae.diffusion.backbone import Limits
from tests.diffusion.tiny import TINY_LIMITS
from tests.reference.cast_photos_slow import SlowExamples

LIMITS: Limits = replace(TINY_LIMITS, reference_px=48)
SIZES = ((96, 64),)
SHAPES = ((300, 400), (400, 300), (48, 48), (200, 90), (70, 64))  # some are smaller than a canvas


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects, noise in photos of all shapes, masks with holes and edges."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    lines = []
    for name, kind in (("a", "person"), ("b", "animal"), ("c", "object")):
        references = []
        for number, (height, width) in enumerate(SHAPES):
            y, x = np.mgrid[:height, :width]
            noise = rng.integers(0, 120, (height, width, 3), dtype=np.uint8)
            slope = np.stack([x * 130 // width, y * 130 // height, (x + y) % 130], axis=-1)
            inside = (np.abs(x / width - 0.4) < 0.2) & (np.abs(y / height - 0.6) < 0.35)
            inside &= rng.random((height, width)) < 0.95
            image, mask = f"{name}{number}.png", f"{name}{number}.mask.png"
            Image.fromarray(noise + slope.astype(np.uint8)).save(folder / image)
            Image.fromarray(inside).save(folder / mask)
            references.append({"image": image, "mask": mask})
        told = {"id": name, "noun": kind, "kind": kind, "token": f"{name}xq"}
        lines.append(json.dumps({**told, "references": references}) + "\n")
    path = folder / "cast.jsonl"
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize(
    "told",
    [
        {"mix": "none"},
        {"mix": "none", "in_context": True},
        {"mix": "seg_mix", "in_context": True},
        {"mix": "seg_mix", "seg_mix": SegMixRecipe(counts=(1.0, 1.0), flip=True, feather_px=2)},
        {"mix": "side_by_side"},
        {"mix": "cut_mix", "in_context": True},
        {"mix": "cut_mix", "seg_mix": SegMixRecipe(counts=(1.0, 1.0))},
    ],
)
def test_examples_are_those_of_whole_photos_to_the_bit(cast: Path, told: dict[str, Any]) -> None:
    recipe = CastRecipe(file=cast, count=40, probability=0.6, **told)
    fast = CastExamples(recipe, SIZES, 3, limits=LIMITS)
    slow = SlowExamples.of(recipe, SIZES, 3, limits=LIMITS)
    for number in [*range(40), *range(5)]:  # the last ones are of what was kept
        one, other = fast[number], slow[number]
        assert (one.id, one.prompt) == (other.id, other.prompt)
        assert np.array_equal(one.image, other.image) and one.image.shape == (64, 96, 3)
        assert (one.mask is None) is (other.mask is None)
        assert one.mask is None or np.array_equal(one.mask, np.asarray(other.mask))
        assert bool(one.references) is recipe.in_context
        pairs = zip(one.references, other.references, strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("shape", SHAPES)
def test_cropped_is_scaled_and_cut(shape: tuple[int, int]) -> None:
    """By the slow way: where to cut is drawn from the shape first, then all of it is scaled."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    width, height = size = SIZES[0]
    scale = max(width / shape[1], height / shape[0])
    sides = max(round(shape[1] * scale), width), max(round(shape[0] * scale), height)
    rng = np.random.default_rng(1)
    left, top = (int(rng.integers(sides[k] - size[k] + 1)) for k in range(2))
    scaled = Image.fromarray(image).resize(sides, Image.Resampling.BILINEAR)
    wanted = np.asarray(scaled.crop((left, top, left + width, top + height)))
    assert np.array_equal(cropped(image, size, np.random.default_rng(1)), wanted)
    assert covering(image, size).shape == (*sides[::-1], 3)


@pytest.mark.parametrize("mix", ["none", "seg_mix", "cut_mix"])
def test_no_photo_is_kept_whole(cast: Path, mix: Any) -> None:
    recipe = CastRecipe(file=cast, count=60, mix=mix, probability=0.5, in_context=True)
    source = CastExamples(recipe, SIZES, limits=LIMITS)
    tracemalloc.start()
    for number in range(60):
        source[number]
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    photos = 3 * sum(3 * height * width for height, width in SHAPES)
    assert kept < photos / 2


def test_each_photo_is_read_once_for_each_use(cast: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    source = CastExamples(CastRecipe(file=cast, mix="none"), SIZES)
    photos = CastPhotos(source.subjects, source.size)
    whole = photos._read
    monkeypatch.setattr(photos, "_read", lambda *key: read.append(key) or whole(*key))
    for _ in range(3):
        photos.covering("a", 0)
        photos.piece("a", 0)
        photos.reference("a", 0, 48)
        photos.column("a", 0, (48, 64))
    assert read == [("a", 0)] * 4
    photos.column("a", 0, (32, 64))
    photos.covering("a", 1)
    assert read[4:] == [("a", 0), ("a", 1)]
