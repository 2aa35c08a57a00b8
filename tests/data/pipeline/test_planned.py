"""Prompts by a language model that misbehaves in every way there is."""

from __future__ import annotations

import json
from functools import partial

import pytest

from personae.data.pipeline.planned import PlanAnswer as Answer
from personae.data.pipeline.planned import Planned, check_plan, plan_question
from personae.data.pipeline.plans import TASKS, plans
from personae.data.pipeline.runner import run_pipeline
from personae.data.pipeline.speaker import Speaker
from personae.errors import DataError, RequestError, WorkError
from personae.vision.language import Patience
from tests.vision.fake_endpoint import chat, serving

NOUNS = ("cat", "mug", "robot", "teapot", "kite")
HASTY = Patience(timeout_seconds=2.0, tries=2, wait_seconds=0.0)
TWO = {"a": "cat", "b": "mug"}
GOOD = {
    "prompt": "{a} and {b} on a table, {a} left of {b}",
    "place": "on a table",
    "relation": ["a", "left of", "b"],
    "looks": {"a": "a gray cat with white paws", "b": "a red enamel mug"},
    "alone": {"a": "lying in a meadow", "b": "seen from above on a step"},
}


def answer_to(asked, **changes) -> dict:
    """A faultless plan of whatever was asked for."""
    task, nouns = asked["task"], asked["subjects"]
    each = {name: f"waving with hand {name}" for name in nouns}
    names = [f"{{{name}}}" for name in nouns]
    kinds = {"attribute": ("attributes",), "action": ("actions",), "position": ("relation",)}
    told = dict.fromkeys(kinds.get(task, ("actions", "relation") if task == "complex" else ()))
    parts = [f"{', '.join(names)} on a table"]
    for kind in told:
        told[kind] = ["a", "left of", "b"] if kind == "relation" else each
        if kind == "relation":
            parts.append("{a} left of {b}")
        else:
            parts += [f"{{{name}}} {words}" for name, words in each.items()]
    return {
        "prompt": ", ".join(parts),
        "place": "on a table",
        "looks": {name: f"a {noun} of kind {name}" for name, noun in nouns.items()},
        "alone": {name: f"lying in field {name}" for name in nouns},
        **told,
        **changes,
    }


def obedient(handler) -> None:
    asked = json.loads(handler.asked["messages"][1]["content"])
    handler.answer(200, {}, chat(json.dumps(answer_to(asked))))


def said(text):
    return (200, {}, chat(text if isinstance(text, str) else json.dumps(text)))


class Hasty(Speaker):
    def build(self, *, sees, patience=None):
        return super().build(sees=sees, patience=HASTY)


def planned(url, **more) -> Planned:
    return Planned(nouns=NOUNS, speaker=Hasty(url=url, model="m", **more))


def run(url, out, count=1, tasks=None, **more):
    step = planned(url, **more)
    source = list(plans(step, count, tasks or {"position": 1.0}))
    return run_pipeline(source, [step], out, shard_items=2)


def test_every_task_is_asked_for_and_planned(tmp_path) -> None:
    with serving(obedient) as endpoint:
        account = run(endpoint.url, tmp_path, 14, dict.fromkeys(TASKS, 1.0), temperature=0.7)
        items = list(account.items())
        assert len(items) == 14 and len(endpoint.asked) == 14
        seeds = {asked["seed"] for _, _, asked in endpoint.asked}
        assert len(seeds) == 14, "each plan draws its own answer"
    for item in items:
        nouns = item.data["nouns"]
        assert len(nouns) == {"three": 3, "four": 4}.get(item.data["task"], 2)
        assert len(set(nouns.values())) == len(nouns) and set(nouns.values()) <= set(NOUNS)
        assert item.data["looks"].keys() == item.data["alone"].keys() == nouns.keys()
        assert ("relation" in item.data) == (item.data["task"] in {"position", "complex"})


