"""Pictures edited once their references are made: by the toon world, by models, by bad ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from personae.data.pipeline.captioned import Captioned
from personae.data.pipeline.drawn import Drawn
from personae.data.pipeline.edited import EDITABLE, Edited, Retoucher
from personae.data.pipeline.finders import portrait_region
from personae.data.pipeline.found_again import FacesAgain, ThingsAgain
from personae.data.pipeline.items import Item
from personae.data.pipeline.located import Located
from personae.data.pipeline.people import Faces, face_eyes, faces_of
from personae.data.pipeline.plans import TASKS, TemplatePlanner, WorldPlanner, plans, world_scene
from personae.data.pipeline.runner import run_pipeline
from personae.data.pipeline.step import Files
from personae.data.synthesize import read_synthesis, synthesis_steps, synthesize
from personae.errors import DataError, RequestError
from personae.subjects.box import Box
from personae.subjects.picture import read_picture
from personae.toons import portrait, toon
from tests.diffusion.tiny import save_tiny_klein

from .test_things import ByColor, drawn, item_of, sight

RECIPE = Path(__file__).parents[3] / "recipes" / "data" / "synthesize_toons.toml"
CUT = ["count=4", "shard_items=2", "redrawn.tries=0", "alike.most_copied=2", "edited.by=world",
       "tasks={attribute=1, action=1, complex=1, background=1}"]  # fmt: skip
PLAIN = np.array((210, 215, 220))
FACES = Faces(eyes="toons", least=2, least_px=12)


@pytest.fixture(scope="module")
def klein(tmp_path_factory) -> Path:
    return save_tiny_klein(tmp_path_factory.mktemp("klein"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("edited")
    return out, synthesize(read_synthesis(RECIPE, CUT), out)


def test_what_is_left_out_of_a_prompt_is_what_the_edit_adds() -> None:
    for planner in (WorldPlanner(), TemplatePlanner(nouns=("cat", "dog", "mug", "boot"))):
        shares = dict.fromkeys(TASKS, 1.0)
        whole = list(plans(planner, 7, shares))
        bare = list(plans(planner, 7, shares, bare=EDITABLE))
        for told, left in zip(whole, bare, strict=True):
            if told.data["task"] not in EDITABLE:
                assert left == told
                continue
            edits = [f", {{{name}}} {words}" for name, words in left.data["edits"]]
            assert edits and told.data["prompt"] == left.data["prompt"] + "".join(edits)
            assert "edits" not in told.data and "bare" not in told.data.get("world", {})
            for key in ("nouns", "alone", "relation"):
                assert told.data.get(key) == left.data.get(key)


def test_targets_show_what_references_do_not(made) -> None:
    out, account = made
    items = [item for item in account.items() if "edited" in item.data]
    assert {item.data["task"] for item in items} == set(EDITABLE)
    for item in items:
        bare, full = (world_scene(item.data["world"], bare=told) for told in (True, False))
        before, after = (read_picture(out / item.files[key]) for key in ("unedited", "image"))
        assert (before == bare.image).all() and (after == full.image).all()
        assert item.data["caption"] == full.prompt != bare.prompt
        worn = {m.name for m in full.members if m.wears or m.action}
        assert {one["name"] for one in item.data["edited"] if one["words"]} == worn
        differ = set()
        for one in item.data["edited"]:
            reference = read_picture(out / item.files[f"reference-{one['name']}"])
            region = portrait_region(Box(*one["box"])).xyxy
            own = (reference != PLAIN).any(-1)
            shown = [np.asarray(Image.fromarray(some).crop(region)) for some in (before, after)]
            assert own.any() and (reference == shown[0])[own].all()
            if (reference != shown[1])[own].any():
                differ.add(one["name"])
        assert differ and all(one["similarity"] > 0.8 for one in item.data["edited"])


def test_other_tasks_pass_untouched_and_the_end_can_be_trained_on(made) -> None:
    out, account = made
    step = next(step for step in account.steps if step.name == "edited")
    assert (step.num_in, step.num_out) == (4, 4)
    others = [item for item in account.items() if item.data["task"] not in EDITABLE]
    assert others
    for item in others:
        assert not {"unedited"} & item.files.keys() and not {"edited", "changed"} & item.data.keys()
        assert item.files["image"].startswith("01-drawn/")
        assert item.data["caption"] == item.data["prompt"]
    lines = [json.loads(line) for line in (out / "examples.jsonl").read_text().splitlines()]
    for line, item in zip(lines, account.items(), strict=True):
        assert line["image"] == item.files["image"]
        assert ("07-edited" in line["image"]) == (line["task"] in EDITABLE)


def test_the_sheet_shows_the_picture_before_and_after(made, monkeypatch) -> None:
    out, account = made
    kept: list[tuple[str, list]] = []
    monkeypatch.setattr(
        "personae.data.synthesize.write_sheet", lambda out, rows, blurred: kept.extend(rows)
    )
    synthesize(read_synthesis(RECIPE, CUT), out)
    for (title, cells), item in zip(kept, account.items(), strict=True):
        assert item.id in title
        if "edited" not in item.data:
            assert cells[0].path == item.files["image"] and cells[0].words == "target"
            continue
        before, target = cells[:2]
        assert before.words.startswith("before the edit: 0.9") and target.words == "target"
        assert (before.path, target.path) == (item.files["unedited"], item.files["image"])
        assert len(before.faces) == len(target.faces) == 2


def test_it_resumes_and_only_what_comes_after_it_is_made_anew(made) -> None:
    out, _ = made
    assert all(not step.num_made for step in synthesize(read_synthesis(RECIPE, CUT), out).steps)
    again = synthesize(read_synthesis(RECIPE, [*CUT, "edited.seed=1"]), out)
    assert [step.name for step in again.steps if step.num_made] == ["edited", "captioned", "alike"]


def test_the_steps_stand_in_another_order_only_with_the_section() -> None:
    steps = synthesis_steps(read_synthesis(RECIPE, ["edited.by=world"]))
    assert [step.name for step in steps][-4:] == ["redrawn", "edited", "captioned", "alike"]
    edited = steps[-3]
    assert edited.same == 0.4 and edited.faces.eyes == "toons", "the recipe's own"
    assert json.loads(json.dumps(edited.settings()))["looking"]["eyes"] == "toons"
    assert "toon-identity" in edited.models()
    own = synthesis_steps(read_synthesis(RECIPE, ["edited.same=0.7"]))[-3]
    assert own.same == 0.7


@dataclass(frozen=True, kw_only=True)
class Scripted(Edited):
    """An editor that does what it should not: see `_draw`."""

    does: str = "nothing"
    by: str = "scripted"
    faces: Faces | None = FACES
    same: float | None = 0.8

    def models(self):
        return {}

    def build(self):
        return Retoucher(SimpleNamespace(name="scripted"), FacesAgain(face_eyes("toons"), FACES))

    def _draw(self, backbone, item, before, words):
        full = world_scene(item.data["world"], bare=False)
        picture, box = full.image.copy(), faces_of(item)[1].box
        x, y, half = int(box.center[0]), int(box.center[1]), int(box.width * 0.9)
        place = picture[max(y - half, 0) : y + half, max(x - half, 0) : x + half]
        if self.does == "mirror":
            return before[:, ::-1].copy()
        if self.does == "swap":
            other = portrait(toon(full.members[1].toon.seed + 1), 7, 128).image
            size = (place.shape[1], place.shape[0])
            place[:] = np.asarray(Image.fromarray(other).resize(size))
        elif self.does == "remove":
            picture[:, max(x - half, 0) : x + half] = 90
        return before if self.does == "nothing" else picture


def scripted(tmp_path, does, task="attribute", **more):
    """What becomes of plans of two, of different nouns, that such an editor edits."""
    source = plans(WorldPlanner(look_alikes=0.0), 8, {task: 1.0}, bare=EDITABLE)
    sided = (item for item in source if "left of" in item.data.get("relation", ()))
    two = [item for item in sided if len(set(item.data["nouns"].values())) == 2][:2]
    steps = [Drawn(), FACES, Located(), Scripted(does=does, **more), Captioned()]
    return run_pipeline(two, steps, tmp_path)


@pytest.mark.parametrize(
    "does, reason",
    [
        ("nothing", "the edit changed nothing"),
        ("swap", "a subject is not itself after the edit"),
        ("remove", "not as many people as before the edit"),
    ],
)
def test_who_is_not_there_again_is_lost_with_the_reason(tmp_path, does, reason) -> None:
    step = scripted(tmp_path, does).steps[3]
    assert dict(step.dropped) == {reason: 2} and step.num_in == 2 and not step.failed


def test_a_good_edit_goes_on_and_little_change_can_be_too_little(tmp_path) -> None:
    for item in scripted(tmp_path / "good", "edit").items():
        assert item.data["edited_by"] == "scripted" and item.data["changed"] > 0
        assert not {"world", "where"} & item.data.keys(), "of what was drawn, not of this"
    step = scripted(tmp_path / "strict", "edit", least_changed=0.2).steps[3]
    assert dict(step.dropped) == {"the edit changed nothing": 2}


def test_boxes_follow_the_subjects_and_the_caption_is_of_the_edited_picture(tmp_path) -> None:
    account = scripted(tmp_path, "mirror", same=0.0)
    assert account.steps[3].num_out == 2
    # Whoever stood left of somebody does not any more: the boxes are those of the new picture.
    assert dict(account.steps[4].dropped) == {"the picture does not show who is where": 2}
    items = [
        json.loads(line)
        for path in sorted(tmp_path.glob("04-edited/*/items.jsonl"))
        for line in path.read_text().splitlines()
    ]
    for item in items:
        for before, now in zip(item["data"]["edited"], item["data"]["faces"], strict=True):
            middle = 128 - Box(*before["box"]).center[0]
            assert Box(*now["box"]).center[0] == pytest.approx(middle, abs=6)


def test_two_of_one_noun_cannot_be_told_to_a_model(tmp_path) -> None:
    item, files = world_item(tmp_path)
    same = replace(item, data={**item.data, "nouns": {"a": "girl", "b": "girl"}})
    (lost,) = Scripted().work(Scripted().build(), [same], files).lost
    assert lost.reason == "two subjects have one noun: words cannot tell them apart"


def world_item(tmp_path, **more) -> tuple[Item, Files]:
    """A located plan of the toon world, whose picture lies in a file."""
    (item,) = plans(WorldPlanner(start=4000), 1, {"attribute": 1.0}, bare=EDITABLE)
    files = Files(tmp_path, ".", tmp_path)
    for step in (Drawn(), FACES, Located()):
        (item,) = step.work(step.build(), [item], files).items
    return replace(item, data={**item.data, "nouns": {"a": "cat", "b": "dog"}, **more}), files


def test_a_tiny_model_is_shown_the_picture_and_told_what_to_change(
    tmp_path, klein, monkeypatch
) -> None:
    item, files = world_item(
        tmp_path, edits=[["a", "wearing a scarf"], ["b", "waving"], ["a", "jumping"]]
    )
    step = Edited(by=str(klein), faces=FACES, same=0.0, steps=1, device="cpu")
    state, calls = step.build(), []
    draw = state.backbone.draw

    def drawing(words, references, **more):
        calls.append((words, references, draw(words, references, **more)[0]))
        return [calls[-1][2]]

    monkeypatch.setattr(state.backbone, "draw", drawing)
    lost = [step.work(state, [item], files).lost[0] for _ in range(2)]
    (words, (shown,), first), (*_, second) = calls
    assert words == "the cat now wearing a scarf and jumping, the dog now waving; all else as it is"
    assert (shown == files.picture(item)).all() and first.shape == shown.shape
    assert (first == second).all(), "the same noise"
    # Nobody is seen in what random weights draw, and that is told.
    assert {one.reason for one in lost} == {"not as many people as before the edit"}
    assert step.models()[str(klein)] and step.settings()["by"] == str(klein)


def test_things_are_located_again_and_must_be_the_same(tmp_path) -> None:
    files = Files(tmp_path, ".", tmp_path)
    located = Located(by="owlv2", least_px=20)
    picture = drawn([("cat", (40, 50)), ("mug", (110, 60))])
    (item,) = located.work(sight(), [item_of(tmp_path, picture)], files).items
    seeker = ThingsAgain(sight(), located)
    moved = drawn([("mug", (40, 60)), ("cat", (110, 50))])
    found = seeker.seek(item, moved, files)
    assert found.similarities == pytest.approx((1.0, 1.0), abs=0.05)
    middles = [Box(*one["box"]).center[0] for one in found.data["things"]]
    assert middles == pytest.approx([110.5, 40.5], abs=1)
    assert found.files.keys() >= {"mask-a", "mask-b"}
    lost = seeker.seek(item, drawn([("cat", (40, 50))]), files)
    assert lost.reason == "a subject is not seen"

    class Forgetful(ByColor):
        def similarity(self, first, second):
            return ByColor.similarity(self, first, second) * 0.3

    step = Edited(by="x", located=located, same=0.5)
    eyes = replace(sight(), embedder=Forgetful())
    found = ThingsAgain(eyes, located).seek(item, moved, files)
    assert step._strangers(item, found).reason == "a subject is not itself after the edit"
    assert replace(step, same=0.0)._strangers(item, found) is None


def test_words_of_the_recipe_where_the_plan_has_none(tmp_path) -> None:
    step = Edited(attributes=("in red", "in blue"), actions=("asleep",))
    told = {"nouns": {"a": "cat", "b": "mug"}}
    of = {
        task: [
            step._edits(Item(id=f"p{number}", data={**told, "task": task})) for number in range(20)
        ]
        for task in EDITABLE
    }
    assert of["action"] == [[("a", "asleep"), ("b", "asleep")]] * 20
    for task in ("attribute", "complex"):
        assert {words for edits in of[task] for _, words in edits} == {"in red", "in blue"}
    assert replace(step, seed=1)._edits(Item(id="p0", data={**told, "task": "attribute"}))


def test_a_model_that_cannot_be_shown_the_picture_is_refused(monkeypatch) -> None:
    blind = SimpleNamespace(limits=SimpleNamespace(reference_px=0))
    monkeypatch.setattr("personae.data.pipeline.shown.load_backbone", lambda by, device: blind)
    with pytest.raises(RequestError, match="takes no references"):
        Edited(by="sdxl", faces=FACES, same=0.5, device="cpu").build()


def test_recipes_that_cannot_be(tmp_path) -> None:
    for settings, text in (
        (["edited.tasks=['three']"], "edited.tasks: expected some of"),
        (["edited.tasks=[]"], "edited.tasks: expected some of"),
        (["edited.words=more hats"], r"expected words with \{edits\}"),
        (["edited.actions=[]"], "expected some words"),
        (["edited.least_changed=1"], "0 or more, below 1"),
        (["edited.faces={eyes='toons'}"], r"say in \[faces\] and \[located\]"),
        (["edited.hats=3"], "unknown key 'hats'"),
    ):
        with pytest.raises(DataError, match=text):
            read_synthesis(RECIPE, settings)
    templates = ["planner=templates", "templates.nouns=['a', 'b', 'c', 'd']", "drawn.by=toons"]
    with pytest.raises(DataError, match="the toon world edits what it planned itself"):
        read_synthesis(RECIPE, [*templates, "edited.by=world"])
    assert read_synthesis(RECIPE, [*templates, "edited.by=toons"]).edited.by == "toons"
    with pytest.raises(RequestError, match="nobody says who finds the subjects again"):
        Edited().settings()
    item, files = world_item(tmp_path, world={"seed": 1})
    step = Edited(faces=FACES, same=0.5)
    with pytest.raises(DataError, match="not drawn bare by the toon world"):
        step.work(step.build(), [item], files)
