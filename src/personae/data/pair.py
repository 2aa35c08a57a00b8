"""`personae data pair`: from clips to examples of several people with references of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from personae.compute.runs import write_atomic
from personae.compute.workers import Workers
from personae.data.pipeline.aesthetic import Aesthetic
from personae.data.pipeline.clips import Frames, read_clips
from personae.data.pipeline.duplicates import Unlike
from personae.data.pipeline.items import Item
from personae.data.pipeline.pairs import Pairs
from personae.data.pipeline.people import Faces
from personae.data.pipeline.resembling import Described, Distinct
from personae.data.pipeline.result import SHEET_ROWS, Cell, write_sheet
from personae.data.pipeline.runner import Account, Progress, run_pipeline
from personae.data.pipeline.step import Licensed, Step, WholeStep
from personae.errors import RequestError
from personae.subjects.box import Box

__all__ = ["PairTask", "make_pairs", "pair_lines", "pair_steps"]


@dataclass(frozen=True, kw_only=True)
class PairTask:
    """What is made of a folder of clips.

    Attributes:
        clips: albums of clips; see `personae.data.pipeline.clips`.
        out: the pipeline's folder; ``examples.jsonl`` and ``cast.jsonl`` in it are the result.
        frames, faces, pairs: the steps, with their settings.
        unlike: which frames are near duplicates by their hashes, in whatever album; None: none.
        distinct: and by what they show; None: nobody looks.
        aesthetic: which pictures look too bad; None: nobody looks.
        licenses: with ``require_license``, the only ones that go on; none named: any.
        require_license: does what has no license go no further?
        subject_words: how prompts name a subject, from ``{noun}`` and ``{index}``, as the model to
            be trained has it.
        noun: what everybody is called.
        workers: who works; None: this process.
        blurred: are faces that were found made unrecognizable on the contact sheet?
    """

    clips: Path
    out: Path
    frames: Frames = field(default_factory=Frames)
    faces: Faces = field(default_factory=Faces)
    pairs: Pairs = field(default_factory=Pairs)
    unlike: Unlike | None = field(default_factory=Unlike)
    distinct: Distinct | None = None
    aesthetic: Aesthetic | None = None
    licenses: tuple[str, ...] = ()
    require_license: bool = False
    subject_words: str = "the {noun} from image {index}"
    noun: str = "person"
    workers: Workers | None = None
    blurred: bool = False

    def __post_init__(self) -> None:
        if "{noun}" not in self.subject_words:
            raise RequestError(
                f"subject words {self.subject_words!r}: expected {{noun}} and perhaps {{index}}"
            )
        if self.faces.eyes != self.pairs.eyes:
            raise RequestError(
                f"faces are found by {self.faces.eyes} and compared by {self.pairs.eyes}; "
                "expected the same eyes"
            )


def pair_steps(task: PairTask) -> list[Step | WholeStep]:
    """What clips go through."""
    checked = [Licensed(task.licenses)] if task.require_license else []
    steps: list[Step | WholeStep] = [*checked, task.frames]
    steps += [task.unlike] if task.unlike else []
    steps += [Described(), task.distinct] if task.distinct else []
    steps += [task.aesthetic] if task.aesthetic else []
    return [*steps, task.faces, task.pairs]


def make_pairs(task: PairTask, progress: Progress | None = None) -> Account:
    """Run the pipeline, then write ``examples.jsonl``, ``cast.jsonl`` and ``contact_sheet.png``.

    Every line of examples.jsonl is a target with one reference of each of its people; a target of
    which every person has several is there as often. cast.jsonl has every person of every target,
    with all references.

    Raises:
        DataError: the clips cannot be read.
        WorkError: the disk is full, or a worker died; run it again to go on.
    """
    account = run_pipeline(
        read_clips(task.clips),
        pair_steps(task),
        task.out,
        workers=task.workers,
        shard_items=1,
        progress=progress,
    )
    made = account.made_by
    lines = (line for item in account.items() for line in pair_lines(item, task, made))
    write_atomic(task.out / "examples.jsonl", (f"{line}\n" for line in lines))
    people = (line for item in account.items() for line in _cast_lines(item, task.noun))
    write_atomic(task.out / "cast.jsonl", (f"{line}\n" for line in people))
    rows = [_shown(item) for item in islice(account.items(), SHEET_ROWS)]
    write_sheet(task.out, rows, blurred=task.blurred)
    return account


def _shown(item: Item) -> tuple[str, list[Cell]]:
    """A target with what was found of its people, for the contact sheet."""
    people = item.data["people"]
    faces = tuple(Box(*one["box"]) for one in people)
    cells = [Cell(item.files["image"], "target", faces)]
    for number, one in enumerate(people):
        for place, origin in enumerate(one["from"]):
            words = f"{number}: {one['similarity'][place]:.2f}, from {origin}"
            inside = tuple(Box(*box) for box in one["shown"][place])
            cells.append(Cell(item.files[f"reference-{number}-{place}"], words, inside))
    return f"{item.id}: {len(people)} people", cells


def pair_lines(item: Item, task: PairTask, made_by: str | None = None) -> Iterator[str]:
    """Lines of examples.jsonl: the first references of all, the second of all, and so on."""
    people = item.data["people"]
    names = [task.subject_words.replace("{index}", str(k)) for k in range(1, len(people) + 1)]
    prompt = _listed([name.replace("{noun}", task.noun) for name in names])
    for place in range(min(len(one["from"]) for one in people)):
        line = {
            "id": f"{item.id}-{place}",
            "image": item.files["image"],
            "prompt": prompt,
            "references": [item.files[f"reference-{k}-{place}"] for k in range(len(people))],
            "nouns": [task.noun] * len(people),
            "kinds": ["person"] * len(people),
            "license": item.license,
            "consent": item.consent,
            "sources": [*item.sources[-1:], *(one["from"][place] for one in people)],
            "made_by": made_by,
        }
        yield json.dumps({key: value for key, value in line.items() if value is not None})


def _cast_lines(item: Item, noun: str) -> Iterator[str]:
    for number, one in enumerate(item.data["people"]):
        told = {"source": item.data.get("source"), "license": item.license, "consent": item.consent}
        about = {key: value for key, value in told.items() if value}
        paths = [item.files[f"reference-{number}-{place}"] for place in range(len(one["from"]))]
        line = {
            "id": f"{item.id}-{number}".replace("/", "-"),
            "noun": noun,
            "kind": "person",
            "references": [{"image": path, **about} for path in paths],
        }
        yield json.dumps(line)


def _listed(names: Sequence[str]) -> str:
    """Names as a sentence has them.

    >>> _listed(["ann"]), _listed(["ann", "bob", "cid"])
    ('ann', 'ann, bob and cid')
    """
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
