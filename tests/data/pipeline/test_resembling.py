"""Pictures that show the same, by descriptors, against all pairs."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from personae.data.pipeline.items import Item
from personae.data.pipeline.resembling import Described, Distinct, near_descriptors
from personae.data.pipeline.runner import run_pipeline
from personae.errors import DataError, RequestError
from personae.toons import scene


def slow(rows: np.ndarray, most: float) -> dict[int, int]:
    """Every pair, in order, in float64."""
    rows = rows.astype(float)
    kept: list[int] = []
    found: dict[int, int] = {}
    for row, own in enumerate(rows):
        for other in kept:
            long = np.linalg.norm(own) * np.linalg.norm(rows[other])
            if long and own @ rows[other] / long >= most:
                found[row] = other
                break
        else:
            kept.append(row)
    return found


def drawn(seed: int, count: int, copies: float, spread: float, width: int = 48) -> np.ndarray:
    """Rows of which a share are earlier ones, disturbed."""
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=width)]
    while len(rows) < count:
        if rng.random() < copies:
            rows.append(rows[int(rng.integers(len(rows)))] + spread * rng.normal(size=width))
        else:
            rows.append(rng.normal(size=width))
    return np.stack(rows)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 120), st.floats(0, 0.9), st.floats(0, 0.2))
def test_nearly_all_that_all_pairs_find_and_nothing_else(
    seed: int, count: int, copies: float, spread: float
) -> None:
    rows, most = drawn(seed, count, copies, spread), 0.9
    found, expected = near_descriptors(rows, most, found=0.9999), slow(rows, most)
    for row, other in found.items():
        cosine = rows[row] @ rows[other] / np.linalg.norm(rows[row]) / np.linalg.norm(rows[other])
        assert other < row and other not in found and cosine >= most - 1e-5
    assert len(expected.keys() - found.keys()) <= 1 + 0.02 * len(expected)


def test_what_is_just_near_enough_is_found_as_often_as_promised() -> None:
    """Pairs at the very threshold: the hardest ones; 500 of them at 0.9."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(500, 200))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    away = rng.normal(size=first.shape)
    away -= (away * first).sum(1, keepdims=True) * first
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    cosine = 0.9301
    second = cosine * first + np.sqrt(1 - cosine**2) * away
    found = near_descriptors(np.concatenate([first, second]), 0.93, found=0.9)
    assert all(row - 500 == other for row, other in found.items())
    assert 0.86 <= len(found) / 500 <= 1


def test_copies_leave_one_and_lengths_do_not_matter() -> None:
    row = np.random.default_rng(1).normal(size=30)
    many = np.stack([row * scale for scale in (1, 2, 0.5, 100)])
    assert near_descriptors(many, 0.99) == {1: 0, 2: 0, 3: 0}
    assert near_descriptors(np.zeros((3, 8)), 0.9) == {}, "nothing is like nothing"
    assert near_descriptors(np.stack([row, -row]), 0.5) == {}
    for most, found in ((1.0, 0.9), (0.0, 0.9), (0.9, 1.0)):
        with pytest.raises(RequestError, match=r"expected most and found in \(0, 1\)"):
            near_descriptors(many, most, found)


def test_few_are_compared() -> None:
    """Time must not grow with all pairs: of 3000 unrelated rows hardly any meet."""
    from personae.data.pipeline import resembling

    rows = np.random.default_rng(2).normal(size=(3000, 64))
    planes, bands = resembling._planes(len(rows), 0.93, 0.99)
    codes = np.array([b"".join(code) for code in resembling._codes(rows, planes, bands)])
    wide = len(codes[0]) // bands
    met = sum(
        int(
            (
                np.unique([c[k * wide : (k + 1) * wide] for c in codes], return_counts=True)[1] ** 2
            ).sum()
        )
        - len(rows)
        for k in range(bands)
    )
    assert met / len(rows) ** 2 < 0.02


def test_mirrored_and_cropped_pictures_go_and_others_stay(tmp_path: Path) -> None:
    source = []
    for seed in range(3):
        picture = scene(seed, count=2).image
        views = {"own": picture, "mirrored": picture[:, ::-1], "cropped": picture[3:125, 2:124]}
        for name, view in views.items():
            path = tmp_path / f"{seed}-{name}.png"
            Image.fromarray(np.ascontiguousarray(view)).save(path)
            source.append(Item(id=path.stem, files={"image": str(path)}))
    account = run_pipeline(source, [Described(), Distinct()], tmp_path / "out")
    left = [item.id for item in account.items()]
    assert {"0-own", "1-own", "2-own"} <= set(left) and len(left) <= 4
    assert account.steps[-1].dropped == {"shows what an earlier one shows": 9 - len(left)}
    texts = [path.read_text() for path in (tmp_path / "out/02-distinct").rglob("lost.jsonl")]
    assert '"1-mirrored"' in "".join(texts) and '"detail": "1-own"' in "".join(texts)


def test_descriptors_that_are_none() -> None:
    with pytest.raises(DataError, match="x: has no descriptor"):
        Distinct().decide([Item(id="x")])
    with pytest.raises(DataError, match="x: has no descriptor"):
        Distinct().decide([Item(id="x", data={"embedding": "?"})])
    assert Distinct().decide([]) == {}
    embedding = base64.b64encode(np.array([3, 4], np.int8).tobytes()).decode()
    items = [Item(id=name, data={"embedding": embedding}) for name in "ab"]
    assert list(Distinct().decide(items)) == ["b"]
