"""One scene made ready and drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from personae.errors import DataError, RequestError
from personae.generation import Drawing, draw, initial_latents, plan_scene
from personae.generation.drawing import DEFAULT_SIZE, picture_size, start_places
from personae.generation.noise import picture_generator, plain_noise
from personae.subjects.references import load_reference
from personae.subjects.subject import Reference, ReferenceFile
from tests.generation.fake import LIMITS, FakeBackbone, scenes


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"guidance": -1.0},
        {"guidance": float("nan")},
        {"reference_guidance": -0.5},
        {"gamma": -0.1},
        {"gamma": float("inf")},
        {"init": "warm"},
        {"layout": "circle"},
        {"best_of": 0},
        {"reference": -1},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_cannot_be_drawn_is_refused_before_any_work(wrong) -> None:
    with pytest.raises(RequestError, match=next(iter(wrong)).replace("_", ".")):
        Drawing(**wrong)


def test_the_checkpoint_says_what_nobody_else_says() -> None:
    backbone = FakeBackbone()
    assert Drawing().settled(backbone) == Drawing(steps=5, guidance=2.0, reference_guidance=1.0)
    given = Drawing(steps=9, guidance=0.0, reference_guidance=3.0)
    assert given.settled(backbone) == given
    with pytest.raises(RequestError, match="multiples of 16"):
        Drawing(size=(100, 64)).settled(backbone)


@pytest.mark.parametrize("shuffled", [False, True])
def test_sizes_share_the_numbers_of_subjects(shuffled: bool) -> None:
    sizes = ((128, 128), (192, 128), (256, 192))
    limits = replace(LIMITS, max_subjects=6, sizes=sizes[::-1] if shuffled else sizes)
    assert [picture_size(count, limits) for count in range(1, 7)] == [
        *[sizes[0]] * 2,
        *[sizes[1]] * 2,
        *[sizes[2]] * 2,
    ]
    assert picture_size(2, replace(LIMITS, sizes=())) == DEFAULT_SIZE


def test_a_plan_has_the_references_in_the_scenes_order(tmp_path) -> None:
    (scene,) = scenes(tmp_path, "s", subjects=("ann", "bob", "cid"))
    plan = plan_scene(scene, LIMITS, Drawing())
    assert plan.prompt == "girl 1 and girl 2 and girl 3 in a park"
    assert plan.size == (96, 64)
    assert [picture[16, 16, 0] for picture in plan.references] == [0, 60, 120]
    with pytest.raises(DataError, match=r"'s' has 4 subjects.*at most 3"):
        plan_scene(
            scenes(tmp_path, "s", subjects=("a", "b", "c", "d"))[0],
            LIMITS,
            Drawing(),
        )


def test_without_context_references_serve_the_noise_alone(tmp_path) -> None:
    (scene,) = scenes(tmp_path, "s")
    backbone, unseen = FakeBackbone(), Drawing(init="mean-shift", gamma=0.5, in_context=False)
    plan = plan_scene(scene, LIMITS, unseen)
    assert plan.references == () and set(plan.photos) == set(scene.subjects)
    seen = replace(unseen, in_context=True)
    shifted = [
        initial_latents(plan_scene(scene, LIMITS, one), backbone, one, 0) for one in (unseen, seen)
    ]
    assert torch.equal(*shifted)


def test_references_in_memory_stand_for_files(tmp_path) -> None:
    (scene,) = scenes(tmp_path, "s")
    red = Reference(np.full((32, 32, 3), (200, 0, 0), np.uint8))
    plan = plan_scene(scene, LIMITS, Drawing(), {"bob": red})
    assert plan.references[1] is red.image
    assert plan.references[0][16, 16, 2] == 200
    in_memory = draw(FakeBackbone(), scene, references={"ann": red, "bob": red})
    assert not np.array_equal(in_memory, draw(FakeBackbone(), scene))


def test_plain_latents_are_the_pictures_own_noise(tmp_path) -> None:
    (scene,) = scenes(tmp_path, "s")
    backbone = FakeBackbone()
    plan = plan_scene(scene, LIMITS, Drawing())
    latents = initial_latents(plan, backbone, Drawing(), 4, 1)
    assert torch.equal(latents, plain_noise((3, 4, 4), picture_generator("s", 4, 1)))
    nothing = initial_latents(plan, backbone, Drawing(init="mean-shift", gamma=0.0), 4, 1)
    assert torch.equal(latents, nothing)


def test_mean_shift_moves_the_noise_towards_the_collage(tmp_path) -> None:
    """Over many seeds the mean is gamma times the collage's latents, and the variance stays 1."""
    (scene,) = scenes(tmp_path, "s")
    backbone = FakeBackbone()
    drawing = Drawing(init="mean-shift", gamma=0.5, layout="halves", size=(64, 64))
    plan = plan_scene(scene, LIMITS, drawing)
    latents = torch.stack([initial_latents(plan, backbone, drawing, seed) for seed in range(400)])
    noise = torch.stack([initial_latents(plan, backbone, Drawing(), seed) for seed in range(400)])
    shift = latents - noise
    assert torch.allclose(shift, shift[:1].expand_as(shift), atol=1e-5)
    assert (latents.var(0) - 1).abs().max() < 0.35
    blue, red = shift[0, 2], shift[0, 0]
    assert blue[3].max() > 0.1, "references are blue: (0, 100, 200) is 0.57 in [-1, 1]"
    assert red[3].min() < -0.1


