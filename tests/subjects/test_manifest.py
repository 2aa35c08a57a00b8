"""scenes.jsonl: good lines are kept, bad ones are told with their number and a way out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from personae.errors import DataError
from personae.subjects.manifest import read_cast, read_scenes

GOOD = {
    "id": "pool",
    "prompt": "{cat} in a pool",
    "subjects": {"cat": {"noun": "grey cat", "kind": "animal", "references": ["cat.jpg"]}},
}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "scenes.jsonl"
    path.write_text(
        "\n".join(item if isinstance(item, str) else json.dumps(item) for item in lines)
    )
    return path


def changed(**changes: object) -> dict[str, object]:
    return {**GOOD, **changes}


def with_subject(**changes: object) -> dict[str, object]:
    return changed(subjects={"cat": {**GOOD["subjects"]["cat"], **changes}})


def test_a_scene_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "cat.mask.png").touch()
    line = changed(
        subjects={
            **GOOD["subjects"],
            "dog": {
                "noun": "dog",
                "kind": "animal",
                "references": [{"image": "d.jpg", "mask": "m.png"}],
                "target": "t.png",
            },
        },
        layout={"cat": [0, 0, 0.5, 1]},
        relation=["cat", "left of", "dog"],
    )
    (scene,) = read_scenes(written(tmp_path, line)).scenes
    assert scene.words == "grey cat in a pool"
    assert scene.subjects["cat"].references[0].mask == tmp_path / "cat.mask.png"
    assert scene.subjects["dog"].references[0].mask == tmp_path / "m.png"
    assert scene.subjects["dog"].target.image == tmp_path / "t.png"
    assert (scene.relation.first, scene.relation.words) == ("cat", "left of")
    assert list(scene.of_kind("animal")) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "a", ', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("3", "expected an object"),
        (changed(id=""), "id: expected a text"),
        (changed(id="a/b"), "cannot name a picture"),
        ({"id": "x", "prompt": "y"}, "key 'subjects' is missing"),
        (changed(subject={}), "unknown key 'subject'; did you mean 'subjects'"),
        (changed(subjects={}), "no subjects"),
        (with_subject(references=[]), "has no reference"),
        (with_subject(references="cat.jpg"), "expected a list"),
        (with_subject(references=[3]), "expected an object"),
        (with_subject(references=[""]), "expected a path"),
        (with_subject(kind="robot"), "kind is one of"),
        (with_subject(references=["../../etc/passwd"]), "leaves .*--root"),
        (with_subject(references=["/etc/passwd"]), "leaves .*--root"),
        (changed(layout={"dog": [0, 0, 1, 1]}), "layout names 'dog'"),
        (changed(layout={"cat": [0, 0, 2, 1]}), "in 0 to 1"),
        (changed(layout={"cat": [0.5, 0, 0.5, 1]}), "expected"),
        (changed(relation=["cat", "left of"]), "relation: expected"),
        (changed(relation=["cat", "left of", "dog"]), "relation names 'dog'"),
        (changed(relation=["cat", "left of", "cat"]), "twice"),
        (GOOD, "id 'pool' was used before"),
    ],
)
def test_a_bad_line_names_itself_and_costs_only_itself(line, says, tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, "", line, changed(id="later"))
    manifest = read_scenes(path)
    assert [scene.id for scene in manifest.scenes] == ["pool", "later"]
    (problem,) = manifest.problems
    assert problem.startswith(f"{path}:3: ")
    assert re.search(says, problem), problem


def test_a_wider_root_lets_paths_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = written(tmp_path / "inner", with_subject(references=["../cat.jpg"]))
    assert read_scenes(path).problems
    assert not read_scenes(path, root=tmp_path).problems


def test_a_link_that_leaves_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.jpg").touch()
    (tmp_path / "in" / "cat.jpg").symlink_to(tmp_path / "secret.jpg")
    (problem,) = read_scenes(written(tmp_path / "in", GOOD)).problems
    assert "leaves" in problem


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_scenes(tmp_path / "none.jsonl")


def test_a_cast_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cast.jsonl"
    subject = {
        "id": "ann",
        "noun": "woman",
        "kind": "person",
        "token": "olis",
        "references": [{"image": "a.jpg", "consent": "yes", "license": "CC0"}],
    }
    path.write_text(json.dumps(subject))
    (ann,) = read_cast(path).subjects
    assert (ann.id, ann.kind, len(ann.references)) == ("ann", "person", 1)
