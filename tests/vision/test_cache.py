"""Descriptors are kept by content and eyes; a damaged or unwritable cache costs time only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from personae.subjects.subject import Reference
from personae.vision.cache import TensorCache, cache_folder, content_key

PHOTO = Reference(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), path="a.png")


class Eyes:
    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> dict[str, torch.Tensor]:
        self.looks += 1
        return {"d": torch.full((1, 3), 0.25)}


def test_the_key_is_content_mask_and_eyes_but_not_the_path() -> None:
    key = content_key([PHOTO], "eyes")
    assert content_key([replace(PHOTO, path="b.png")], "eyes") == key
    others = [
        content_key([PHOTO], "other eyes"),
        content_key([replace(PHOTO, mask=np.ones((4, 4), bool))], "eyes"),
        content_key([replace(PHOTO, image=PHOTO.image[::-1])], "eyes"),
        content_key([replace(PHOTO, image=PHOTO.image.reshape(2, 8, 3))], "eyes"),
        content_key([PHOTO, PHOTO], "eyes"),
    ]
    assert len({key, *others}) == 6


def test_what_was_seen_once_is_not_looked_at_again(tmp_path: Path) -> None:
    eyes = Eyes()
    for _ in range(2):
        cache = TensorCache(tmp_path)
        assert torch.equal(cache.get("k", eyes)["d"], torch.full((1, 3), 0.25))
    assert eyes.looks == 1


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    eyes = Eyes()
    TensorCache(tmp_path).get("k", eyes)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(entry.read_bytes()[:-3])
    assert torch.equal(TensorCache(tmp_path).get("k", eyes)["d"], torch.full((1, 3), 0.25))
    assert eyes.looks == 2


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    eyes = Eyes()
    assert TensorCache(tmp_path / "file" / "cache").get("k", eyes)["d"].shape == (1, 3)
    assert TensorCache().get("k", eyes)["d"].shape == (1, 3)


def test_the_user_says_where(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PERSONAE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("PERSONAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "personae"
