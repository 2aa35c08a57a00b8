"""Which picture belongs to which scene."""

from __future__ import annotations

from pathlib import Path

import pytest

from personae.errors import DataError
from personae.evaluation.pictures import find_pictures


def folder_with(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    return path


def found(path: Path, *scenes: str) -> list[tuple[str, int, str]]:
    pictures = find_pictures(path, scenes).pictures
    return [(item.scene, item.seed, item.path.relative_to(path).as_posix()) for item in pictures]


def test_the_three_forms_belong_to_the_scene(tmp_path: Path) -> None:
    folder_with(tmp_path, "pool.png", "pool-7.JPG", "pool/12.webp", "pool/notes.txt", "other.png")
    assert found(tmp_path, "pool") == [
        ("pool", 0, "pool.png"),
        ("pool", 7, "pool-7.JPG"),
        ("pool", 12, "pool/12.webp"),
    ]


def test_the_longest_scene_wins(tmp_path: Path) -> None:
    folder_with(tmp_path, "a-b-1.png", "a-1.png", "ab.png")
    assert found(tmp_path, "a", "a-b") == [("a", 1, "a-1.png"), ("a-b", 1, "a-b-1.png")]


def test_without_numbers_the_position_counts(tmp_path: Path) -> None:
    folder_with(tmp_path, "a-x.png", "a-y.png", "a-1.png")
    assert found(tmp_path, "a") == [("a", 1, "a-1.png"), ("a", 2, "a-x.png"), ("a", 3, "a-y.png")]


def test_a_seed_that_is_claimed_twice_is_told(tmp_path: Path) -> None:
    folder_with(tmp_path, "a-1.png", "a/1.png")
    pictures = find_pictures(tmp_path, ["a"])
    assert len(pictures.pictures) == 1
    (problem,) = pictures.problems
    assert "already is seed 1" in problem
    assert "rename" in problem


def test_scenes_without_pictures_are_named(tmp_path: Path) -> None:
    folder_with(tmp_path, "a.png")
    assert find_pictures(tmp_path, ["b", "a", "c"]).missing == ("b", "c")


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--images"):
        find_pictures(tmp_path / "none", ["a"])
