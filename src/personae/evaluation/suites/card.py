"""What a suite is: its card, its columns, and the rows that were published of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from personae.metrics.scoring import Protocol
from personae.subjects.subject import Kind

__all__ = ["OVERALL", "Average", "Column", "Fault", "Mark", "PublishedRow", "SuiteCard"]

OVERALL = "overall"
"""The line of a table that stands for all subsets."""

Mark = Literal["", "third party", "digitised", "derived", "second-hand"]
"""How far a published number is to be trusted: "" is the authors' own table."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a suite's table, made of the rows of one metric.

    Attributes:
        name: as the paper's table calls it.
        official: metric of its official rows; None: the column has none.
        strict: metric of its strict rows.
        kinds: of a metric of subjects, the kinds of subject that count; () for whole pictures.
        subsets: where the column stands; () everywhere.
        swapped: subsets where another (official, strict) metric stands in the column.
        scale: what a row's value is multiplied with.
        needs: what has to be given for the column to be measured at all.
    """

    name: str
    official: str | None
    strict: str | None
    kinds: tuple[Kind, ...] = ()
    subsets: tuple[str, ...] = ()
    swapped: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    scale: float = 1.0
    needs: str = ""
    higher_is_better: bool = True

    def stands_in(self, subset: str) -> bool:
        """Is it asked for in this subset?"""
        return not self.subsets or subset in self.subsets

    def metric(self, subset: str, protocol: Protocol) -> str | None:
        """The metric whose rows are meant."""
        official, strict = self.swapped.get(subset, (self.official, self.strict))
        return official if protocol == "official" else strict


@dataclass(frozen=True, kw_only=True)
class Average:
    """A column that is the unweighted mean of others: unmeasured where one of them is."""

    name: str
    of: tuple[str, ...]
    subsets: tuple[str, ...] = ()

    def stands_in(self, subset: str) -> bool:
        """Is it asked for in this subset?"""
        return not self.subsets or subset in self.subsets


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table: whose, of which subset, by column; and who says so."""

    model: str
    subset: str
    values: Mapping[str, float]
    source: str
    mark: Mark = ""


@dataclass(frozen=True)
class Fault:
    """A known fault of the published program or data, and what is done about it here."""

    fault: str
    here: str


@dataclass(frozen=True, kw_only=True)
class SuiteCard:
    """A suite as a value.

    Attributes:
        name: on the command line.
        title: in tables.
        paper: and its arXiv number.
        source: where the data lies.
        licence: of the data.
        sizes: scenes by subset, as published; the subsets of the table, in its order.
        seeds: pictures a scene, as published.
        grid: a published picture holds so many by so many; 1 is one picture a file.
        columns: what is measured.
        averages: what is made of them.
        overall: columns that have a mean over the subsets, in the line `OVERALL`.
        published: rows to stand beside ours.
        faults: known ones.
        eyes: the paper's, in words.
        unverified: why the loader could not be held against the published files; "" where it could.
        data_tree: what the folder of ``--data`` holds.
    """

    name: str
    title: str
    paper: str
    source: str
    licence: str
    sizes: Mapping[str, int]
    seeds: int
    columns: tuple[Column, ...]
    eyes: str
    data_tree: str
    grid: int = 1
    averages: tuple[Average, ...] = ()
    overall: tuple[str, ...] = ()
    published: tuple[PublishedRow, ...] = ()
    faults: tuple[Fault, ...] = ()
    unverified: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Columns and averages, in the table's order."""
        names = [column.name for column in self.columns]
        return tuple(dict.fromkeys([*names, *(average.name for average in self.averages)]))
