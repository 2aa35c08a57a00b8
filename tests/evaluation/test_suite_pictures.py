"""Pictures of other programs: grids cut, names read, nothing done twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.errors import DataError
from personae.evaluation.suite_pictures import cut_grid, lay_out
from personae.evaluation.suites.suite import SuiteOptions
from personae.evaluation.suites.xversebench import XVERSEBENCH
from tests.evaluation.suites.folders import photo, xverse_folder


@pytest.fixture
def loaded(tmp_path: Path):
    return XVERSEBENCH.load(xverse_folder(tmp_path / "data"), SuiteOptions())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_published_grids_are_cut_once(loaded, tmp_path: Path) -> None:
    grid = photo(tmp_path / "made" / "multi" / "0_A_man_is_holding_a_mug..png", 5, (64, 96))
    folder = lay_out(loaded, tmp_path / "made", tmp_path / "out").folder
    tiles = sorted((folder / "multi-000").iterdir())
    assert [tile.name for tile in tiles] == ["0.png", "1.png", "2.png", "3.png"]
    whole = pixels(grid)
    assert np.array_equal(pixels(tiles[1]), whole[:32, 48:])
    assert np.array_equal(pixels(tiles[2]), whole[32:, :48])
    before = [tile.stat().st_mtime_ns for tile in tiles]
    lay_out(loaded, tmp_path / "made", tmp_path / "out")
    assert [tile.stat().st_mtime_ns for tile in tiles] == before
    photo(grid, 6, (32, 32))
    lay_out(loaded, tmp_path / "made", tmp_path / "out")
    assert pixels(tiles[0]).shape == (16, 16, 3)
    grid.unlink()
    photo(tmp_path / "made" / "multi" / "1_An_old_man_and_a_man_{talking}..png", 5, (64, 96))
    lay_out(loaded, tmp_path / "made", tmp_path / "out")
    assert not list((folder / "multi-000").iterdir())
    assert len(list((folder / "multi-001").iterdir())) == 4


def test_names_tell_the_lists_apart_in_one_folder(loaded, tmp_path: Path) -> None:
    photo(tmp_path / "made" / "0_a_man_in_a_park.png")
    photo(tmp_path / "made" / "0_A man is holding a mug.png")
    photo(tmp_path / "made" / "0_a_cat.png")
    laid = lay_out(loaded, tmp_path / "made", tmp_path / "out", grid=1)
    assert sorted(path.name for path in laid.folder.iterdir()) == ["multi-000", "single-000"]


def test_our_names_are_taken_as_they_are(loaded, tmp_path: Path) -> None:
    photo(tmp_path / "made" / "multi-000" / "3.png")
    laid = lay_out(loaded, tmp_path / "made", tmp_path / "out")
    assert laid.folder == tmp_path / "made" and not (tmp_path / "out").exists()


def test_our_names_beside_published_ones_are_laid_out_too(loaded, tmp_path: Path) -> None:
    photo(tmp_path / "made" / "multi-001-0.png")
    photo(tmp_path / "made" / "multi" / "0_A_man_is_holding_a_mug..png")
    laid = lay_out(loaded, tmp_path / "made", tmp_path / "out")
    assert len(list(laid.folder.glob("*/*.png"))) == 1 + 4


def test_a_picture_that_is_no_grid_or_none_costs_only_its_scene(loaded, tmp_path: Path) -> None:
    photo(tmp_path / "made" / "multi" / "0_A_man_is_holding_a_mug..png", 0, (33, 40))
    torn = tmp_path / "made" / "multi" / "1_An_old_man_and_a_man_{talking}..png"
    torn.write_bytes(b"PNG")
    photo(tmp_path / "made" / "single" / "0_a_man_in_a_park.png")
    laid = lay_out(loaded, tmp_path / "made", tmp_path / "out")
    assert len(laid.problems) == 2 and "--grid 1" in laid.problems[0]
    assert [path.parent.name for path in laid.folder.glob("*/0.png")] == ["single-000"]


def test_no_folder(loaded, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--images"):
        lay_out(loaded, tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match="40x33"):
        cut_grid(np.zeros((33, 40, 3), np.uint8), 2)
