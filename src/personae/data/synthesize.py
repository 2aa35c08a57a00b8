"""`personae data synthesize`: pictures of several subjects, and each of them drawn again alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from personae.compute.runs import write_atomic
from personae.compute.workers import Workers
from personae.config import apply_settings, build_config, read_toml
from personae.data.pipeline.alone import Alike, Located, Redrawn
from personae.data.pipeline.drawn import Drawn
from personae.data.pipeline.duplicates import Unlike
from personae.data.pipeline.items import Item
from personae.data.pipeline.people import Faces
from personae.data.pipeline.plans import TASKS, Planner, TemplatePlanner, WorldPlanner, plans
from personae.data.pipeline.result import SHEET_ROWS, write_sheet
from personae.data.pipeline.runner import Account, Progress, run_pipeline
from personae.data.pipeline.step import Licensed, Step, WholeStep
from personae.errors import RequestError
from personae.generation.prompts import named

__all__ = ["SynthesisRecipe", "read_synthesis", "synthesis_steps", "synthesize"]


@dataclass(frozen=True, kw_only=True)
class SynthesisRecipe:
    """A set to be made, and how.

    Attributes:
        count: plans; fewer examples come of them.
        seed: of plans.
        tasks: shares of PSR's seven.
        planner: ``world`` (what the toon world can draw) or ``templates`` (words for a model).
        world, templates: the settings of either.
        license, consent: of all that is made; they stand in every line.
        licenses: with ``require_license``, the only ones that go on.
        require_license: does what has no license go no further?
        drawn: who draws the pictures of several.
        unlike: how near duplicates are dropped.
        faces: who finds people.
        redrawn: the single-subject model.
        alike: which pairs of reference and target go on.
        subject_words: how prompts name a subject, as the model to be trained has it.
        shard_items: plans a shard.
        blurred: are pictures of the contact sheet made so coarse that nobody is known?
    """

    count: int = 100
    seed: int = 0
    tasks: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(TASKS, 1.0))
    planner: Literal["world", "templates"] = "world"
    world: WorldPlanner = field(default_factory=WorldPlanner)
    templates: TemplatePlanner | None = None
    license: str | None = None
    consent: str | None = None
    licenses: tuple[str, ...] = ()
    require_license: bool = False
    drawn: Drawn = field(default_factory=Drawn)
    unlike: Unlike = field(default_factory=Unlike)
    faces: Faces = field(default_factory=lambda: Faces(least=2))
    redrawn: Redrawn = field(default_factory=Redrawn)
    alike: Alike = field(default_factory=Alike)
    subject_words: str = "the {noun} from image {index}"
    shard_items: int = 16
    blurred: bool = False

    def __post_init__(self) -> None:
        eyes = {self.faces.eyes, self.redrawn.eyes, self.alike.eyes}
        if len(eyes) > 1:
            raise RequestError(
                f"faces, redrawn and alike: expected the same eyes; got {sorted(eyes)}"
            )
        if self.planner == "templates" and self.templates is None:
            raise RequestError("planner: 'templates' needs a section [templates] with its nouns")
        if (self.planner == "world") != (self.drawn.by == "world"):
            raise RequestError(
                f"planner {self.planner!r} and drawn.by {self.drawn.by!r}: the toon world draws "
                "what it planned itself, and a model what templates say"
            )
        if "{noun}" not in self.subject_words:
            raise RequestError(
                f"subject_words: expected a text with {{noun}}; got {self.subject_words!r}"
            )

    @property
    def asked(self) -> Planner:
        """Who plans."""
        return self.world if self.planner == "world" or self.templates is None else self.templates


def read_synthesis(path: Path, settings: Sequence[str] = ()) -> SynthesisRecipe:
    """A recipe with ``--set`` over it.

    Raises:
        DataError: no such file, or no TOML.
        RequestError: a key or a value that it cannot have.
    """
    data = apply_settings(read_toml(path), settings)
    return build_config(SynthesisRecipe, data, str(path))


def synthesis_steps(recipe: SynthesisRecipe) -> list[Step | WholeStep]:
    """What plans go through."""
    checked = [Licensed(recipe.licenses)] if recipe.require_license else []
    found: list[Step | WholeStep] = [recipe.drawn, recipe.unlike, recipe.faces, Located()]
    return [*checked, *found, recipe.redrawn, recipe.alike]


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
    source = plans(
        recipe.asked,
        recipe.count,
        recipe.tasks,
        recipe.seed,
        license=recipe.license,
        consent=recipe.consent,
    )
    account = run_pipeline(
        source,
        synthesis_steps(recipe),
        out,
        workers=workers,
        shard_items=recipe.shard_items,
        progress=progress,
    )
    items = list(account.items())
    lines = (json.dumps(_line(item, recipe.subject_words)) for item in items)
    write_atomic(out / "examples.jsonl", "".join(f"{line}\n" for line in lines))
    write_sheet(out, [_shown(item) for item in items[:SHEET_ROWS]], blurred=recipe.blurred)
    return account


def _line(item: Item, subject_words: str) -> dict[str, object]:
    """A line of examples.jsonl; its relation by the places of its two subjects."""
    nouns = item.data["nouns"]
    words = {
        name: subject_words.replace("{index}", str(place)).replace("{noun}", noun)
        for place, (name, noun) in enumerate(nouns.items(), start=1)
    }
    told = {
        "id": item.id,
        "image": item.files["image"],
        "prompt": named(item.data["prompt"], words, item.id),
        "references": [item.files[f"reference-{name}"] for name in nouns],
        "nouns": list(nouns.values()),
        "kinds": ["person"] * len(nouns),
        "task": item.data["task"],
        "license": item.license,
        "consent": item.consent,
        "sources": list(item.sources),
    }
    return {key: value for key, value in told.items() if value is not None}


def _shown(item: Item) -> tuple[str, list[tuple[str, str]]]:
    cells = [(item.files["image"], "target")]
    for one in item.data["people"]:
        name = one["name"]
        cells.append((item.files[f"crop-{name}"], f"{name}: cut out"))
        cells.append((item.files[f"reference-{name}"], f"{name}: {one['similarity']:.2f}"))
    return f"{item.id} ({item.data['task']}): {item.data['prompt']}", cells