def test_a_start_from_a_random_photo_of_each_seed(tmp_path) -> None:
    """Of three photos each seed takes one, both subjects on their own; the rest is untouched."""
    (scene,) = scenes(tmp_path, "s")
    for name, subject in scene.subjects.items():
        more = [subject.references[0]]
        for level in (20, 240):
            photo = tmp_path / f"{name}-{level}.png"
            Image.new("RGB", (40, 30), (level, level, level)).save(photo)
            more.append(ReferenceFile(photo, subject.references[0].mask))
        scene.subjects[name] = replace(subject, references=tuple(more))
    drawing = Drawing(init="mean-shift", gamma=0.5, layout="halves", start_photo="random")
    backbone = FakeBackbone()
    plan = plan_scene(scene, LIMITS, drawing)
    places = [start_places(plan, seed) for seed in range(60)]
    assert {tuple(one.values()) for one in places} == {(a, b) for a in range(3) for b in range(3)}
    assert places[7] == start_places(plan, 7)
    # A start with the photos that were drawn for it is the start from those very photos.
    seed = next(s for s, one in enumerate(places) if one == {"ann": 1, "bob": 2})
    given = {
        name: load_reference(scene.subjects[name].references[place])
        for name, place in places[seed].items()
    }
    fixed = replace(drawing, start_photo="reference")
    alone = plan_scene(scene, LIMITS, fixed, given)
    assert torch.equal(
        initial_latents(plan, backbone, drawing, seed),
        initial_latents(alone, backbone, fixed, seed),
    )
    # Photos in memory are all that there is of a subject; what the model sees stays the reference.
    assert plan_scene(scene, LIMITS, drawing, given).albums == {}
    seen = plan_scene(scene, LIMITS, Drawing())
    assert all(np.array_equal(a, b) for a, b in zip(plan.references, seen.references, strict=True))
    with pytest.raises(RequestError, match=r"start photo 'any': expected one of"):
        Drawing(start_photo="any")


def test_drawing_takes_the_settings_and_the_size(tmp_path) -> None:
    (scene,) = scenes(tmp_path, "s")
    backbone = FakeBackbone()
    picture = draw(backbone, scene, 3, Drawing(steps=7, guidance=1.5, size=(32, 48)))
    assert picture.shape == (48, 32, 3)
    assert picture.dtype == np.uint8
    assert backbone.calls[0]["prompt"] == "girl 1 and girl 2 in a park"
    assert (backbone.calls[0]["steps"], backbone.calls[0]["guidance"]) == (7, 1.5)


def test_negative_words_reach_the_model_as_bare_nouns(tmp_path) -> None:
    scene = scenes(tmp_path, "one")[0]
    ann, bob = scene.subjects.values()
    named = {"a": replace(ann, token="olis"), "b": replace(bob, token="hta")}
    scene = replace(scene, prompt="{a} and {b}", subjects=named)
    backbone = FakeBackbone()
    drawing = Drawing(negative="a {a} and a {b}", guidance=2.0, in_context=False)
    plan = plan_scene(scene, backbone.limits, drawing)
    nouns = [subject.noun for subject in named.values()]
    assert plan.negative == f"a {nouns[0]} and a {nouns[1]}" and "olis" in plan.prompt
    with pytest.raises(DataError, match="negative words"):
        plan_scene(scene, backbone.limits, replace(drawing, negative="{c}"))
    with pytest.raises(RequestError, match="without guidance"):
        replace(drawing, guidance=1.0).settled(backbone)
