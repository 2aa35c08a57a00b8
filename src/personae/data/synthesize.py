"""`personae data synthesize`: pictures of several subjects, and each of them drawn again alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from personae.compute.runs import write_atomic
from personae.compute.workers import Workers
from personae.config import apply_settings, build_config, read_toml
from personae.data.pipeline.aesthetic import Aesthetic
from personae.data.pipeline.alike import Alike
from personae.data.pipeline.alike_things import AlikeThings
from personae.data.pipeline.captioned import Captioned
from personae.data.pipeline.counted import Counted
from personae.data.pipeline.drawn import WORLD, Drawn
from personae.data.pipeline.duplicates import Unlike
from personae.data.pipeline.edited import Edited
from personae.data.pipeline.items import Item
from personae.data.pipeline.located import Located
from personae.data.pipeline.people import Faces, faces_of
from personae.data.pipeline.planned import Planned
from personae.data.pipeline.plans import TASKS, Planner, TemplatePlanner, WorldPlanner, plans
from personae.data.pipeline.redrawn import Redrawn
from personae.data.pipeline.resembling import Described, Distinct
from personae.data.pipeline.result import SHEET_ROWS, Cell, write_sheet
from personae.data.pipeline.runner import Account, Progress, run_pipeline
from personae.data.pipeline.step import Licensed, Step, WholeStep
from personae.diffusion.load import find_configs
from personae.errors import RequestError
from personae.generation.prompts import named
from personae.subjects.box import Box

__all__ = ["SynthesisRecipe", "example_line", "read_synthesis", "synthesis_steps", "synthesize"]


SUBJECT_WORDS = "the {noun} from image {index}"


@dataclass(frozen=True, kw_only=True)
class SynthesisRecipe:
    """A set to be made, and how.

    Attributes:
        count: plans; fewer examples come of them.
        seed: of plans.
        tasks: shares of PSR's seven.
        planner: ``world`` (what the toon world can draw), ``templates`` (words for a model) or
            ``llm`` (words that a language model writes).
        world, templates, planned: the settings of each.
        license, consent: of all that is made; they stand in every line.
        licenses: with ``require_license``, the only ones that go on.
        require_license: does what has no license go no further?
        drawn: who draws the pictures of several.
        unlike: how near duplicates are dropped.
        distinct: and by what pictures show; None: nobody looks.
        aesthetic: which pictures look too bad; None: nobody looks.
        faces: who finds people, where subjects are located by their faces.
        counted: by how many people their number may differ from the plan's.
        located: which find is which subject; also, who finds and knows things.
        captioned: who writes the prompts to train on.
        redrawn: the single-subject model.
        edited: who edits the picture once its references are made (PSR's re-editing), so that they
            do not show what its prompt tells; None: nobody, and prompts tell what was drawn.
        alike: which pairs of reference and target go on. Of things, ``same``, ``different`` and
            ``least_bits`` count alone.
        base: the model to be trained, as ``--model`` takes it: prompts name subjects its way.
        subject_words: how prompts name a subject, where no base is told.
        shard_items: plans a shard.
        blurred: are faces of the contact sheet that were found made unrecognizable?
    """

    count: int = 100
    seed: int = 0
    tasks: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(TASKS, 1.0))
    planner: Literal["world", "templates", "llm"] = "world"
    world: WorldPlanner = field(default_factory=WorldPlanner)
    templates: TemplatePlanner | None = None
    planned: Planned | None = None
    license: str | None = None
    consent: str | None = None
    licenses: tuple[str, ...] = ()
    require_license: bool = False
    drawn: Drawn = field(default_factory=Drawn)
    unlike: Unlike = field(default_factory=Unlike)
    distinct: Distinct | None = None
    aesthetic: Aesthetic | None = None
    faces: Faces = field(default_factory=lambda: Faces(least=2))
    counted: Counted = field(default_factory=Counted)
    located: Located = field(default_factory=Located)
    captioned: Captioned = field(default_factory=Captioned)
    redrawn: Redrawn = field(default_factory=Redrawn)
    edited: Edited | None = None
    alike: Alike = field(default_factory=Alike)
    base: str | None = None
    subject_words: str = SUBJECT_WORDS
    shard_items: int = 16
    blurred: bool = False

    def __post_init__(self) -> None:
        eyes = {self.faces.eyes, self.redrawn.eyes, self.alike.eyes}
        if self.located.sight is None and len(eyes) > 1:
            raise RequestError(
                f"faces, redrawn and alike: expected the same eyes; got {sorted(eyes)}"
            )
        if self.redrawn.things is not None:
            raise RequestError("redrawn.things: say in [located] how things are found")
        if self.planner == "templates" and self.templates is None:
            raise RequestError("planner: 'templates' needs a section [templates] with its nouns")
        if self.planner == "llm" and self.planned is None:
            raise RequestError(
                "planner: 'llm' needs a section [planned] with its nouns, and [planned.speaker]"
            )
        if (self.planner == "world") != (self.drawn.by == "world"):
            raise RequestError(
                f"planner {self.planner!r} and drawn.by {self.drawn.by!r}: the toon world draws "
                "what it planned itself, and a model what words say"
            )
        if self.edited is not None:
            self._check_edited(self.edited)
        if self.base is not None and self.subject_words != SUBJECT_WORDS:
            raise RequestError(
                f"base {self.base!r} and subject_words {self.subject_words!r}: name one of them"
            )
        if "{noun}" not in self.subject_words:
            raise RequestError(
                f"subject_words: expected a text with {{noun}}; got {self.subject_words!r}"
            )

    def _check_edited(self, edited: Edited) -> None:
        if edited.faces is not None or edited.located is not None:
            raise RequestError("edited: say in [faces] and [located] how subjects are found")
        if edited.by == WORLD and self.planner != "world":
            raise RequestError(
                f"planner {self.planner!r} and edited.by 'world': the toon world edits what it "
                "planned itself; name a model that takes references"
            )

    @property
    def asked(self) -> Planner:
        """Who plans."""
        planners = {"world": self.world, "templates": self.templates, "llm": self.planned}
        planner = planners[self.planner]
        assert planner is not None
        return planner


def read_synthesis(path: Path, settings: Sequence[str] = ()) -> SynthesisRecipe:
    """A recipe with ``--set`` over it.

    Raises:
        DataError: no such file, or no TOML.
        RequestError: a key or a value that it cannot have.
    """
    data = apply_settings(read_toml(path), settings)
    return build_config(SynthesisRecipe, data, str(path))


def synthesis_steps(recipe: SynthesisRecipe) -> list[Step | WholeStep]:
    """What plans go through.

    Captions are written before references are drawn, which costs more. Where pictures are edited,
    the references come first, then the edit, and the caption is of the edited picture.
    """
    sight, located = recipe.located.sight, recipe.located
    steps: list[Step | WholeStep] = []
    if recipe.require_license:
        steps.append(Licensed(recipe.licenses))
    if recipe.planner == "llm" and recipe.planned is not None:
        steps.append(recipe.planned)
    steps += [recipe.drawn, recipe.unlike]
    steps += [Described(), recipe.distinct] if recipe.distinct else []
    steps += [recipe.aesthetic] if recipe.aesthetic else []
    if sight is None:
        steps += [recipe.faces, recipe.counted, located]
        return [*steps, *_told(recipe, recipe.redrawn, recipe.alike.limits.same), recipe.alike]
    alike, told = AlikeThings(embedder=located.embedder), recipe.alike
    alike = replace(
        alike,
        same=alike.same if told.same is None else told.same,
        different=alike.different if told.different is None else told.different,
        least_bits=told.least_bits,
    )
    redrawn = replace(recipe.redrawn, things=sight)
    return [*steps, located, *_told(recipe, redrawn, alike.same), alike]


def _told(recipe: SynthesisRecipe, redrawn: Redrawn, same: float) -> list[Step]:
    """Caption and references in either order, with the edit between them."""
    edited = recipe.edited
    if edited is None:
        return [recipe.captioned, redrawn]
    looking: dict[str, Any] = (
        {"faces": recipe.faces} if recipe.located.sight is None else {"located": recipe.located}
    )
    edited = replace(edited, same=same if edited.same is None else edited.same, **looking)
    return [redrawn, edited, recipe.captioned]


def synthesize(
    recipe: SynthesisRecipe,
    out: Path,
    *,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Account:
    """Run the pipeline, then write ``examples.jsonl`` and ``contact_sheet.png``; resumes.

    Raises:
        RequestError: a step cannot do what is asked.
        WeightsError: a model cannot be loaded.
        WorkError: the disk is full, or a worker died; run it again to go on.
    """
    pattern = recipe.subject_words
    if recipe.base is not None:
        pattern = find_configs(recipe.base).limits.subject_words
    source = plans(
        recipe.asked,
        recipe.count,
        recipe.tasks,
        recipe.seed,
        license=recipe.license,
        consent=recipe.consent,
        bare=recipe.edited.tasks if recipe.edited else (),
    )
    account = run_pipeline(
        source,
        synthesis_steps(recipe),
        out,
        workers=workers,
        shard_items=recipe.shard_items,
        progress=progress,
    )
    kind = "person" if recipe.located.sight is None else recipe.located.kind

    def line_of(item: Item) -> dict[str, object]:
        return {**example_line(item, pattern, kind), "made_by": account.made_by}

    lines = (f"{json.dumps(line_of(item))}\n" for item in account.items())
    write_atomic(out / "examples.jsonl", lines)
    rows = [_shown(item, line_of(item)) for item in islice(account.items(), SHEET_ROWS)]
    write_sheet(out, rows, blurred=recipe.blurred)
    return account


def example_line(item: Item, subject_words: str, kind: str = "person") -> dict[str, Any]:
    """A line of examples.jsonl from an item; its relation by the places of its two subjects."""
    nouns, relation = item.data["nouns"], item.data.get("relation")
    words = {
        name: subject_words.replace("{index}", str(place)).replace("{noun}", noun)
        for place, (name, noun) in enumerate(nouns.items(), start=1)
    }
    places = {name: place for place, name in enumerate(nouns)}
    told = {
        "id": item.id,
        "image": item.files["image"],
        "prompt": named(item.data["caption"], words, item.id),
        "references": [item.files[f"reference-{name}"] for name in nouns],
        "nouns": list(nouns.values()),
        "kinds": [kind] * len(nouns),
        "relation": relation and [places[relation[0]], relation[1], places[relation[2]]],
        "task": item.data["task"],
        "license": item.license,
        "consent": item.consent,
        "sources": list(item.sources),
    }
    return {key: value for key, value in told.items() if value is not None}


def _shown(item: Item, line: Mapping[str, Any]) -> tuple[str, list[Cell]]:
    """A row of the sheet: the words to train on, the picture, and of each subject both others.

    Of an edited one also the picture before, with the least similarity of a subject to itself.
    """
    seen = tuple(face.box for face in faces_of(item)) if "faces" in item.data else None
    cells = [Cell(item.files["image"], "target", seen)]
    if "unedited" in item.files:
        boxes = seen and tuple(Box(*one["box"]) for one in item.data["edited"])
        least = min(one["similarity"] for one in item.data["edited"])
        cells.insert(0, Cell(item.files["unedited"], f"before the edit: {least:.2f}", boxes))
    for one in item.data["people"]:
        name, noun = one["name"], item.data["nouns"][one["name"]]
        face = (Box(*one["shown"]),) if one.get("shown") else None
        words = f"drawn again: {one['similarity']:.2f}"
        cells.append(Cell(item.files[f"crop-{name}"], f"{noun}, cut out"))
        cells.append(Cell(item.files[f"reference-{name}"], words, face))
    return f"{item.id} ({item.data['task']}): {line['prompt']}", cells
