"""How answers are printed: tables for people, JSON for machines, errors on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from personae.evaluation.evaluate import Progress as Tell

__all__ = [
    "interval",
    "number",
    "print_json",
    "print_table",
    "progress_bar",
    "say",
    "summary_rows",
]


def say(text: str) -> None:
    """A remark for a person, on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def print_json(data: object) -> None:
    """A machine's answer, on standard output."""
    sys.stdout.write(json.dumps(data, indent=1, allow_nan=False) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output; wide enough not to lose a word when it goes to a file."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=160)
    console.print(table)


def number(value: float | None, digits: int = 3) -> str:
    """A score as text; a hyphen where there is none.

    >>> number(0.12345), number(None)
    ('0.123', '-')
    """
    return "-" if value is None else f"{value:.{digits}f}"


def interval(ends: Sequence[float] | None) -> str:
    """An interval as text.

    >>> interval((0.1, 0.25))
    '[0.100, 0.250]'
    """
    return "-" if ends is None else f"[{ends[0]:.3f}, {ends[1]:.3f}]"


@contextmanager
def progress_bar(label: str) -> Iterator[Tell]:
    """A bar on standard error, if that is a terminal; else nothing is printed."""
    console = Console(stderr=True)
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def summary_rows(metrics: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """summary.json's metrics as rows of a table."""
    return [
        [
            item["metric"],
            "higher" if item["higher_is_better"] else "lower",
            number(item["mean"]),
            interval(item["ci95"]),
            str(item["n"]),
            str(item["n_absent"]),
            str(item["n_unmeasured"]),
            item["eyes"],
        ]
        for item in metrics
    ]
