"""Scenes written are the scenes read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from personae.errors import DataError
from personae.subjects.manifest import read_scenes
from personae.subjects.scene import Claim, Relation, Scene
from personae.subjects.scene_lines import write_scenes
from personae.subjects.subject import ReferenceFile, Subject


def scene(folder: Path) -> Scene:
    photo = ReferenceFile(folder / "a b.png", folder / "m.png", caption="{a}", license="CC0")
    first = Subject("a", "cat", "animal", (photo,), ReferenceFile(folder / "t.png"), "olis")
    second = Subject("b", "caf\u00e9", "object", (ReferenceFile(folder / "b.png"),))
    return Scene(
        "s",
        "{a} on {b}",
        {"a": first, "b": second},
        {"a": (0.0, 0.0, 0.5, 1.0)},
        Relation("a", "above", "b"),
        (Claim("place", None, "park"), Claim("wears", "a", "cape")),
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path, told = tmp_path / "out" / "scenes.jsonl", scene(tmp_path / "photos")
    write_scenes([told], path)
    manifest = read_scenes(path, tmp_path)
    assert not manifest.problems
    (read,) = manifest.scenes
    paths = [file.image.resolve() for file in read.subjects["a"].references]
    assert paths == [tmp_path / "photos" / "a b.png"]
    for name in ("a", "b"):
        before, after = told.subjects[name], read.subjects[name]
        assert after == replace(before, references=after.references, target=after.target)
    assert read.subjects["a"].references[0].license == "CC0"
    assert (read.prompt, read.layout, read.relation, read.claims) == (
        told.prompt, told.layout, told.relation, told.claims,
    )  # fmt: skip


def test_the_same_scenes_leave_the_file_alone_and_an_id_comes_once(tmp_path: Path) -> None:
    path = tmp_path / "scenes.jsonl"
    write_scenes([scene(tmp_path)], path)
    before = path.stat().st_mtime_ns
    write_scenes([scene(tmp_path)], path)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(DataError, match="two scenes"):
        write_scenes([scene(tmp_path), scene(tmp_path)], path)
