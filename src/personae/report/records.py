"""What a results folder says: its rows by picture, its scenes, its facts.

Rows are read as a stream, and of each only what the page shows is kept, so that a run of
20,000 pictures (some 600,000 rows) fits in a few hundred megabytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from personae.errors import DataError

__all__ = ["Picture", "Presence", "Run", "Score", "SubjectFacts", "read_run"]

MAIN_METRICS = ("strict_matching_reward", "matching_reward")
_MARKS = ("strangers", "duplicates")


class Score(NamedTuple):
    """One row: its column, subject (None: the whole picture), eyes, value or the reason why not."""

    column: int
    subject: str | None
    eyes: str
    value: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a subject was found in a picture: found, twice, absent or unmeasured."""

    status: str
    copies: int = 1
    reason: str | None = None


@dataclass(slots=True)
class Picture:
    """All that is shown of one picture; filled row by row.

    ``groups`` holds one JSON text for each group of people or things (boxes and matrix).
    """

    scene: str
    seed: Any
    image: str | None = None
    scores: list[Score] = field(default_factory=list)
    presence: dict[str, Presence] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)

    def mean(self, column: int) -> float | None:
        """Mean of the measured values of one column over subjects and groups, or None.

        >>> picture = Picture("pool", 0, scores=[Score(0, "a", "", 1.0), Score(0, "b", "", 0.5)])
        >>> picture.mean(0), picture.mean(1)
        (0.75, None)
        """
        found = [s.value for s in self.scores if s.column == column and s.value is not None]
        return sum(found) / len(found) if found else None


@dataclass(frozen=True)
class SubjectFacts:
    """A subject of a scene as the page shows it: id, noun, kind, files of its references."""

    id: str
    noun: str = ""
    kind: str = ""
    references: tuple[Path, ...] = ()


