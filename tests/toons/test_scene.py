from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personae.errors import RequestError
from personae.metrics.position import relation_of
from personae.subjects.manifest import read_scenes
from personae.subjects.picture import read_picture
from personae.toons import ACTIONS, PLACES, WORN, scene, split_of, toon, write_scenes
from personae.toons.caption import pose_words
from personae.toons.pose import Pose, another_pose


@given(st.integers(0, 10**6), st.sampled_from([None, 1, 2, 3, 4, 5]))
@settings(max_examples=12, deadline=None)
def test_the_truth_fits_the_picture(seed: int, count: int | None) -> None:
    one = scene(seed, count=count)
    assert one.image.dtype == np.uint8
    assert (one.width, one.height) == ((128, 128) if len(one.members) <= 3 else (192, 128))
    covered = np.zeros(one.image.shape[:2], int)
    for member in one.members:
        assert member.mask.any()
        left, top, right, bottom = member.box.xyxy
        rows, columns = np.nonzero(member.mask)
        assert (columns.min(), rows.min()) == (left, top)
        assert (columns.max() + 1, rows.max() + 1) == (right, bottom)
        covered += member.mask
    assert covered.max() == 1  # masks show what can be seen, so no two overlap


@given(st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_a_scene_is_a_pure_function_of_its_seed(seed: int) -> None:
    first, second = scene(seed), scene(seed)
    assert (first.image == second.image).all()
    assert first.prompt == second.prompt and first.claims == second.claims


def test_a_bare_scene_is_the_same_but_for_what_is_worn_and_done() -> None:
    changed = 0
    for seed in range(6):
        one, bare = scene(seed, count=2), scene(seed, count=2, bare=True)
        assert {claim.kind for claim in bare.claims} <= {"count", "place", "relation"}
        assert [m.face for m in one.members] == [m.face for m in bare.members]
        for member, other in zip(one.members, bare.members, strict=True):
            assert (member.reference.image == other.reference.image).all()
        told = [f", {{{m.name}}} {words}" for m in one.members for words in pose_words(m.pose)]
        assert one.prompt == bare.prompt + "".join(told)
        assert (one.image != bare.image).any() == bool(told)
        changed += bool(told)
    assert changed >= 3


def test_the_world_is_the_one_that_the_weights_were_taught() -> None:
    # Whoever changes a line of the drawing changes this, and has to train again.
    digest = hashlib.sha256()
    for seed in range(4):
        digest.update((scene(seed).image // 32).tobytes())
    assert digest.hexdigest()[:12] == "c3161cd49fe5"


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_scenes_keep_to_their_split(split: str) -> None:
    for seed in range(6):
        for member in scene(seed, split=split).members:  # type: ignore[arg-type]
            assert split_of(member.toon.seed) == split


def test_look_alikes_stand_side_by_side() -> None:
    for seed in range(5):
        first, second = scene(seed, count=2, look_alikes=True).members
        a, b = first.toon.attributes(), second.toon.attributes()
        assert 1 <= sum(a.get(name) != b.get(name) for name in a.keys() | b.keys()) <= 4
        assert first.toon != second.toon


def test_claims_are_what_the_picture_holds() -> None:
    for seed in range(25):
        one = scene(seed)
        by_kind: dict[str, list[tuple[str | None, str]]] = {}
        for claim in one.claims:
            by_kind.setdefault(claim.kind, []).append((claim.subject, claim.expected))
        assert by_kind["count"] == [(None, str(len(one.members)))]
        assert by_kind["place"] == [(None, one.place)]
        worn = [(m.name, m.wears) for m in one.members if m.wears]
        done = [(m.name, m.action) for m in one.members if m.action]
        assert by_kind.get("wears", []) == worn
        assert by_kind.get("action", []) == done
        for name, thing in worn:
            assert f"{{{name}}} wearing" in one.prompt and str(thing) in one.prompt
        for name, action in done:
            assert f"{{{name}}} {action}" in one.prompt


def test_relations_are_true_and_known_to_the_ruler() -> None:
    seen = set()
    for seed in range(80):
        one = scene(seed, count=2)
        if one.relation is None:
            continue
        seen.add(one.relation.words)
        assert relation_of(one.relation.words) == one.relation.words
        faces = {m.name: m.face.center for m in one.members}
        (ax, ay), (bx, by) = faces[one.relation.first], faces[one.relation.second]
        if one.relation.words == "left of":
            assert ax < bx
        if one.relation.words == "above":
            assert by - ay > 30
    assert seen == {"left of", "next to", "above"}


def test_the_order_of_names_says_nothing_about_places() -> None:
    firsts = [scene(seed, count=2).members for seed in range(60)]
    left = sum(a.face.center[0] < b.face.center[0] for a, b in firsts)
    assert 15 <= left <= 45


def test_some_toons_overlap() -> None:
    hidden = 0
    for seed in range(20):
        members = scene(seed, count=3).members
        centers = sorted(m.face.center[0] for m in members)
        widths = np.mean([m.face.width for m in members])
        hidden += bool(np.diff(centers).min() < widths)
    assert hidden >= 3


def test_a_reference_never_shows_the_pose_of_the_picture() -> None:
    for seed in range(15):
        for member in scene(seed).members:
            assert member.reference.pose.expression != member.pose.expression
            assert abs(member.reference.pose.turn - member.pose.turn) >= 0.5


def test_another_pose_is_found_from_everywhere() -> None:
    rng = np.random.default_rng(0)
    for turn in np.linspace(-1, 1, 9):
        assert abs(another_pose(rng, Pose(turn=float(turn))).turn - turn) >= 0.5


def test_given_toons_are_drawn() -> None:
    cast = [toon(5), toon(6)]
    assert [m.toon for m in scene(3, toons=cast).members] == cast


def test_everything_that_a_caption_can_say_is_drawn() -> None:
    scenes = [scene(seed) for seed in range(120)]
    assert {one.place for one in scenes} == set(PLACES)
    assert {m.wears for one in scenes for m in one.members} == {*WORN, None}
    assert {m.action for one in scenes for m in one.members} == {*ACTIONS, None}


def test_scenes_become_files_that_every_stage_reads(tmp_path) -> None:
    scenes = [scene(seed, count=2, split="test") for seed in range(3)]
    manifest = read_scenes(write_scenes(scenes, tmp_path, truth=True))
    assert not manifest.problems
    for one, read in zip(scenes, manifest.scenes, strict=True):
        assert read.id == one.id and read.claims == one.claims and read.relation == one.relation
        for member in one.members:
            reference = read.subjects[member.name].references[0]
            assert (read_picture(reference.image) == member.reference.image).all()
            assert reference.mask is not None
        assert (read_picture(tmp_path / "truth" / one.id / "0.png") == one.image).all()


def test_bad_requests_say_what_was_expected() -> None:
    with pytest.raises(RequestError, match="1 to 5"):
        scene(0, count=6)
    with pytest.raises(RequestError, match="from 0 up"):
        scene(-1)
