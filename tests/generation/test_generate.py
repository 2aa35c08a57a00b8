"""The loop over scenes and seeds: what is written, resumed, refused and survived."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from personae.compute.runs import read_rows
from personae.errors import RequestError, WorkError
from personae.evaluation.pictures import find_pictures
from personae.generation import Drawing, draw, generate, overwrite
from personae.subjects.subject import ReferenceFile
from tests.generation.fake import FakeBackbone, scenes


def rows(out: Path) -> dict[tuple[str, int], dict]:
    found = [(row["scene"], row["seed"], row) for row in read_rows(out / "images.jsonl")]
    keys = [(scene, seed) for scene, seed, _ in found]
    assert len(keys) == len(set(keys)), "a picture has one row"
    return {(scene, seed): row for scene, seed, row in found}


def pictures(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.glob("images/*/*"))
    }


def test_every_scene_has_a_picture_a_seed_and_a_row_that_says_how(tmp_path) -> None:
    told = []
    two = scenes(tmp_path, "one", "two")
    summary = generate(
        two,
        FakeBackbone(),
        tmp_path / "out",
        seeds=3,
        batch=2,
        progress=lambda *now: told.append(now),
    )
    assert (summary.num_pictures, summary.num_drawn_now, summary.failures) == (6, 6, ())
    assert told == [(n, 6) for n in range(1, 7)]
    found = rows(tmp_path / "out")
    assert set(found) == {(name, seed) for name in ("one", "two") for seed in range(3)}
    row = found["two", 1]
    assert row["image"] == "images/two/1.png"
    assert row["prompt"] == "girl 1 and girl 2 in a park"
    assert (row["model"], row["revision"], row["family"]) == ("fake", "1", "fake")
    assert (row["steps"], row["guidance"], row["width"], row["height"]) == (5, 2.0, 64, 64)
    assert (row["init"], row["sampler"]) == ({"kind": "plain"}, "one step")
    assert row["in_context"] is True
    assert row["error"] is None
    assert row["best_of"] is None
    assert row["seconds"] >= 0
    seen = find_pictures(tmp_path / "out" / "images", ["one", "two"])
    assert [(item.scene, item.seed) for item in seen.pictures] == list(found)
    assert not seen.missing
    assert not seen.problems


def test_batch_order_and_what_else_is_drawn_change_no_picture(tmp_path) -> None:
    two = scenes(tmp_path, "one", "two")
    drawing = Drawing(init="mean-shift", layout="random")
    for name, cast, batch, seeds in [
        ("a", two, 1, range(5)),
        ("b", two[::-1], 3, range(5)),
        ("c", two, 4, [4, 2, 0, 1, 3]),
    ]:
        generate(cast, FakeBackbone(), tmp_path / name, drawing, seeds=seeds, batch=batch)
    assert pictures(tmp_path / "a") == pictures(tmp_path / "b") == pictures(tmp_path / "c")
    alone = draw(FakeBackbone(), two[1], 3, drawing)
    with Image.open(tmp_path / "a/images/two/3.png") as stored:
        assert np.array_equal(np.asarray(stored), alone)


def test_batches_are_even_and_never_of_one(tmp_path) -> None:
    """A batch of one sums in another order than others: it is drawn as twins."""
    backbone = FakeBackbone()
    generate(scenes(tmp_path, "s"), backbone, tmp_path / "out", seeds=5, batch=4)
    generate(scenes(tmp_path, "s"), backbone, tmp_path / "lone", seeds=1, batch=4)
    assert sorted(call["batch"] for call in backbone.calls) == [2, 2, 3]


def test_what_is_there_is_not_drawn_again(tmp_path) -> None:
    out, both = tmp_path / "out", scenes(tmp_path, "one", "two")
    generate(both, FakeBackbone(), out, seeds=2)
    before = pictures(out)
    backbone = FakeBackbone()
    summary = generate(both, backbone, out, seeds=2)
    assert (summary.num_pictures, summary.num_drawn_now, backbone.calls) == (4, 0, [])
    (out / "images/one/1.png").unlink()
    assert generate(both, FakeBackbone(), out, seeds=2).num_drawn_now == 1
    assert generate(both, FakeBackbone(), out, seeds=3).num_drawn_now == 2
    assert {name: content for name, content in pictures(out).items() if name in before} == before
    assert len(rows(out)) == 6


def test_random_start_photos_are_told_and_all_count(tmp_path) -> None:
    out, (one,) = tmp_path / "out", scenes(tmp_path, "one")
    other = tmp_path / "other.png"
    Image.new("RGB", (40, 30), (9, 9, 9)).save(other)
    bob = one.subjects["bob"]
    one.subjects["bob"] = replace(bob, references=(*bob.references, ReferenceFile(other)))
    drawing = Drawing(init="mean-shift", layout="halves", start_photo="random")
    generate([one], FakeBackbone(), out, drawing, seeds=8)
    told = [row["init"]["photos"] for row in rows(out).values()]
    assert {row["ann"] for row in told} == {0} and {row["bob"] for row in told} == {0, 1}
    Image.new("RGB", (40, 30), (250, 0, 0)).save(other)
    assert generate([one], FakeBackbone(), out, drawing, seeds=8).num_drawn_now == 8
    with pytest.raises(RequestError, match=r"start_photo 'random' \(now None\)"):
        generate([one], FakeBackbone(), out, replace(drawing, start_photo="reference"))


def test_another_photo_at_the_same_place_is_another_picture(tmp_path) -> None:
    out, both = tmp_path / "out", scenes(tmp_path, "one", "two")
    generate(both, FakeBackbone(), out)
    before = pictures(out)
    Image.new("RGB", (40, 30), (250, 0, 0)).save(tmp_path / "ann.png")
    assert generate(both, FakeBackbone(), out).num_drawn_now == 2
    assert all(pictures(out)[name] != content for name, content in before.items())


def test_other_settings_in_the_same_folder_are_refused_and_named(tmp_path) -> None:
    out, one = tmp_path / "out", scenes(tmp_path, "one")
    generate(one, FakeBackbone(), out)
    before = pictures(out)
    with pytest.raises(RequestError, match=r"steps 5 \(now 9\), init 'plain' \(now 'mean-shift'\)"):
        generate(one, FakeBackbone(), out, Drawing(steps=9, init="mean-shift"))
    other = FakeBackbone()
    torch.nn.init.constant_(other.denoiser.weight, 2.0)
    with pytest.raises(RequestError, match="weights"):
        generate(one, other, out)
    assert pictures(out) == before
    overwrite(out)
    assert not pictures(out)
    assert generate(one, other, out, Drawing(steps=9)).num_drawn_now == 1


def test_overwrite_leaves_what_drawing_did_not_make(tmp_path) -> None:
    out, one = tmp_path / "out", scenes(tmp_path, "one")
    generate(one, FakeBackbone(), out)
    mine = out / "images" / "one" / "mine.png"
    mine.write_bytes(b"mine")
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"outside")
    with (out / "images.jsonl").open("a") as log:
        log.write(json.dumps({"image": "../outside.png"}) + "\n")
    overwrite(out)
    assert [path.name for path in out.rglob("*") if path.is_file()] == ["mine.png"]
    assert outside.exists()


def test_one_scene_that_fails_leaves_the_others_alone(tmp_path) -> None:
    error, says = RuntimeError("shapes do not fit"), "RuntimeError: shapes do not fit"
    out, three = tmp_path / "out", scenes(tmp_path, "one", "two", "three")
    summary = generate(three, FakeBackbone(error, fail_at=2), out, seeds=2)
    assert [(item.scene, item.seed) for item in summary.failures] == [("two", 0), ("two", 1)]
    assert summary.failures[0].reason.startswith(says)
    assert summary.num_pictures == 4
    assert rows(out)["two", 1]["error"].startswith(says)
    assert rows(out)["two", 1]["image"] is None
    assert set(pictures(out)) == {
        f"images/{name}/{k}.png" for name in ("one", "three") for k in (0, 1)
    }
    again = generate(three, FakeBackbone(), out, seeds=2)
    assert (again.num_drawn_now, again.failures) == (2, ())
    assert len(rows(out)) == 6
    assert all(row["error"] is None for row in rows(out).values())


def test_too_many_at_once_for_the_memory_are_halved(tmp_path) -> None:
    out, one = tmp_path / "out", scenes(tmp_path, "one")
    backbone = FakeBackbone(most=2)
    summary = generate(one, backbone, out, seeds=8, batch=8)
    assert summary.failures == ()
    assert [call["batch"] for call in backbone.calls] == [8, 4, 2, 2, 4, 2, 2]
    generate(one, FakeBackbone(), tmp_path / "roomy", seeds=8, batch=8)
    assert pictures(out) == pictures(tmp_path / "roomy")


def test_a_picture_too_large_for_the_memory_is_a_failure_that_says_so(tmp_path) -> None:
    summary = generate(scenes(tmp_path, "one"), FakeBackbone(most=0), tmp_path / "out", seeds=3)
    assert len(summary.failures) == 3
    assert all("one picture at a time" in failure.reason for failure in summary.failures)


def test_a_bad_reference_or_too_many_subjects_fail_their_scene_only(tmp_path) -> None:
    out = tmp_path / "out"
    good, torn = *scenes(tmp_path / "a", "good"), *scenes(tmp_path / "b", "torn")
    crowd = scenes(tmp_path / "c", "crowd", subjects=("a", "b", "c", "d"))[0]
    (tmp_path / "b" / "bob.png").write_bytes(b"")
    summary = generate([torn, crowd, good], FakeBackbone(), out)
    reasons = {item.scene: item.reason for item in summary.failures}
    assert "bob.png: the file is empty" in reasons["torn"]
    assert "4 subjects" in reasons["crowd"]
    assert set(pictures(out)) == {"images/good/0.png"}


def test_a_picture_that_can_no_longer_be_drawn_does_not_stay(tmp_path) -> None:
    out, one = tmp_path / "out", scenes(tmp_path, "one")
    generate(one, FakeBackbone(), out)
    (tmp_path / "bob.png").unlink()
    assert len(generate(one, FakeBackbone(), out).failures) == 1
    assert not pictures(out)


def test_wrong_requests_come_before_any_work(tmp_path) -> None:
    one, out = scenes(tmp_path, "one"), tmp_path / "out"
    for wrong, says in [
        ({"seeds": 0}, "seeds 0"),
        ({"seeds": [3, -1]}, "from 0 up"),
        ({"batch": 0}, "batch 0"),
        ({"drawing": Drawing(best_of=2)}, "nobody says which one is best"),
        ({"drawing": Drawing(size=(17, 16))}, "multiples of 16"),
    ]:
        with pytest.raises(RequestError, match=says):
            generate(one, FakeBackbone(), out, **wrong)
    assert not out.exists()


def test_a_folder_that_cannot_be_written_stops_the_work(tmp_path) -> None:
    out, two = tmp_path / "out", scenes(tmp_path, "one", "two")
    (out / "images").mkdir(parents=True)
    (out / "images" / "one").touch()
    with pytest.raises(WorkError, match="cannot make this folder"):
        generate(two, FakeBackbone(), out)


def test_the_best_of_several_is_kept_and_said(tmp_path) -> None:
    def brightness(image: np.ndarray, scene) -> float:
        return float(image.mean())

    out, one = tmp_path / "out", scenes(tmp_path, "one")
    summary = generate(
        one, FakeBackbone(), out, Drawing(best_of=5), seeds=2, batch=3, rater=brightness
    )
    assert summary.num_drawn_now == 2
    row = rows(out)["one", 1]["best_of"]
    assert row["n"] == 5
    assert row["rater"] == "function"
    assert row["scores"][row["kept"]] == max(row["scores"])
    assert len(set(row["scores"])) == 5
    with Image.open(out / "images/one/1.png") as kept:
        assert np.asarray(kept).mean() == pytest.approx(max(row["scores"]), abs=1e-5)
    plain = tmp_path / "plain"
    generate(one, FakeBackbone(), plain, seeds=2)
    with Image.open(plain / "images/one/1.png") as first:
        assert np.asarray(first).mean() == pytest.approx(row["scores"][0], abs=1e-5)


def test_a_prompt_that_is_too_long_is_told(tmp_path) -> None:
    long, short = scenes(tmp_path, "long", "short")
    long = replace(long, prompt=long.prompt + " with" + " very" * 20 + " old trees")
    summary = generate([long, short], FakeBackbone(), tmp_path / "out", seeds=2)
    assert (summary.num_cut, summary.num_pictures) == (2, 4)
    cut = {scene for (scene, _), row in rows(tmp_path / "out").items() if row["prompt_cut"]}
    assert cut == {"long"}


def test_candidates_that_nobody_can_rate_are_counted(tmp_path) -> None:
    out, one = tmp_path / "out", scenes(tmp_path, "one")
    summary = generate(
        one, FakeBackbone(), out, Drawing(best_of=2), rater=lambda image, scene: None
    )
    assert (summary.num_unrated, summary.num_pictures) == (1, 1)
    assert rows(out)["one", 0]["best_of"]["kept"] == 0
    assert rows(out)["one", 0]["best_of"]["scores"] == [None, None]


_KILLED = """
import sys
from dataclasses import replace
from pathlib import Path
from personae.generation import generate
from personae.subjects.subject import ReferenceFile
from tests.generation.fake import FakeBackbone, scenes
folder = Path(sys.argv[1])
generate(scenes(folder, "one", "two"), FakeBackbone(kill_at=4), folder / "out", seeds=4, batch=2)
"""


def test_a_kill_loses_at_most_the_batch_in_work(tmp_path) -> None:
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, tmp_path], cwd=root, check=False, capture_output=True
    )
    assert killed.returncode == -9, killed.stderr.decode()
    out = tmp_path / "out"
    assert len(rows(out)) == 6
    summary = generate(scenes(tmp_path, "one", "two"), FakeBackbone(), out, seeds=4, batch=2)
    assert (summary.num_drawn_now, summary.num_pictures) == (2, 8)
    generate(scenes(tmp_path, "one", "two"), FakeBackbone(), tmp_path / "whole", seeds=4)
    assert pictures(out) == pictures(tmp_path / "whole")


def test_a_torn_last_row_is_drawn_again(tmp_path) -> None:
    out, one = tmp_path / "out", scenes(tmp_path, "one")
    generate(one, FakeBackbone(), out, seeds=3)
    content = (out / "images.jsonl").read_bytes()
    (out / "images.jsonl").write_bytes(content[:-20])
    assert generate(one, FakeBackbone(), out, seeds=3).num_drawn_now == 1
    assert len(rows(out)) == 3
