"""The pictures of the page: worst first, in blocks of one page each, ready to be written.

The page holds three kinds of JSON: the scenes, an index (columns of numbers to sort and filter
by) and blocks (everything shown of 24 pictures, with the thumbnails first needed there). A
browser parses the first two at once and a block only when one of its pictures is shown.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from personae.report.casts import Casts, collect_casts
from personae.report.findings import findings, flags_of, presence_of
from personae.report.records import Picture, Run
from personae.report.thumbnails import Thumbnail, ThumbnailSize, is_there, size_for, thumbnails

__all__ = ["NO_TWIN", "PAGE", "Columns", "Gallery", "plan_gallery"]

PAGE = 24
"""Pictures on one page of the gallery, and in one block."""
NO_TWIN = -1
"""Stands for the flags of a twin that is not there."""

Columns = list[list[float | None]]


@dataclass(frozen=True)
class Gallery:
    """The plan of a page: pictures in order, each with its twin, and what goes in which block.

    ``labels`` names the columns of both runs, those of ``run`` first; ``flags`` are the bits of
    each picture's findings, ``twin_flags`` those of its twin (-1 where it has none).
    """

    run: Run
    twin: Run | None
    out: Path
    order: list[Picture]
    labels: list[str]
    higher: list[bool]
    flags: list[int]
    twin_flags: list[int]
    casts: Casts

    def columns(self, run: Run) -> Columns:
        """One list a label: the mean of each picture in order, None where unmeasured."""
        places = {label: column for column, label in enumerate(run.labels())}
        pictures = [run.pictures.get((picture.scene, picture.seed)) for picture in self.order]
        return [
            [
                _rounded(picture.mean(places[label])) if picture and label in places else None
                for picture in pictures
            ]
            for label in self.labels
        ]

    def index(self, columns: Columns, twin_columns: Columns | None) -> dict[str, Any]:
        """What sorting and filtering need, in the default order."""
        return {
            "page": PAGE,
            "side": self._picture_size.side,
            "labels": self.labels,
            "higher": self.higher,
            "main": self.run.main_column(),
            "columns": columns,
            "twin": twin_columns,
            "names": [run.name for run in (self.run, self.twin) if run],
            "scene": self.casts.scene_at,
            "flags": self.flags,
            "twinFlags": self.twin_flags,
            "home": self.casts.first_used,
        }

    def blocks(self, progress: Callable[[int, int], None] | None = None) -> Iterator[str]:
        """JSON text of each block in order; pictures are read as the blocks are taken."""
        made = thumbnails(self._jobs())
        for number, pictures in enumerate(self._pages()):
            references = {
                str(k): _picture_json(next(made)) for k in self.casts.by_block.get(number, [])
            }
            entries = [self._entry(picture, made) for picture in pictures]
            if progress is not None:
                progress(number * PAGE + len(pictures), len(self.order))
            yield json.dumps({"refs": references, "entries": entries}, separators=(",", ":"))

    @property
    def _picture_size(self) -> ThumbnailSize:
        twins = sum(flag != NO_TWIN for flag in self.twin_flags)
        return size_for(len(self.order) + twins)

    def _pages(self) -> Iterator[list[Picture]]:
        for start in range(0, len(self.order), PAGE):
            yield self.order[start : start + PAGE]

    def _jobs(self) -> Iterator[tuple[Path | None, ThumbnailSize]]:
        # The same walk as blocks(): a block's new references, then each picture and its twin.
        # Taken once: it counts all pictures.
        picture_size = self._picture_size
        reference_size = _reference_size(len(self.casts.references))
        for number, pictures in enumerate(self._pages()):
            for k in self.casts.by_block.get(number, []):
                yield self.casts.references[k], reference_size
            for picture in pictures:
                for run, side in self._sides(picture):
                    yield run.image_path(side), picture_size

    def _sides(self, picture: Picture) -> list[tuple[Run, Picture]]:
        sides = [(self.run, picture)]
        other = self.twin.pictures.get((picture.scene, picture.seed)) if self.twin else None
        return [*sides, (self.twin, other)] if self.twin and other else sides

    def _entry(self, picture: Picture, made: Iterator[Thumbnail]) -> dict[str, Any]:
        sides = [self._side(run, side, next(made)) for run, side in self._sides(picture)]
        return {"seed": picture.seed, "sides": sides}

    def _side(self, run: Run, picture: Picture, thumbnail: Thumbnail) -> dict[str, Any]:
        labels = run.labels()
        path = run.image_path(picture)
        # A link is offered only where the picture was there when the page was made.
        there = path is not None and is_there(path)
        return {
            "href": _link(path, self.out.parent) if path is not None and there else None,
            "file": picture.image,
            **_picture_json(thumbnail),
            "said": findings(picture, labels),
            "presence": {
                subject: [state.status, state.copies, state.reason]
                for subject, state in presence_of(picture).items()
            },
            "groups": [json.loads(group) for group in picture.groups],
            "scores": [
                [self.labels.index(labels[s.column]), s.subject, _rounded(s.value), s.reason]
                for s in picture.scores
            ],
        }


def plan_gallery(run: Run, out: Path, twin: Run | None, higher: Callable[[str], bool]) -> Gallery:
    """Decide order, labels, flags and blocks; no picture is read yet."""
    order = _worst_first(run, higher)
    own = run.labels()
    labels = own + [label for label in (twin.labels() if twin else []) if label not in own]
    return Gallery(
        run=run,
        twin=twin,
        out=out,
        order=order,
        labels=labels,
        higher=[higher(label.split(" (")[0]) for label in labels],
        flags=[flags_of(findings(picture, own)) for picture in order],
        twin_flags=[_twin_flags(twin, picture) for picture in order],
        casts=collect_casts(run, order, PAGE),
    )


def _twin_flags(twin: Run | None, picture: Picture) -> int:
    other = twin.pictures.get((picture.scene, picture.seed)) if twin else None
    return NO_TWIN if twin is None or other is None else flags_of(findings(other, twin.labels()))


def _worst_first(run: Run, higher: Callable[[str], bool]) -> list[Picture]:
    main = run.main_column()
    better = {column for (metric, _), column in run.columns.items() if higher(metric)}

    def height(picture: Picture) -> tuple[bool, float, str, str]:
        value = None if main is None else picture.mean(main)
        if value is None:
            found = [s.value for s in picture.scores if s.column in better and s.value is not None]
            value = sum(found) / len(found) if found else None
        return (value is None, value or 0.0, picture.scene, str(picture.seed))

    return sorted(run.pictures.values(), key=height)


def _reference_size(count: int) -> ThumbnailSize:
    # References are shown small and get a third of the budget at most.
    size = size_for(3 * count)
    return ThumbnailSize(min(size.side, 160), min(size.max_bytes, 6_000))


def _picture_json(thumbnail: Thumbnail) -> dict[str, Any]:
    return {"data": thumbnail.data, "why": thumbnail.reason}


def _link(path: Path, folder: Path) -> str:
    # Quoting also defuses names that look like a scheme ("javascript:...").
    return quote(Path(os.path.relpath(path, folder)).as_posix(), safe="/")


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)
