"""The ruler in the drawn world, where the truth is known: by the toon eyes and by the examiner."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from personae.evaluation.evaluate import Evaluation, evaluate
from personae.metrics.witnesses import EyesChoice
from personae.toons import ToonScene, scene, write_scenes

Rows = dict[tuple[str, str | None], float | None]
EYES = ("toons", "examiner")


def row_values(folder: Path, faces: str, images: Path) -> dict[str, Rows]:
    out = folder / f"out-{images.name}-{faces}"
    task = Evaluation(
        scenes=folder / "scenes.jsonl",
        images=images,
        out=out,
        eyes=EyesChoice(faces=faces, cache=None),
    )
    evaluate(task)
    found: dict[str, Rows] = {}
    for line in (out / "results.jsonl").read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        found.setdefault(row["scene"], {})[row["metric"], row["subject"]] = row["value"]
    return found


def mean(found: dict[str, Rows], metric: str, subject: str | None = None) -> float:
    values = [
        value
        for rows in found.values()
        for (name, whose), value in rows.items()
        if name == metric and subject in {None, whose} and value is not None
    ]
    assert values
    return float(np.mean(values))


@pytest.fixture(scope="module")
def pairs() -> list[ToonScene]:
    return [scene(seed, count=2, split="test") for seed in range(40, 46)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pairs: list[ToonScene]) -> Path:
    path = tmp_path_factory.mktemp("toons")
    write_scenes(pairs, path, truth=True)
    return path


def redrawn(
    folder: Path, name: str, pairs: list[ToonScene], cast: Callable[[ToonScene], list[Any]]
) -> Path:
    """Pictures of other casts than the scenes ask for, in a folder of their own."""
    images = folder / name
    for number, item in enumerate(pairs):
        made = scene(900 + number, toons=cast(item))
        path = images / item.id / "0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(made.image).save(path)
    return images


@pytest.mark.parametrize("faces", EYES)
def test_the_truth_is_found_to_be_true(faces: str, folder: Path) -> None:
    found = row_values(folder, faces, folder / "truth")
    assert mean(found, "presence") > 0.95
    assert mean(found, "strict_id_similarity") > 0.8
    assert mean(found, "strangers") < 0.1


def test_the_examiner_sees_the_claims_kept_and_others_say_nothing(
    folder: Path,
) -> None:
    found = row_values(folder, "examiner", folder / "truth")
    assert mean(found, "prompt_fidelity") > 0.9
    blind = row_values(folder, "toons", folder / "truth")
    assert all(rows["prompt_fidelity", None] is None for rows in blind.values())


@pytest.mark.parametrize("faces", EYES)
def test_who_is_missing_doubled_or_somebody_else_is_seen(
    faces: str, folder: Path, pairs: list[ToonScene]
) -> None:
    stranger = scene(77, count=1, split="test").members[0].toon
    casts: dict[str, Callable[[ToonScene], list[Any]]] = {
        "missing": lambda item: [item.members[0].toon],
        "doubled": lambda item: [item.members[0].toon, item.members[0].toon, item.members[1].toon],
        "stranger": lambda item: [item.members[0].toon, stranger],
    }
    for name, cast in casts.items():
        path = folder / f"{name}-{faces}"
        redrawn(folder, path.name, pairs, cast)
        found = row_values(folder, faces, path)
        first, second = mean(found, "presence", "a"), mean(found, "presence", "b")
        if name == "doubled":
            assert 0.45 < first < 0.75 and second > 0.9, (name, first, second)
        else:
            assert first > 0.8 and second < 0.1, (name, first, second)
        if name == "stranger":
            assert mean(found, "strangers") > 0.8


def test_a_picture_of_another_scene_keeps_little(folder: Path, pairs: list[ToonScene]) -> None:
    images = folder / "exchanged"
    for item, other in zip(pairs, [*pairs[1:], pairs[0]], strict=True):
        path = images / item.id / "0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(other.image).save(path)
    found = row_values(folder, "examiner", images)
    assert mean(found, "presence") < 0.1
    assert mean(found, "prompt_fidelity") < 0.6
