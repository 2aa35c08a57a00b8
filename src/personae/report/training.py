"""One HTML file for a training run: what was trained, its curves, what was skipped, its samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from personae.config import flatten, read_toml
from personae.errors import RequestError
from personae.report.page import content_policy, page_file, write_whole
from personae.report.thumbnails import ThumbnailSize, thumbnails
from personae.report.training_curves import Section, sections_of
from personae.training.card_use import base_name
from personae.training.history import History, read_history

__all__ = ["is_training_run", "write_training_report"]

_SHEETS_BYTES = 16_000_000  # of all sample sheets together
_MOST_SHEET_BYTES, _SHEET_PX = 700_000, 1400
_MOST_NOTES = 60
_LOG, _RECIPE = "log.jsonl", "recipe.resolved.toml"


@dataclass(frozen=True)
class _Sheet:
    step: int
    file: str
    data: str | None
    why: str | None


@dataclass(frozen=True)
class _Look:
    """One measure of validation: at the first look, at the best step, at the last."""

    name: str
    first: float | None
    best: float | None
    last: float | None
    is_examiner: bool


@dataclass(frozen=True)
class _Page:
    """All that the template shows."""

    name: str
    words: str
    steps: int
    planned: int | None
    seconds: float | None
    best: int | None
    cautions: Sequence[str]
    looks: Sequence[_Look]
    look_steps: tuple[int, int] | None
    sections: Sequence[Section]
    recipe: Mapping[str, Mapping[str, str]]
    skipped: Sequence[tuple[int, str]]
    notes: Sequence[tuple[int, str]]
    num_unmeasured: int
    sheets: Sequence[_Sheet] = field(default_factory=tuple)


def is_training_run(folder: Path) -> bool:
    """Is this the folder of a training run, and not of results?"""
    return (folder / _LOG).is_file() and (folder / _RECIPE).is_file()


def write_training_report(run: Path, out: Path | None = None) -> Path:
    """Write ``report.html`` of a training run from its folder alone, and return its path.

    Args:
        run: folder with recipe.resolved.toml and log.jsonl; samples/ and the rest may be missing.
        out: the file; by default report.html in the run's folder.

    Raises:
        RequestError: this is not the folder of a training run.
        DataError: a line within the log is broken.
        WorkError: the page cannot be written; an older one is left as it was.
    """
    run = Path(run)
    if not is_training_run(run):
        raise RequestError(f"{run}: expected a training run, with {_RECIPE} and {_LOG}")
    page = _page(run, read_toml(run / _RECIPE), read_history(run / _LOG))
    place = run / "report.html" if out is None else Path(out)
    write_whole(place, _pieces(page))
    return place


def _pieces(page: _Page) -> Iterator[str]:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    style = "\n".join(page_file(name) for name in ("page.css", "cards.css", "training.css"))
    template = environment.from_string(page_file("training.html.j2"))
    return template.generate(page=page, style=Markup(style), policy=content_policy("", style))


def _page(run: Path, recipe: Mapping[str, Any], log: History) -> _Page:
    seconds = log.series("seconds")
    planned = recipe.get("training", {}).get("steps")
    noted = [(row["step"], str(note)) for row in log.rows for note in row.get("notes") or ()]
    unmeasured = sum(int(value) for _, value in log.series("unmeasured"))
    steps = max((row["step"] for row in log.training), default=0)
    return _Page(
        name=run.resolve().name,
        words=_words(recipe),
        steps=steps,
        planned=planned,
        seconds=seconds[-1][1] if seconds else None,
        best=log.best_step,
        cautions=_cautions(log, steps, planned),
        looks=_looks(log),
        look_steps=_look_steps(log),
        sections=sections_of(log, recipe),
        recipe=_recipe(recipe),
        skipped=log.skipped[:_MOST_NOTES],
        notes=noted[:_MOST_NOTES],
        num_unmeasured=unmeasured,
        sheets=_sheets(run / "samples"),
    )


def _words(recipe: Mapping[str, Any]) -> str:
    """What was trained, in a line."""
    lora, base = recipe.get("lora"), base_name(str(recipe.get("base", "an unnamed model")))
    what = f"an adapter of rank {lora.get('rank')} for" if lora else "all weights of"
    methods = {"rerefl": "ReReFL", "grpo": "GRPO"}
    how = next((name for key, name in methods.items() if key in recipe), "flow matching")
    weights = recipe.get("rewards", {}).get("weights", {})
    told = ", ".join(f"{name} x {weight:g}" for name, weight in weights.items())
    return f"{what} {base}, by {how}" + (f", rewarded for {told}" if told else "")


def _cautions(log: History, steps: int, planned: int | None) -> list[str]:
    cautions = [f"{note}; the run still goes on, or was killed." for note in log.notes]
    if not log.training:
        cautions.append("No step is in the log yet.")
    elif planned is not None and steps < planned:
        cautions.append(f"{steps:,} of {planned:,} steps are in the log.")
    return cautions


def _look_steps(log: History) -> tuple[int, int] | None:
    steps = [step for name in log.names() if _is_look(name) for step, _ in log.series(name)]
    return (min(steps), max(steps)) if steps else None


def _is_look(name: str) -> bool:
    return name.startswith("validation.") and name != "validation.seconds"


def _looks(log: History) -> list[_Look]:
    """Every measure of validation; the third measure first, the examiner's last."""
    looks = []
    for name in filter(_is_look, log.names()):
        series, short = log.series(name), name.removeprefix("validation.")
        at_best = dict(series).get(log.best_step) if log.best_step is not None else None
        is_examiner = short.startswith("examiner_")
        looks.append(_Look(short, series[0][1], at_best, series[-1][1], is_examiner))
    return sorted(looks, key=lambda look: (look.is_examiner, look.name != "features"))


def _recipe(data: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Section -> key -> value, in the recipe's order; what stands above all sections first."""
    tables: dict[str, dict[str, str]] = {"": {}}
    for key, value in data.items():
        if isinstance(value, Mapping):
            tables[key] = {name: base_name(str(item)) for name, item in flatten(value).items()}
        else:
            tables[""][key] = base_name(str(value))
    return {name: table for name, table in tables.items() if table}


def _sheets(folder: Path) -> list[_Sheet]:
    """Sample sheets by step, small enough for all of them to fit into one file."""
    found = {
        int(path.stem.removeprefix("step-")): path
        for path in folder.glob("step-*.png")
        if path.stem.removeprefix("step-").isdecimal()
    }
    paths = dict(sorted(found.items()))
    budget = min(_MOST_SHEET_BYTES, _SHEETS_BYTES // max(1, len(paths)))
    made = thumbnails((path, ThumbnailSize(_SHEET_PX, budget)) for path in paths.values())
    return [
        _Sheet(step, path.name, small.data, small.reason)
        for (step, path), small in zip(paths.items(), made, strict=True)
    ]