def test_what_an_edit_is_to_add_is_not_planned(tmp_path) -> None:
    with serving(obedient) as endpoint:
        step = planned(endpoint.url)
        tasks = dict.fromkeys(("attribute", "action", "complex"), 1.0)
        source = list(plans(step, 3, tasks, bare=tasks))
        items = list(run_pipeline(source, [step], tmp_path).items())
        heard = [json.loads(one["messages"][1]["content"]) for *_, one in endpoint.asked]
    assert [asked["task"] for asked in heard] == ["background", "background", "position"]
    assert [item.data["task"] for item in items] == list(tasks)
    for item in items:
        assert not {"attributes", "actions"} & item.data.keys()
        assert ("relation" in item.data) == (item.data["task"] == "complex")


def test_bad_answers_are_told_back_until_one_is_good(tmp_path) -> None:
    script = ["Of course! Here is your plan.", json.dumps(GOOD)[:70], {"prompt": "{a}"}]
    asked = []

    def last(handler) -> None:
        asked.append([one["content"] for one in handler.asked["messages"]])
        obedient(handler)

    with serving(*map(said, script), last) as endpoint:
        (item,) = run(endpoint.url, tmp_path, tries=4).items()
        assert item.data["place"] == "on a table" and len(endpoint.asked) == 4
    (talk,) = asked
    assert talk[2] == script[0] and "not one JSON object alone" in talk[3]
    assert "not one JSON object alone" in talk[5] and talk[7].startswith("That cannot be used: ")


def test_what_cannot_be_had_is_lost_with_its_reason_and_never_made_up(tmp_path) -> None:
    with serving(said("No.")) as endpoint:
        account = run(endpoint.url, tmp_path, 3)
        assert len(endpoint.asked) == 9
    assert account.steps[0].num_out == 0
    reason = "the language model gave no answer that can be used"
    assert dict(account.steps[0].failed) == {reason: 3}
    lines = (tmp_path / "01-planned/shard-000000/lost.jsonl").read_text().splitlines()
    assert "3 tries; the last: the answer is not one JSON object" in json.loads(lines[0])["detail"]


def test_a_model_that_refuses_one_question_is_asked_the_others(tmp_path) -> None:
    with serving((400, {}, b"content"), obedient) as endpoint:
        account = run(endpoint.url, tmp_path, 2)
    assert dict(account.steps[0].failed) == {"the language model refused to answer": 1}
    assert account.steps[0].num_out == 1


def test_one_silence_loses_one_plan_and_many_stop_the_run_which_goes_on(tmp_path) -> None:
    down = (500, {}, b"")
    with serving(down, down, obedient) as endpoint:
        account = run(endpoint.url, tmp_path / "one", 2)
        assert dict(account.steps[0].failed) == {"the language model did not answer": 1}
    with serving(obedient, obedient, obedient, down) as endpoint:
        with pytest.raises(WorkError, match="goes on where it stopped"):
            run(endpoint.url, tmp_path / "many", 8)
        assert len(endpoint.asked) == 3 + 2 * 3
        done = sorted(path.parent.name for path in tmp_path.glob("many/01-planned/*/done.json"))
        assert done == ["shard-000000", "shard-000001"]
        endpoint.script[:] = [obedient]
        account = run(endpoint.url, tmp_path / "many", 8)
    # What failed in a shard that was whole before the model was gone stays told.
    assert account.steps[0].num_out == 7 and account.steps[0].num_made == 2


def test_a_wrong_key_stops_the_run(tmp_path) -> None:
    with serving((401, {}, b"who are you")) as endpoint:
        with pytest.raises(WorkError, match="refused with status 401"):
            run(endpoint.url, tmp_path, 4)
        assert len(endpoint.asked) == 1


def test_kept_answers_are_not_asked_for_again_and_say_the_same(tmp_path) -> None:
    with serving(obedient) as endpoint:
        first = [item.line() for item in run(endpoint.url, tmp_path / "1", 4).items()]
        again = [item.line() for item in run(endpoint.url, tmp_path / "2", 4).items()]
        assert first == again and len(endpoint.asked) == 4
        kept = sorted((tmp_path / "cache" / "answers").glob("*/*.json"))
        assert len(kept) == 4
        kept[0].write_text("{")
        kept[1].write_text(kept[1].read_text().replace("on a table", "on a chair"))
        third = [item.line() for item in run(endpoint.url, tmp_path / "3", 4).items()]
        assert len(endpoint.asked) == 5, "the damaged one alone"
        assert sum("on a chair" in line for line in third) == 1
        run(endpoint.url, tmp_path / "4", 4, temperature=0.5)
        assert len(endpoint.asked) == 9


