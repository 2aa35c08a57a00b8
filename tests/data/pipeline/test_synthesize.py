"""Plans, pictures of several, and each of them drawn again alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.data.examples import ExampleFile
from personae.data.pipeline.alike import Alike
from personae.data.pipeline.drawn import Drawn
from personae.data.pipeline.finders import FaceFinder
from personae.data.pipeline.items import Item
from personae.data.pipeline.located import Located
from personae.data.pipeline.people import Faces, face_eyes, look
from personae.data.pipeline.plans import TASKS, TemplatePlanner, WorldPlanner, plans
from personae.data.pipeline.redrawn import Redrawn, Studio
from personae.data.pipeline.runner import run_pipeline
from personae.data.pipeline.step import Files
from personae.data.synthesize import SynthesisRecipe, read_synthesis, synthesis_steps, synthesize
from personae.errors import DataError, RequestError
from personae.subjects.box import Box
from personae.subjects.picture import read_picture
from personae.toons import portrait, scene, toon

RECIPE = Path(__file__).parents[3] / "recipes" / "data" / "synthesize_toons.toml"
NOUNS = ("cat", "dog", "robot", "girl", "orange")


def test_tasks_come_in_their_shares_and_hold_what_they_say() -> None:
    made = list(plans(WorldPlanner(), 21, dict.fromkeys(TASKS, 1.0)))
    assert set(Counter(item.data["task"] for item in made).values()) == {3}
    for item in made:
        told = item.data["world"]
        drawn = scene(told["seed"], count=told["count"], look_alikes=told["alike"])
        kinds = {claim.kind for claim in drawn.claims}
        task = item.data["task"]
        assert told["count"] == {"three": 3, "four": 4}.get(task, 2)
        assert {"attribute": "wears", "action": "action", "position": "relation"}.get(
            task, "place"
        ) in kinds
        if task == "background":
            assert kinds == {"count", "place"}
        assert item.data["prompt"] == drawn.prompt
        assert all(words not in drawn.prompt for words in item.data["alone"].values())
    again = list(plans(WorldPlanner(), 21, dict.fromkeys(TASKS, 1.0)))
    assert again == made
    two = list(plans(WorldPlanner(), 9, {"four": 2.0, "action": 1.0}))
    assert Counter(item.data["task"] for item in two) == {"four": 6, "action": 3}


def test_templates_name_everybody_once_and_place_them_elsewhere_alone() -> None:
    planner = TemplatePlanner(nouns=NOUNS)
    for item in plans(planner, 60, dict.fromkeys(TASKS, 1.0), license="mine"):
        nouns, prompt = item.data["nouns"], item.data["prompt"]
        assert len(set(nouns.values())) == len(nouns) and item.license == "mine"
        assert all(f"{{{name}}}" in prompt for name in nouns)
        for words in item.data["alone"].values():
            assert any(words.startswith(view) for view in planner.views)
            places = [place for place in planner.places if words.endswith(place)]
            assert len(places) == 1 and places[0] not in prompt
        if item.data["task"] == "position":
            assert f"{{a}} {item.data['relation'][1]} {{b}}" in prompt
        if item.data["task"] == "background":
            assert "," not in prompt
    with pytest.raises(RequestError, match="at least 4 different"):
        TemplatePlanner(nouns=("cat", "dog", "cat", "cat"))
    with pytest.raises(RequestError, match="shares of attribute"):
        list(plans(planner, 3, {"singing": 1.0}))


def faces_of_scene(tmp_path: Path, seed: int, count: int) -> tuple[Item, np.ndarray, list]:
    drawn = scene(seed, count=count)
    where = {m.name: list(m.face.xyxy) for m in drawn.members}
    found = [face.as_json() for face in look(face_eyes("toons"), drawn.image, count)]
    nouns = {m.name: m.toon.noun for m in drawn.members}
    data = {"faces": found, "nouns": nouns, "where": where}
    return Item(id=f"s{seed}", data=data), drawn.image, drawn.members


def test_faces_are_given_to_those_whose_place_is_told(tmp_path: Path) -> None:
    files = Files(tmp_path, "x", tmp_path)
    for seed in range(6):
        item, _, members = faces_of_scene(tmp_path, seed, 3)
        made = Located().work(None, [item], files)
        if made.lost:
            assert made.lost[0].reason == "not as many people as the caption says"
            continue
        (out,) = made.items
        for told, member in zip(out.data["faces"], members, strict=True):
            left, top, right, bottom = told["box"]
            x, y = member.face.center
            assert left < x < right and top < y < bottom
        # Without a place told they stand from left to right.
        data = {key: value for key, value in item.data.items() if key != "where"}
        (blind,) = Located().work(None, [replace(item, data=data)], files).items
        lefts = [told["box"][0] for told in blind.data["faces"]]
        assert lefts == sorted(lefts)


@pytest.mark.parametrize(
    "relation, first",
    [
        (None, "left"), (["a", "left of", "b"], "left"), (["b", "left of", "a"], "right"),
        (["a", "right of", "b"], "right"), (["b", "right of", "a"], "left"),
        (["a", "above", "b"], "right"), (["a", "below", "b"], "left"),
        (["a", "next to", "b"], "left"), (["b", "next to", "a"], "left"),
    ],
)  # fmt: skip
def test_two_faces_stand_as_the_prompt_says(tmp_path: Path, relation, first) -> None:
    item, _, _ = faces_of_scene(tmp_path, 0, 2)
    boxes = {"left": [10, 60, 30, 80], "right": [50, 40, 70, 60]}  # the right one is higher
    faces = [{**item.data["faces"][0], "box": box} for box in boxes.values()]
    data = {"faces": faces, "nouns": {"a": "girl", "b": "boy"}, "relation": relation}
    made = Located().work(None, [Item(id="p", data=data)], Files(tmp_path, "x", tmp_path))
    assert made.items[0].data["faces"][0]["box"] == boxes[first]


@dataclass(frozen=True, kw_only=True)
class Faithful(Redrawn):
    """A single-subject model that cannot fail: a portrait of the toon itself, or of ``other``."""

    other: bool = False

    def build(self):
        return Studio(None, FaceFinder(face_eyes("toons"), True, self.cut_reference))

    def _draw(self, backbone, item, name, crop):
        told = item.data["world"]
        drawn = scene(told["seed"], count=told["count"], look_alikes=told["alike"])
        own = next(m.toon for m in drawn.members if m.name == name)
        shown = toon(own.seed + 1) if self.other else own
        return [portrait(shown, 77 + number, 128).image for number in range(self.tries)]


@dataclass(frozen=True, kw_only=True)
class Repeating(Faithful):
    """A single-subject model that gives its crop back."""

    def _draw(self, backbone, item, name, crop):
        side = np.full((128, 128, 3), 200, np.uint8)
        side[16:112, 16:112] = np.asarray(Image.fromarray(crop).resize((96, 96)))
        return [side]


def steps(**more) -> list:
    eyes = {"eyes": "toons"}
    return [
        Drawn(),
        Faces(**eyes, least=2, least_px=12),
        Located(),
        Faithful(**eyes, **more),
        Alike(**eyes),
    ]


def test_references_of_their_own_people_go_on_and_others_do_not(tmp_path: Path) -> None:
    source = list(plans(WorldPlanner(look_alikes=0.0), 7, dict.fromkeys(TASKS, 1.0)))
    good = run_pipeline(source, steps(), tmp_path / "good")
    assert good.steps[-1].num_out >= 5
    for item in good.items():
        assert min(one["similarity"] for one in item.data["people"]) > 0.5
        assert {f"reference-{name}" for name in item.data["nouns"]} <= item.files.keys()
    bad = run_pipeline(source, steps(other=True), tmp_path / "bad")
    assert bad.steps[-1].num_out == 0
    assert "a reference is not its person" in bad.steps[-1].dropped


def test_references_that_repeat_their_target_are_dropped(tmp_path: Path) -> None:
    source = list(plans(WorldPlanner(look_alikes=0.0), 4, {"background": 1.0}))
    only_copies = Alike(eyes="toons", same=0.0, different=1.0, least_sharp=0.0)
    made = run_pipeline(
        source, [*steps()[:3], Repeating(eyes="toons"), only_copies], tmp_path
    ).steps[-1]
    assert made.num_in >= 3 and made.num_out == 0
    assert made.dropped["a reference is a copy"] == made.num_in


def test_references_that_are_cut_out_tell_where_their_face_is(tmp_path: Path) -> None:
    source = list(plans(WorldPlanner(look_alikes=0.0), 4, {"background": 1.0}))
    made = run_pipeline(source, steps(cut_reference=True)[:4], tmp_path)
    items, eyes = list(made.items()), face_eyes("toons")
    assert len(items) >= 3
    for item in items:
        for one in item.data["people"]:
            picture = read_picture(tmp_path / item.files[f"reference-{one['name']}"])
            assert (picture == np.array((210, 215, 220))).all(-1).mean() > 0.2
            (face,) = look(eyes, picture, 1)
            assert face.box.iou(Box(*one["shown"])) > 0.6


def test_without_tries_the_cut_outs_are_the_references(tmp_path: Path) -> None:
    """No model is loaded, and a filter of copies finds them if it is asked."""
    source = list(plans(WorldPlanner(look_alikes=0.0), 6, {"background": 1.0}))
    cut = Redrawn(model="nowhere", eyes="toons", tries=0)
    easy = Alike(eyes="toons", same=0.7, least_px=0.0, most_copied=2.0)
    account = run_pipeline(source, [*steps()[:3], cut, easy], tmp_path)
    items = list(account.items())
    assert len(items) >= 3
    for item in items:
        for one in item.data["people"]:
            paths = [
                tmp_path / item.files[f"{kind}-{one['name']}"] for kind in ("crop", "reference")
            ]
            assert paths[0].read_bytes() == paths[1].read_bytes()
            assert one["similarity"] > 0.7
    strict = replace(easy, most_copied=None)
    again = run_pipeline(source, [*steps()[:3], cut, strict], tmp_path).steps[-1]
    assert again.dropped["a reference is a copy"] >= again.num_in / 2


def test_cut_outs_hold_their_toon_and_little_else(tmp_path: Path) -> None:
    finder, shares = FaceFinder(face_eyes("toons")), []
    for seed in range(6):
        item, image, _ = faces_of_scene(tmp_path, seed, 2)
        made = Located().work(None, [item], Files(tmp_path, "x", tmp_path))
        for out in made.items:
            own, other = (Box(*told["box"]) for told in out.data["faces"])
            crop = finder.head(image, own, [other])
            assert crop is not None and crop.shape[0] == crop.shape[1]
            assert len(look(finder.eyes, crop, 1)) == 1
            shares.append((crop == np.array((210, 215, 220))).all(-1).mean())
    assert len(shares) >= 4 and np.mean(shares) > 0.25, "what is behind is gone"


def test_the_command_makes_a_set_that_can_be_trained_on(tmp_path: Path, monkeypatch) -> None:
    recipe = read_synthesis(RECIPE, ["count=7", "shard_items=4"])
    recipe = replace(recipe, redrawn=Faithful(eyes="toons"))
    account = synthesize(recipe, tmp_path)
    examples = ExampleFile(tmp_path / "examples.jsonl", ((128, 128), (192, 128)), 64)
    assert len(examples) == account.steps[-1].num_out >= 4 and not examples.problems
    lines = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    assert all(line["license"] == "CC0-1.0" and line["consent"] == "drawn" for line in lines)
    assert all("{" not in line["prompt"] and "1" in line["prompt"] for line in lines)
    assert {line["task"] for line in lines} <= set(TASKS)
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.height > 500
    again = synthesize(recipe, tmp_path)
    assert all(step.num_made == 0 for step in again.steps)


def test_recipes_that_contradict_themselves(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the same eyes"):
        read_synthesis(RECIPE, ["alike.eyes=dlib"])
    with pytest.raises(RequestError, match=r"needs a section \[templates\]"):
        SynthesisRecipe(planner="templates", drawn=Drawn(by="toons"))
    with pytest.raises(DataError, match="the toon world draws what it planned itself"):
        read_synthesis(RECIPE, ["drawn.by=toons"])
    with pytest.raises(DataError, match="subject_words"):
        read_synthesis(RECIPE, ["subject_words=somebody"])
    with pytest.raises(RequestError, match="tries"):
        Redrawn(tries=-1)
    item = Item(id="p", data={"nouns": {"a": "cat"}, "prompt": "{a}"})
    with pytest.raises(DataError, match="planned for a model, not for the toon world"):
        Drawn().work(None, [item], Files(tmp_path, "x", tmp_path))


def test_filters_are_sections_of_the_recipe() -> None:
    plain = [step.name for step in synthesis_steps(read_synthesis(RECIPE))]
    before, after = ["drawn", "unlike"], ["faces", "counted", "located", "captioned", "redrawn"]
    assert plain == [*before, *after, "alike"]
    asked = ["distinct.most=0.9", "aesthetic.head=head.safetensors", "counted.slack=1"]
    recipe = read_synthesis(RECIPE, [*asked, "alike.most_copied=2"])
    names = [step.name for step in synthesis_steps(recipe)]
    assert names == [*before, "described", "distinct", "aesthetic", *after, "alike"]
    assert recipe.distinct is not None and recipe.distinct.most == 0.9
    assert recipe.counted.slack == 1 and recipe.alike.limits.most_copied == 2
