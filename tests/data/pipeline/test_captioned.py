"""Words to train on: the plan's own, or those of a model that sees the picture."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from personae.data.pipeline.captioned import Captioned, caption_question
from personae.data.pipeline.items import Item
from personae.data.pipeline.located import subject_boxes
from personae.data.pipeline.speaker import Speaker
from personae.data.pipeline.step import Files
from personae.errors import DataError, RequestError
from tests.vision.fake_endpoint import serving
from tests.vision.tiny_seeing import save_llava

from .test_planned import Hasty, said

PICTURE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
GOOD = {"caption": "On a table, {a} sits left of {b}", "place": "on a table",
        "relation": ["a", "left of", "b"]}  # fmt: skip


def located(tmp_path, task="position", *, kind="things", first=(5, 20, 45, 60), **data) -> Item:
    Image.fromarray(PICTURE).save(tmp_path / "p.png")
    boxes = {"a": first, "b": (60, 22, 100, 62)}
    told = {
        "task": task,
        "nouns": {"a": "cat", "b": "mug"},
        "prompt": "{a} and {b} on a table, {a} left of {b}",
        "relation": ["a", "left of", "b"],
        kind: [{"name": name, "box": list(box)} for name, box in boxes.items()],
        **data,
    }
    return Item(id="p", files={"image": "p.png"}, data=told)


def captioned(tmp_path, item, *answers, tries=3):
    files = Files(tmp_path, "x", tmp_path)
    if not answers:
        step = Captioned()
        return step.work(step.build(), [item], files)
    with serving(*map(said, answers)) as endpoint:
        step = Captioned(speaker=Hasty(url=endpoint.url, model="m", tries=tries))
        made = step.work(step.build(), [item], files)
        return made, [asked for _, _, asked in endpoint.asked]


def test_the_plan_stands_where_the_boxes_do_not_deny_it(tmp_path) -> None:
    (item,) = captioned(tmp_path, located(tmp_path)).items
    assert item.data["caption"] == item.data["prompt"]
    right = located(tmp_path, first=(70, 20, 110, 60))
    (lost,) = captioned(tmp_path, right).lost
    assert (lost.reason, lost.failed) == ("the picture does not show who is where", False)
    # What the toon world drew is true as it stands; without a relation there is nothing to deny.
    assert captioned(tmp_path, located(tmp_path, first=(70, 20, 110, 60), world={})).items
    none = located(tmp_path, first=(70, 20, 110, 60), relation=None)
    assert captioned(tmp_path, none).items


def test_faces_say_nothing_of_next_to(tmp_path) -> None:
    far = {"first": (0, 20, 6, 26), "relation": ["a", "next to", "b"]}
    assert captioned(tmp_path, located(tmp_path, kind="faces", **far)).items
    assert captioned(tmp_path, located(tmp_path, **far)).lost


def test_a_model_is_shown_the_picture_the_task_and_the_boxes(tmp_path) -> None:
    made, (asked,) = captioned(tmp_path, located(tmp_path), GOOD)
    assert made.items[0].data["caption"] == GOOD["caption"]
    shown, told = asked["messages"][1]["content"]
    picture = Image.open(io.BytesIO(base64.b64decode(shown["image_url"]["url"].partition(",")[2])))
    assert np.array_equal(np.asarray(picture), PICTURE)
    told = json.loads(told["text"])
    assert told["task"] == "position" and told["subjects"]["a"]["is"] == "cat"
    assert told["subjects"]["a"]["box"] == [round(5 / 120, 3), round(20 / 90, 3), 0.375, 0.667]


BAD = {
    "exactly once": {**GOOD, "caption": "On a table, {a} sits left of {b}, {a} asleep"},
    "says 'mug' outside": {**GOOD, "caption": "On a table, {a} sits left of {b}, a mug"},
    "does not stand in": {**GOOD, "place": "in a park"},
    "does not stand between": {**GOOD, "relation": ["b", "left of", "a"]},
    "the boxes say": {"caption": "On a table, {b} sits left of {a}", "place": "on a table",
                      "relation": ["b", "left of", "a"]},
    "Extra inputs": {**GOOD, "mood": "fine"},
}  # fmt: skip


@pytest.mark.parametrize("complaint", BAD)
def test_bad_captions_are_told_back_and_lost_in_the_end(tmp_path, complaint) -> None:
    made, asked = captioned(tmp_path, located(tmp_path), BAD[complaint], GOOD)
    assert len(made.items) == 1 and complaint in asked[1]["messages"][3]["content"]
    made, _ = captioned(tmp_path, located(tmp_path, "background"), BAD[complaint], tries=2)
    assert not made.items and made.lost[0].failed and "2 tries" in made.lost[0].detail


def test_what_the_picture_does_not_show_is_dropped_with_the_models_reason(tmp_path) -> None:
    made, asked = captioned(tmp_path, located(tmp_path, "action"), {"cannot": "nobody moves"})
    (lost,) = made.lost
    assert (lost.reason, lost.failed) == ("the picture does not show its task", False)
    assert lost.detail == "nobody moves" and len(asked) == 1


def test_the_words_of_the_plan_do_not_stay_where_the_model_says_others(tmp_path) -> None:
    plain = {"caption": "{a} and {b} on a table", "place": "on a table"}
    made, _ = captioned(tmp_path, located(tmp_path, "background"), plain)
    assert made.items[0].data["caption"] == plain["caption"]
    assert made.items[0].data["relation"] is None


def test_a_folder_of_this_machine_is_asked_too(tmp_path) -> None:
    """A tiny random one of the true class: it babbles, so the item is lost, with what it lacked."""
    speaker = Speaker(by=f"folder:{save_llava(tmp_path / 'llava')}", max_tokens=4, tries=1)
    step = Captioned(speaker=speaker)
    made = step.work(step.build(), [located(tmp_path)], Files(tmp_path, "x", tmp_path))
    assert made.lost[0].reason == "the language model gave no answer that can be used"


def test_the_question_holds_its_own_example(tmp_path) -> None:
    item = located(tmp_path)
    talk = caption_question(item, subject_boxes(item), PICTURE.shape[:2], b"")
    example = talk[0].content.split("An example:\n")[1].split("\nWhere")[0]
    assert Captioned()._read(item, example).caption == json.loads(example)["caption"]


def test_wrong_settings_and_items(tmp_path) -> None:
    with pytest.raises(RequestError, match="expected 0 to 1; got 2"):
        Captioned(least_position=2)
    with pytest.raises(DataError, match="nobody is located"):
        subject_boxes(Item(id="p", data={"nouns": {"a": "cat"}}))
