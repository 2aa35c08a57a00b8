from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from personae.data.backdrops import read_backdrops
from personae.subjects.manifest import read_cast, read_scenes
from personae.subjects.references import load_reference
from personae.toons import CastToon, scene, toon, write_cast, write_cast_scenes, write_places


def test_a_cast_and_scenes_of_it(tmp_path: Path) -> None:
    members = {"a": CastToon(toon(3), "olis"), "b": CastToon(toon(8), "hta")}
    path = write_cast(members, tmp_path, photos=3)
    cast = read_cast(path)
    assert not cast.problems and [s.name for s in cast.subjects] == [
        f"olis {toon(3).noun}",
        f"hta {toon(8).noun}",
    ]
    for subject in cast.subjects:
        pictures = [load_reference(file) for file in subject.references]
        assert len(pictures) == 3 and all(p.mask is not None for p in pictures)
        assert not np.array_equal(pictures[0].image, pictures[1].image)
        assert all("{" + subject.id + "}" in (f.caption or "") for f in subject.references)
    toons = [one.toon for one in members.values()]
    scenes = read_scenes(write_cast_scenes([scene(5, toons=toons), scene(6, toons=toons)], path))
    assert not scenes.problems and len(scenes.scenes) == 2
    first = scenes.scenes[0]
    assert first.subjects["b"].token == "hta" and len(first.subjects["a"].references) == 3
    assert first.claims and first.prompt == scene(5, toons=toons).prompt


def test_photos_of_a_cast_as_wide_as_its_scenes(tmp_path: Path) -> None:
    one = {"a": CastToon(toon(4000), "olis")}
    path = write_cast(one, tmp_path, photos=2, size=(192, 128))
    photo = load_reference(read_cast(path).subjects[0].references[1])
    assert photo.image.shape == (128, 192, 3)
    assert photo.mask is not None and photo.mask.shape == (128, 192)
    assert 40 < np.flatnonzero(photo.mask.any(0)).mean() < 152  # it stands away from the edges


def test_places_with_nobody_in_them(tmp_path: Path) -> None:
    write_places(tmp_path, each=2, size=(64, 48))
    lines = [json.loads(t) for t in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert len(lines) == 16 and {line["text"] for line in lines} >= {"in a park", "at night"}
    shown = read_backdrops(tmp_path, (64, 48))
    assert len(shown) == 16 and all(one.words for one in shown)
    assert not np.array_equal(shown[0].image, shown[1].image)
