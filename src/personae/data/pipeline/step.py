"""What a step is: a pure function of a group of items, with what it needs built once a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from personae.data.pipeline.items import Item, Lost, Made, safe_path
from personae.errors import DataError
from personae.subjects.picture import read_picture

__all__ = ["Files", "Licensed", "Step", "WholeStep", "kept_or_lost", "made_of"]


@dataclass(eq=False)
class Files:
    """Where a step reads the files of its items, and writes those that it makes.

    Attributes:
        root: the pipeline's folder; paths of items are relative to it.
        folder: of the shard that is being made, relative to ``root``.
        part: where that shard grows until it is whole.
        written: sizes in bytes of what was written, by name.
    """

    root: Path
    folder: str
    part: Path
    written: dict[str, int] = field(default_factory=dict)

    def path(self, item: Item, name: str) -> Path:
        """A file of an item.

        Raises:
            DataError: the item has none of that name, or one outside of the pipeline's folder.
        """
        if name not in item.files:
            raise DataError(f"{item.id}: no file {name!r}; it has {sorted(item.files)}")
        told = item.files[name]
        if Path(told).is_absolute():  # what came in lies where its owner keeps it
            return Path(told)
        return self.root / safe_path(told)

    def picture(self, item: Item, name: str = "image") -> np.ndarray:
        """A picture of an item, (H, W, 3) uint8.

        Raises:
            DataError: there is none, or it cannot be read.
        """
        return read_picture(self.path(item, name))

    def save(self, name: str, picture: np.ndarray) -> str:
        """Keep a picture; gives the path for an item's ``files``."""
        path = self.part / "files" / safe_path(f"{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
        self.written[f"{name}.png"] = path.stat().st_size
        return f"{self.folder}/files/{name}.png"


class Step(Protocol):
    """A step over groups of items; small and frozen, so that it can be sent to another process.

    A step that uses weights has also ``models() -> Mapping[str, str]``: a checksum or a commit by
    name. Other weights make its shards anew, and ``done.json`` tells which they were.

    Attributes:
        name: of its folder: letters, digits, ``-_``.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """All that its output depends on beside its items, as JSON: settings, names of models."""
        ...

    def build(self) -> Any:
        """What it works with (models), once a worker."""
        ...

    def work(self, state: Any, items: Sequence[Item], files: Files) -> Made:
        """What becomes of the items of one group.

        Raises:
            DataError: nothing could be made of the group; all its items count as failed.
        """
        ...


@runtime_checkable
class WholeStep(Protocol):
    """A step that must see all items at once to say which go on: duplicates, shares."""

    @property
    def name(self) -> str:
        """Of its folder."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        ...

    def decide(self, items: Iterable[Item]) -> Mapping[str, Lost]:
        """Who goes no further, by id; items come in the order of their shards."""
        ...


def made_of(outcomes: Iterable[Item | Lost]) -> Made:
    """What came of items, each made or lost."""
    found = list(outcomes)
    made = tuple(one for one in found if isinstance(one, Item))
    return Made(made, tuple(one for one in found if isinstance(one, Lost)))


def kept_or_lost(items: Sequence[Item], step: str, judge: Callable[[Item], Lost | None]) -> Made:
    """What a filter makes of items: each goes on under its own id, or is lost."""
    return made_of(judge(item) or item.child(item.id, step) for item in items)


@dataclass(frozen=True)
class Licensed:
    """Drops what may not be used: items without one of these licenses (none named: without any)."""

    allowed: tuple[str, ...] = ()
    name: str = "licensed"

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {"allowed": list(self.allowed)}

    def build(self) -> None:
        """Nothing."""

    def work(self, state: None, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        return kept_or_lost(items, self.name, self._verdict)

    def _verdict(self, item: Item) -> Lost | None:
        if not item.license:
            return Lost(item.id, "no license is told")
        if self.allowed and item.license not in self.allowed:
            return Lost(item.id, "its license is not one of those required", detail=item.license)
        return None