@dataclass
class Run:
    """A results folder: pictures by (scene, seed), columns (metric, protocol), facts, notes."""

    folder: Path
    facts: dict[str, Any]
    summary: dict[str, Any] | None
    pictures: dict[tuple[str, Any], Picture] = field(default_factory=dict)
    columns: dict[tuple[str, str], int] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    casts: dict[str, dict[str, SubjectFacts]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the page calls this run: its folder's name."""
        return self.folder.resolve().name

    def labels(self) -> list[str]:
        """A label for each column: the metric, and its protocol where the run holds several."""
        several = len({protocol for _, protocol in self.columns}) > 1
        return [
            f"{metric} ({protocol})" if several else metric for metric, protocol in self.columns
        ]

    def main_column(self) -> int | None:
        """The column that orders the pictures, or None where no matching reward was measured."""
        for name in MAIN_METRICS:
            for (metric, _), column in self.columns.items():
                if metric == name:
                    return column
        return None

    def image_path(self, picture: Picture) -> Path | None:
        """Where the picture lies, or None where the run had none."""
        if picture.image is None:
            return None
        return _below(_below(self.folder, str(self.facts.get("images", "."))), picture.image)


def read_run(folder: Path) -> Run:
    """Read results.jsonl, summary.json, run.json and the scenes that run.json names.

    Raises:
        DataError: there is no results.jsonl, or one of its lines is broken; a last line that
            was cut off (the run still goes on, or was killed) is left out, with a note.
    """
    facts = _read_object(folder / "run.json") or {}
    run = Run(folder, facts, _read_object(folder / "summary.json"))
    _add_scenes(run)
    for number, row in _lines(folder / "results.jsonl", run.notes):
        try:
            _add_row(run, row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{folder / 'results.jsonl'}:{number}: expected a row with scene, seed, metric, "
                f"subject, protocol, value; got a broken one ({error!r}); mend or remove the line"
            ) from error
    return run


def _below(base: Path, text: str) -> Path:
    path = Path(text)
    return path if path.is_absolute() else base / path


def _read_object(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: expected JSON; {error}; run the evaluation again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object; got {type(content).__name__}")
    return content


def _lines(path: Path, notes: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise DataError(f"{path} is missing; expected the rows of a run; run `personae evaluate`")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except ValueError as error:
                if not line.endswith(b"\n"):
                    notes.append(f"{path.name}: the last line is cut off; the run is not complete")
                    return
                raise DataError(
                    f"{path}:{number}: expected JSON; {error}; mend the line"
                ) from error


def _add_row(run: Run, row: dict[str, Any]) -> None:
    key = (intern(str(row["scene"])), row.get("seed"))
    picture = run.pictures.get(key)
    if picture is None:
        picture = run.pictures[key] = Picture(*key)
    if row.get("image") is not None:
        picture.image = str(row["image"])
    column = (intern(str(row["metric"])), intern(str(row.get("protocol") or "")))
    position = run.columns.setdefault(column, len(run.columns))
    subject = None if row.get("subject") is None else intern(str(row["subject"]))
    value = _number(row.get("value"))
    reason = None if value is not None else intern(str(row.get("unmeasured") or "no reason given"))
    eyes = intern(str(row.get("eyes") or ""))
    picture.scores.append(Score(position, subject, eyes, value, reason))
    details = row.get("details") or {}
    if column[0] == "presence" and subject is not None:
        picture.presence[subject] = _presence(value, reason, details)
    if "similarity" in details:
        # One group comes once; another protocol's row of the same group adds nothing to draw.
        text = json.dumps(_group(details), separators=(",", ":"))
        if text not in picture.groups:
            picture.groups.append(text)


def _number(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    # Python reads NaN where JSON has none; it is no measurement.
    return number if math.isfinite(number) else None


def _presence(value: float | None, reason: str | None, details: dict[str, Any]) -> Presence:
    if value is None:
        return Presence("unmeasured", 0, reason)
    copies = int(details.get("copies") or (0 if value == 0 else 1 if value == 1 else 2))
    if details.get("absent") or value == 0:
        return Presence("absent", 0)
    return Presence("found" if copies == 1 else "twice", copies)


def _group(details: dict[str, Any]) -> dict[str, Any]:
    """A group's boxes and matrix, checked here once: (subjects, boxes) cells, places in range."""
    subjects = [str(subject) for subject in details.get("subjects") or []]
    boxes = [[round(float(side), 1) for side in box] for box in details.get("boxes") or []]
    matrix = [[_cell(cell) for cell in row] for row in details["similarity"]]
    match = [None if box is None else int(box) for box in details.get("match") or []]
    if not boxes:
        matrix, match = [[] for _ in subjects], [None for _ in subjects]
    marked = {name: [int(box) for box in details.get(name) or []] for name in _MARKS}
    places = [*(box for box in match if box is not None), *marked["strangers"]]
    shape = [len(row) for row in matrix], len(match), {len(box) for box in boxes} | {4}
    if shape != ([len(boxes)] * len(subjects), len(subjects), {4}):
        raise ValueError("details: similarity, match and boxes do not fit the subjects")
    if any(not 0 <= box < len(boxes) for box in [*places, *marked["duplicates"]]):
        raise ValueError(f"details: a box index is outside the {len(boxes)} boxes")
    size = details.get("size")
    return marked | {
        "kind": str(details.get("kind") or "thing"),
        "subjects": subjects,
        "boxes": boxes,
        "similarity": matrix,
        "match": match,
        "size": None if size is None else [int(side) for side in size],
        "notes": [str(note) for note in details.get("notes") or []],
    }


def _cell(value: Any) -> float | None:
    number = _number(value)
    return None if number is None else round(number, 3)


def _add_scenes(run: Run) -> None:
    path = _below(run.folder, str(run.facts.get("scenes") or "scenes.jsonl"))
    if path.is_file():
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if not line.strip():
                continue
            try:
                _add_scene(run, json.loads(line), path.parent)
            except (ValueError, KeyError, TypeError, AttributeError):
                run.notes.append(f"{path.name}: line {number} could not be read as a scene")
    else:
        run.notes.append(f"{path.name} was not found; prompts and nouns are not shown")
    for scene, cast in (run.facts.get("references") or {}).items():
        for subject, paths in cast.items():
            files = tuple(_below(run.folder, str(name)) for name in paths)
            known = run.casts.setdefault(scene, {}).get(subject, SubjectFacts(subject))
            run.casts[scene][subject] = SubjectFacts(subject, known.noun, known.kind, files)


def _add_scene(run: Run, scene: dict[str, Any], folder: Path) -> None:
    name = str(scene["id"])
    run.prompts[name] = str(scene.get("prompt") or "")
    cast = run.casts.setdefault(name, {})
    for subject, facts in (scene.get("subjects") or {}).items():
        references = facts.get("references") or []
        names = [item["image"] if isinstance(item, dict) else item for item in references]
        files = tuple(_below(folder, str(text)) for text in names)
        noun, kind = str(facts.get("noun") or ""), str(facts.get("kind") or "")
        cast[subject] = SubjectFacts(subject, noun, kind, files)
