"""Examples: toons by seed, files line by line, pictures brought to size without stretching."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.data.examples import Example, ExampleFile, ToonExamples, fit_picture, fit_square
from personae.errors import DataError, RequestError


def test_toons_are_a_function_of_their_number() -> None:
    source = ToonExamples(count=4, start=7, subject_words="the {noun} from image {index}")
    again = pickle.loads(pickle.dumps(source))
    first, second = source[2], again[2]
    assert first.prompt == second.prompt
    assert np.array_equal(first.image, second.image)
    assert len(first.references) == len(second.references)
    assert "from image 1" in first.prompt
    assert "{" not in first.prompt
    assert first.references[0].shape == (64, 64, 3)


def test_toons_come_in_the_shares_asked_for() -> None:
    source = ToonExamples(count=1, weights=(1, 0, 3), look_alike_share=0.5)
    choices = [source.choice(seed) for seed in range(4000)]
    counts = np.bincount([count for count, _ in choices], minlength=4)[1:]
    assert counts[1] == 0
    assert counts[2] / counts.sum() == pytest.approx(0.75, abs=0.03)
    alike = [is_alike for count, is_alike in choices if count == 3]
    assert np.mean(alike) == pytest.approx(0.5, abs=0.04)
    assert not any(is_alike for count, is_alike in choices if count == 1)


def test_some_examples_are_one_toon_redrawn() -> None:
    source = ToonExamples(count=40, portrait_share=0.5)
    examples = [source[index] for index in range(40)]
    redrawn = [example for example in examples if "portrait" in example.id]
    assert 10 <= len(redrawn) <= 30
    for example in redrawn:
        (reference,) = example.references
        assert example.image.shape == reference.shape == (64, 64, 3)
        assert np.abs(example.image.astype(int) - reference).mean() > 5  # no copy
        assert example.prompt.endswith(" 1")


def test_a_training_split_has_no_toon_of_another() -> None:
    from personae.toons import scene, split_of

    for split in ("train", "validation"):
        for seed in range(6):
            drawn = scene(seed, count=2, split=split)  # type: ignore[arg-type]
            assert {split_of(member.toon.seed) for member in drawn.members} == {split}


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"start": -1},
        {"weights": ()},
        {"weights": (0.0,)},
        {"look_alike_share": 2.0},
        {"portrait_share": -0.1},
    ],
)
def test_toons_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="toons"):
        ToonExamples(**{"count": 1, **wrong})  # type: ignore[arg-type]


def picture(path: Path, size: tuple[int, int], color: tuple[int, int, int]) -> str:
    Image.new("RGB", size, color).save(path)
    return path.name


def test_a_file_tells_its_bad_lines_and_keeps_the_rest(tmp_path: Path) -> None:
    good = {
        "id": "a",
        "prompt": "girl 1",
        "image": picture(tmp_path / "a.png", (80, 64), (255, 0, 0)),
        "references": [picture(tmp_path / "r.png", (30, 60), (0, 255, 0))],
    }
    lines = [
        json.dumps(good),
        "{no json",
        json.dumps(good),
        json.dumps({**good, "id": "b", "promt": "x"}),
        json.dumps({"id": "c", "prompt": "x", "image": "a.png"}),
        json.dumps({**good, "id": "d", "image": "../secret.png"}),
        json.dumps({**good, "id": "e", "references": "r.png"}),
        json.dumps({**good, "id": "f", "image": "missing.png"}),
    ]
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(lines))
    source = ExampleFile(path, ((64, 64), (128, 64)), 32)
    assert len(source) == 2  # the missing picture is found out when it is looked at
    said = dict(zip(("2", "3", "4", "5", "6", "7"), source.problems, strict=True))
    assert all(text.startswith(f"{path}:{line}: ") for line, text in said.items())
    assert "used before" in said["3"]
    assert "promt" in said["4"]
    assert "'references' is missing" in said["5"]
    assert "leaves" in said["6"]
    example = source[0]
    assert example.image.shape == (64, 64, 3)
    assert example.references[0].shape == (32, 32, 3)
    with pytest.raises(DataError, match=r"example f.*missing\.png"):
        source[1]


def test_a_file_without_examples(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text("{}\n")
    with pytest.raises(DataError, match="holds no example; first problem"):
        ExampleFile(path, ((64, 64),), 32)
    with pytest.raises(RequestError, match="no sizes"):
        ExampleFile(path, (), 32)


def test_settings_follow_the_content(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    line = {"id": "a", "prompt": "x", "references": []}
    line["image"] = picture(tmp_path / "a.png", (8, 8), (0, 0, 0))
    path.write_text(json.dumps(line))
    before = ExampleFile(path, ((16, 16),), 32).settings()
    assert before == ExampleFile(path, ((16, 16),), 32).settings()
    assert before != ExampleFile(path, ((32, 32),), 32).settings()
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert before != ExampleFile(path, ((16, 16),), 32).settings()


def test_nothing_is_stretched() -> None:
    # A circle stays a circle: its bounding box in the result is square.
    disk = np.zeros((100, 200, 3), np.uint8)
    rows, columns = np.mgrid[:100, :200]
    disk[(rows - 50) ** 2 + (columns - 100) ** 2 < 30**2] = 255
    for fitted in (
        fit_picture(Image.fromarray(disk), ((64, 64),)),
        fit_square(Image.fromarray(disk), 64),
    ):
        bright = fitted[..., 0] > 200
        height, width = np.ptp(np.nonzero(bright), axis=1) + 1
        assert abs(int(height) - int(width)) <= 1
        assert height > 10


def test_an_example_checks_its_pictures() -> None:
    with pytest.raises(DataError, match="reference"):
        Example("a", "x", np.zeros((8, 8, 3), np.uint8), (np.zeros((8, 8), np.uint8),))
