"""MuDI's folders to scenes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personae.errors import DataError
from personae.evaluation.suites.mudi import MUDI
from personae.evaluation.suites.suite import SuiteOptions, missing_files
from tests.evaluation.suites.folders import photo


def pair(folder: Path, names: dict[str, str], photos: int = 2) -> Path:
    lines: list[dict] = [{"id": names}]
    for name in names:
        for number in range(photos):
            photo(folder / f"{name}_{number}.jpg", number)
            lines.append(
                {"id": name, "file_name": f"{name}_{number}.jpg", "mask_path": "m.jpg", "text": "."}
            )
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    below = tmp_path / "dataset" / "category"
    pair(below / "dog6_and_dog2", {"a": "olis corgi", "b": "hta chow chow"})
    five = dict(
        zip("abcde", ("olis toy", "hta can", "ult monster", "amg robot", "teddy"), strict=True)
    )
    pair(below / "count_ablation", five, photos=1)
    return tmp_path


def test_pairs_and_counts(data: Path) -> None:
    loaded = MUDI.load(data, SuiteOptions())
    assert loaded.subsets == ("pairs", "count-2", "count-3", "count-4", "count-5")
    scenes = {scene.id: scene for scene in loaded.scenes}
    first = scenes["dog6_and_dog2-000"]
    assert first.prompt == "{a} and {b}, floating on pool."
    assert [(one.token, one.noun) for one in first.subjects.values()] == [
        ("olis", "corgi"),
        ("hta", "chow chow"),
    ]
    assert all(len(one.references) == 2 for one in first.subjects.values())
    three = scenes["count_ablation-3"]
    assert three.prompt == "Three objects: {a}, {b}, {c} in the jungle."
    assert scenes["count_ablation-5"].subjects["e"].token is None
    assert len(loaded.problems) == 7 and not missing_files(loaded)


def test_half_a_download_names_photos_and_lines(data: Path) -> None:
    folder = data / "dataset" / "category" / "dog6_and_dog2"
    (folder / "b_1.jpg").unlink()
    loaded = MUDI.load(data, SuiteOptions())
    assert missing_files(loaded) == {folder / "b_1.jpg": ["dog6_and_dog2-000", "dog6_and_dog2-001"]}
    with (folder / "metadata.jsonl").open("a") as file:
        file.write('\n{"id": "c", "file_name": "c.jpg"}\n{"id": "a", "file_name": "a_1.jpg"}')
    told = "\n".join(MUDI.load(data, SuiteOptions()).problems)
    assert "metadata.jsonl:6: id: expected one of ['a', 'b']; got 'c'" in told


def test_prompts_of_ones_own(data: Path, tmp_path: Path) -> None:
    own = tmp_path / "prompts.txt"
    own.write_text("{a} beside {b}\n\n{b} on {a}\n{a} under {b}\n")
    loaded = MUDI.load(data, SuiteOptions(prompts=own))
    assert list(loaded.subset_of.values()).count("pairs") == 3
    own.write_text("{a} alone")
    with pytest.raises(DataError, match="prompt 1"):
        MUDI.load(data, SuiteOptions(prompts=own))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pair of MuDI"):
        MUDI.load(tmp_path, SuiteOptions())