def wrong(**changes) -> dict:
    return {key: value for key, value in {**GOOD, **changes}.items() if value is not None}


LOOKS, ALONE = GOOD["looks"], GOOD["alone"]
BAD = {
    "expected each of": wrong(prompt="{a} on a table, {a} left of {a}"),
    "names .'a', 'b', 'c'": wrong(prompt="{a} and {b} and {c} on a table"),
    "others in the sentence": wrong(prompt="{a} left of {b} on a table }"),
    "says 'cat' outside": wrong(prompt="{a} left of {b} on a table, two cats asleep"),
    "place 'on a roof' does not stand": wrong(place="on a roof"),
    "expected .'relation'. beside": wrong(relation=None),
    "got .'actions', 'relation'.": wrong(actions={"a": "on a table", "b": "on a table"}),
    "two different ones": wrong(relation=["a", "left of", "a"]),
    "expected one of .'left of'": wrong(relation=["a", "far from", "b"]),
    "does not stand between": wrong(relation=["b", "left of", "a"]),
    "looks: expected one of each": wrong(looks={"a": "a cat"}),
    "looks.b: expected words with 'mug'": wrong(looks={**LOOKS, "b": "a red cup"}),
    "two are the same": wrong(looks={"a": "a cat on a mug", "b": "A cat on a mug"}),
    "alone.a: expected one line": wrong(alone={**ALONE, "a": "with {b}"}),
    "alone.b: expected another place": wrong(alone={**ALONE, "b": "asleep on a table"}),
    "one line and at most": wrong(prompt="{a} left of {b} on a table" + ", and more" * 60),
}


@pytest.mark.parametrize("complaint", BAD)
def test_each_fault_has_its_complaint(complaint) -> None:
    check_plan("position", TWO, Answer.model_validate(GOOD))
    with pytest.raises(DataError, match=complaint):
        check_plan("position", TWO, Answer.model_validate(BAD[complaint]))


def test_words_belong_to_whom_they_follow() -> None:
    plan = partial(wrong, relation=None)
    each = {"a": "wearing a scarf", "b": "holding a flag"}
    good = plan(prompt="{a} wearing a scarf and {b} holding a flag, on a table", attributes=each)
    check_plan("attribute", TWO, Answer.model_validate(good))
    swapped = {**good, "prompt": "{a} holding a flag and {b} wearing a scarf, on a table"}
    with pytest.raises(DataError, match=r"does not stand in the sentence after \{a\}"):
        check_plan("attribute", TWO, Answer.model_validate(swapped))
    with pytest.raises(DataError, match="attributes: expected one of each"):
        half = {**good, "attributes": {"a": "wearing a scarf"}}
        check_plan("attribute", TWO, Answer.model_validate(half))
    with pytest.raises(DataError, match="expected two of"):
        check_plan("complex", TWO, Answer.model_validate(good))
    both = {
        **good,
        "prompt": "{a} wearing a scarf left of {b} holding a flag, on a table",
        "relation": ["a", "left of", "b"],
    }
    check_plan("complex", TWO, Answer.model_validate(both))


def test_the_question_holds_its_own_example(tmp_path) -> None:
    """The example that the model is shown is itself a plan that would be taken."""
    told = plan_question("position", TWO)[0].content
    example = json.loads(told[told.rindex('{"prompt"') :])
    check_plan("position", {"a": "cat", "b": "teapot"}, Answer.model_validate(example))


def test_requests_that_cannot_be_met(tmp_path) -> None:
    with pytest.raises(RequestError, match="at least 4 different ones"):
        Planned(nouns=("cat", "dog"), speaker=Speaker(url="http://x/v1", model="m"))
    with pytest.raises(RequestError, match="expected both for an endpoint"):
        Speaker(url="http://x/v1")
    with pytest.raises(RequestError, match="neither for a folder"):
        Speaker(by="folder:x", model="m")
    with pytest.raises(RequestError, match="expected endpoint or folder:PATH"):
        Speaker(by="oracle")
    with pytest.raises(RequestError, match="tries"):
        Speaker(by="folder:x", tries=0)
