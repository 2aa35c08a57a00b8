from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.data.cast_examples import CastExamples, CastRecipe
from personae.data.mix_files import write_mixes
from personae.errors import RequestError
from tests.data.cast import toon_cast


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> CastExamples:
    cast = toon_cast(tmp_path_factory.mktemp("cast"))
    return CastExamples(CastRecipe(file=cast), ((96, 64),), seed=3)


def test_mixes_are_written_as_an_image_folder(source: CastExamples, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = write_mixes(source, 11, tmp_path, progress=lambda *now: told.append(now))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["file_name"] for line in lines] == [f"{n:06d}.png" for n in range(11)]
    assert told == [(8, 11), (11, 11)]
    for number, line in enumerate(lines):
        mixed = source.mix(number)
        picture = np.asarray(Image.open(tmp_path / line["file_name"]))
        assert np.array_equal(picture, mixed.image) and picture.shape == (64, 96, 3)
        assert "olis" in line["text"] and "hta" in line["text"] and "{" not in line["text"]
        for subject, name in line["masks"].items():
            mask = np.asarray(Image.open(tmp_path / name)) > 0
            assert np.array_equal(mask, mixed.masks[subject])
            assert line["boxes"][subject] == list(mixed.boxes[subject].xyxy)


def test_two_processes_write_the_same_bytes(source: CastExamples, tmp_path: Path) -> None:
    one = write_mixes(source, 17, tmp_path / "one")
    two = write_mixes(source, 17, tmp_path / "two", num_workers=2)
    assert one.read_bytes() == two.read_bytes()
    for path in (tmp_path / "one").rglob("*.png"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


def test_one_subject_has_nothing_to_mix(tmp_path: Path) -> None:
    alone = CastExamples(CastRecipe(file=toon_cast(tmp_path, count=1)), ((64, 64),))
    with pytest.raises(RequestError, match="nothing to mix"):
        write_mixes(alone, 2, tmp_path / "out")
