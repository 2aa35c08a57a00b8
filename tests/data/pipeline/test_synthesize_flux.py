"""The recipe for real weights, on tiny random models of the true classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from personae.data.examples import ExampleFile
from personae.data.pipeline.alike_things import AlikeThings
from personae.data.pipeline.things import Sight, SightChoice
from personae.data.synthesize import read_synthesis, synthesis_steps, synthesize
from personae.diffusion.configs import KNOWN_MODELS
from personae.errors import DataError, RequestError
from personae.subjects.box import Box
from personae.vision.protocols import Detection
from tests.diffusion.tiny import save_tiny_klein
from tests.vision.fake_endpoint import chat, serving
from tests.vision.tiny_words import save_owl, save_sam2

from .test_planned import obedient
from .test_things import ByColor

RECIPE = Path(__file__).parents[3] / "recipes" / "data" / "synthesize_flux.toml"
TINY = ["drawn.size=[64, 64]", "redrawn.size=[64, 64]", "drawn.steps=1", "redrawn.steps=1",
        "redrawn.tries=1", "drawn.device=cpu", "redrawn.device=cpu", "located.device=cpu",
        "located.least_px=4"]  # fmt: skip


@pytest.fixture(scope="module")
def klein(tmp_path_factory) -> Path:
    return save_tiny_klein(tmp_path_factory.mktemp("klein"))


def recipe(klein, *more):
    return read_synthesis(
        RECIPE, [*TINY, f"drawn.by={klein}", f"redrawn.model={klein}", f"base={klein}", *more]
    )


class Halves(ByColor):
    """Finds the first subject in the left half and the second in the right one."""

    def detect(self, image, cast, nouns):
        height, width = image.shape[:2]
        return [
            Detection(Box(place * width / 2, 4, (place + 1) * width / 2, height), 0.9, name)
            for place, name in enumerate(cast)
        ]

    def segment(self, image, box):
        mask = np.zeros(image.shape[:2], bool)
        mask[:, int(box.left) : int(box.right)] = True
        return mask


def test_the_recipe_is_well_formed_and_its_steps_are_those_for_things() -> None:
    built = read_synthesis(RECIPE)
    names = [step.name for step in synthesis_steps(built)]
    assert names == ["drawn", "unlike", "located", "captioned", "redrawn", "alike"]
    redrawn, alike = synthesis_steps(built)[-2:]
    assert redrawn.things == SightChoice(
        detector="owlv2", segmenter="sam2", embedder="dinov2", threshold=0.3
    )
    assert alike == AlikeThings(embedder="dinov2", same=0.5, different=0.5, least_bits=12)
    assert built.base in KNOWN_MODELS and built.redrawn.model in KNOWN_MODELS
    json.dumps([step.settings() for step in synthesis_steps(built)])


def test_true_classes_end_to_end_account_for_every_plan(tmp_path, klein) -> None:
    owl, sam = save_owl(tmp_path / "owl"), save_sam2(tmp_path / "sam")
    asked = recipe(
        klein, "count=2", f"located.by=owlv2:{owl}", f"located.segmenter=sam2:{sam}",
        "located.embedder=efficientnet-lite0",
    )  # fmt: skip
    account = synthesize(asked, tmp_path / "out")
    located = next(step for step in account.steps if step.name == "located")
    assert located.num_in == 2 == located.num_out + sum(located.dropped.values())
    assert all(not step.failed for step in account.steps)


def test_from_a_language_model_to_examples_that_can_be_trained_on(
    tmp_path, klein, monkeypatch
) -> None:
    eyes = Sight(Halves(), Halves(), Halves())
    monkeypatch.setattr(SightChoice, "build", lambda self: eyes)
    monkeypatch.setattr(AlikeThings, "build", lambda self: eyes.embedder)
    caption = json.dumps({
        "caption": "On a roof, {a} stands left of {b}", "place": "on a roof",
        "relation": ["a", "left of", "b"],
    })  # fmt: skip

    def speak(handler) -> None:
        if "instruction" in handler.asked["messages"][0]["content"][:40]:
            handler.answer(200, {}, chat(caption))
        else:
            obedient(handler)

    with serving(speak) as endpoint:
        speaker = f'{{url="{endpoint.url}", model="m"}}'
        asked = recipe(
            klein, "count=2", "tasks={position=1}", "planner=llm", f"planned.speaker={speaker}",
            'planned.nouns=["cat", "mug", "kite", "bell"]', f"captioned.speaker={speaker}",
            "alike.same=-1", "alike.different=1", "alike.least_bits=0", 'license="CC0-1.0"',
            "unlike.apart=1",
        )  # fmt: skip
        account = synthesize(asked, tmp_path)
    assert account.steps[-1].num_out == 2, account
    lines = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    for line in lines:
        first, second = line["nouns"]
        # As the tiny model to be trained has its subjects named: "{noun} {index}".
        assert line["prompt"] == f"On a roof, {first} 1 stands left of {second} 2"
        assert line["kinds"] == ["object"] * 2 and line["relation"] == [0, "left of", 1]
    examples = ExampleFile(tmp_path / "examples.jsonl", ((64, 64),), 64)
    assert len(examples) == 2 and not examples.problems
    assert examples[0].relation == (0, "left of", 1)
    assert (tmp_path / "contact_sheet.png").is_file()


def test_things_are_edited_by_a_tiny_model_as_the_recipe_says(tmp_path, klein, monkeypatch) -> None:
    eyes = Sight(Halves(), Halves(), Halves())
    monkeypatch.setattr(SightChoice, "build", lambda self: eyes)
    monkeypatch.setattr(AlikeThings, "build", lambda self: eyes.embedder)
    asked = recipe(
        klein, "count=2", "tasks={attribute=1}", f"edited.by={klein}", "edited.steps=1",
        "edited.device=cpu", "alike.same=-1", "alike.different=1", "alike.least_bits=0",
        "unlike.apart=1",
    )  # fmt: skip
    account = synthesize(asked, tmp_path)
    assert [step.name for step in account.steps][-3:] == ["edited", "captioned", "alike"]
    items = list(account.items())
    assert len(items) == 2, account
    for item in items:
        before, after = (Path(item.files[key]).parent for key in ("unedited", "image"))
        assert (before.parts[0], after.parts[0]) == ("01-drawn", "05-edited")
        assert item.files["mask-a"].startswith("05-edited"), "of the edited picture"
        (a, told), (b, also) = item.data["edits"]
        assert item.data["caption"].endswith(f", {{{a}}} {told}, {{{b}}} {also}")
        assert told in asked.templates.attributes and item.data["edited_by"] == str(klein)
        assert all(-1 <= one["similarity"] <= 1.01 for one in item.data["edited"])


def test_recipes_of_things_that_contradict_themselves(klein) -> None:
    for settings, text in (
        (["planner=llm"], r"needs a section \[planned\]"),
        (["located.by=eyes"], "expected faces, owlv2"),
        (["subject_words={noun}"], "name one of them"),
        (['redrawn.things={detector="owlv2"}'], r"say in \[located\]"),
        (["captioned.speaker={by='folder:x', url='y'}"], "neither for a folder"),
    ):
        with pytest.raises((DataError, RequestError), match=text):
            recipe(klein, *settings)
