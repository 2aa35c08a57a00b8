"""Whole runs on real photographs: the demonstration, and two people in a group photo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from skimage import data

from personae.compute.runs import read_json, read_rows
from personae.data.prepare import Preparation, prepare
from personae.data.segment import EyesForCutting
from personae.evaluation.evaluate import Evaluation, evaluate
from personae.subjects.mask import mask_iou
from personae.subjects.picture import read_mask, read_picture
from tests.conftest import SceneFolder

EXAMPLE = Path(__file__).parents[2] / "examples" / "01_demo_photos.py"

# What each spoiled picture is told by, and by how much at least.
TOLD_BY = {
    "missing": {
        "presence": 0.2,
        "strict_matching_reward": 0.2,
        "strict_detect_and_compare": 0.2,
        "strict_subject_consistency": 0.2,
        "strict_id_confusion": 0.2,
        "balance": 0.2,
    },
    "twice": {
        "presence": 0.1,
        "strict_matching_reward": 0.2,
        "strict_detect_and_compare": 0.2,
        "strict_id_confusion": 0.2,
    },
    "stranger": {"strangers": -0.9},
    "blended": {
        "presence": 0.2,
        "strict_matching_reward": 0.2,
        "strict_detect_and_compare": 0.2,
        "strict_subject_consistency": 0.2,
        "strict_id_confusion": 0.2,
    },
    "swapped": {"strict_position_score": 0.9},
}


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "PERSONAE_CACHE": str(out / "cache")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(out)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return out, done.stdout


def means(results: Path) -> dict[tuple[str, str], float]:
    """(scene, metric) -> mean over subjects and eyes."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in read_rows(results / "results.jsonl"):
        if row["value"] is not None:
            values.setdefault((row["scene"], row["metric"]), []).append(row["value"])
    return {key: sum(numbers) / len(numbers) for key, numbers in values.items()}


def test_the_good_picture_comes_first_in_every_metric_that_claims_to_tell(demo_run) -> None:
    mean = means(demo_run[0] / "six-pictures")
    for picture, metrics in TOLD_BY.items():
        for metric, margin in metrics.items():
            ahead = mean["good", metric] - mean[picture, metric]
            assert (ahead >= margin) if margin > 0 else (ahead <= margin), (picture, metric, ahead)


def test_no_metric_ranks_a_spoiled_picture_clearly_above_the_good_one(demo_run) -> None:
    mean = means(demo_run[0] / "six-pictures")
    for (scene, metric), value in mean.items():
        ahead = mean["good", metric] - value
        assert (ahead <= 0.02) if metric == "strangers" else (ahead >= -0.02), (scene, metric)


def test_the_demonstration_prints_a_table_and_writes_its_report(demo_run) -> None:
    out, printed = demo_run
    assert "strict_matching_reward" in printed
    assert "blended" in printed
    page = (out / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert read_json(out / "six-pictures" / "run.json")["problems"] == []


def test_two_people_are_found_in_the_group_photo_and_the_third_face_is_extra(
    data_dir: Path, folder: SceneFolder
) -> None:
    people = data_dir / "photos" / "people"
    for photo in people.glob("*.jpg"):
        shutil.copy(photo, folder.path)
    shutil.copy(people / "obama_and_biden.jpg", folder.images / "both.jpg")
    folder.scene(
        "both",
        {name: ("person", [f"{name}_1.jpg", f"{name}_2.jpg"]) for name in ("obama", "biden")},
        relation=["biden", "left of", "obama"],
    )
    evaluate(Evaluation(scenes=folder.scenes, images=folder.images, out=folder.out))
    rows = {(row["metric"], row["subject"]): row for row in read_rows(folder.out / "results.jsonl")}
    assert rows["presence", "obama"]["value"] == rows["presence", "biden"]["value"] == 1
    assert rows["strangers", None]["value"] == 1
    details = rows["strict_matching_reward", None]["details"]
    assert details["subjects"] == ["obama", "biden"]
    boxes = [details["boxes"][index] for index in details["match"]]
    assert boxes[0][0] > 550 > boxes[1][2], "Obama stands to the right of Biden"
    assert rows["strict_position_score", None]["value"] > 0.9
    assert rows["strict_id_similarity", "obama"]["value"] > 0.9
    assert rows["strict_id_confusion", "biden"]["value"] > 0.9


def test_the_official_protocol_omits_what_it_would_guess(
    data_dir: Path, folder: SceneFolder
) -> None:
    people = data_dir / "photos" / "people"
    for name in ("obama", "biden"):
        shutil.copy(people / f"{name}_1.jpg", folder.path)
    shutil.copy(people / "obama_2.jpg", folder.images / "both.jpg")
    folder.scene("both", {n: ("person", [f"{n}_1.jpg"]) for n in ("obama", "biden")})
    task = Evaluation(
        scenes=folder.scenes, images=folder.images, out=folder.out, protocol="official"
    )
    summary = {item["metric"]: item for item in evaluate(task).summary["metrics"]}
    assert summary["id_similarity"]["n"] == 2
    assert (summary["id_confusion"]["n"], summary["id_confusion"]["n_unmeasured"]) == (0, 2)
    assert summary["id_confusion"]["mean"] is None
    assert summary["detect_and_compare"]["mean"] == 0
    assert json.loads((folder.out / "summary.json").read_text())["environment"]["personae"]


@pytest.mark.parametrize(("drawn", "value"), [("reference", 1.0), ("target", -1.0)])
def test_a_copy_of_the_reference_is_told_from_the_target(
    drawn: str, value: float, folder: SceneFolder
) -> None:
    photos = {"reference": data.astronaut()[:280, 80:370]}
    photos["target"] = photos["reference"][:, ::-1].copy()
    for name, photo in photos.items():
        folder.photo(f"{name}.png", photo)
    subject = {"noun": "woman", "kind": "person", "references": ["reference.png"]}
    subject["target"] = "target.png"
    line = {"id": "a", "prompt": "{ann}", "subjects": {"ann": subject}}
    folder.line(json.dumps(line))
    folder.picture("a.png", photos[drawn])
    evaluate(Evaluation(scenes=folder.scenes, images=folder.images, out=folder.out))
    rows = {row["metric"]: row for row in read_rows(folder.out / "results.jsonl")}
    assert "copy_paste_reference" not in rows
    assert rows["copy_paste"]["value"] == pytest.approx(value, abs=0.01)


def test_subjects_are_cut_out_of_real_photographs_with_no_mask_given(
    data_dir: Path, tmp_path: Path
) -> None:
    """Two subjects of the twenty photographs: benchmarks/segment_photos.py measures all."""
    for name in ("corgi", "robot"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for photo in (data_dir / "photos" / "subjects" / name).glob("0?.jpg"):
            shutil.copy(photo, tmp_path / "photos" / name)
    cast = prepare(
        Preparation(
            photos=tmp_path / "photos",
            out=tmp_path / "cast",
            eyes=EyesForCutting(detector="guided", segmenter="grabcut"),
            kinds={"corgi": "animal", "robot": "object"},
        )
    )
    overlaps = []
    for subject in cast.subjects:
        for photo in subject.photos:
            assert photo.mask is not None
            truth = data_dir / "photos" / "subjects" / photo.mask
            shape = read_picture(tmp_path / "cast" / photo.image).shape[:2]
            found = read_mask(tmp_path / "cast" / photo.mask, shape)
            overlaps.append(mask_iou(found, read_mask(truth, shape)))
    assert sum(overlaps) / len(overlaps) > 0.9, overlaps
    assert min(overlaps) > 0.8, overlaps
    assert cast.doubtful == []
