"""The page of several runs: each suite's table with all models, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personae.evaluation.leaderboard import Board, Standing
from personae.evaluation.subset_differences import ColumnDifference
from personae.evaluation.suites.card import OVERALL
from personae.evaluation.suites.registry import SUITES
from personae.metrics.summary import PairedDifference
from personae.report.bench_page import by_source, columns_told, render_tables
from personae.report.page import write_whole

__all__ = ["difference_tables", "difference_told", "write_leaderboard"]


def write_leaderboard(boards: Sequence[Board], out: Path) -> Path:
    """Write one page of all boards and return its path.

    Models of a table stand by their last measured column, the best first, strict before official.

    Raises:
        WorkError: the page cannot be written.
    """
    cards = {board.suite: SUITES[board.suite].card for board in boards}
    tables = [table for board in boards for table in _tables(board)]
    cautions = [text for board in boards for text in board.cautions]
    cautions += [f"{x.title} is unverified: {x.unverified}" for x in cards.values() if x.unverified]
    lists = [
        {
            "title": f"{cards[board.suite].title}: minus {board.runs[0].model}, paired",
            "items": [
                difference_told(model, item)
                for model, items in board.differences.items()
                # Runs of before bench.json told of scenes have no differences by subset.
                if not board.by_subset[model]
                for item in items
            ],
        }
        for board in boards
    ]
    lists += [
        {
            "title": f"{cards[board.suite].title}: what was not done",
            "items": [
                f"{run.model}: {text}" for run in board.runs for text in run.data["account"]["told"]
            ],
        }
        for board in boards
    ]
    pieces = render_tables(
        title="Leaderboard",
        lead=[
            "Mean, 95% interval over scenes, n measured of n asked for; published rows are by "
            "other eyes and judges. Of few scenes intervals are too narrow. "
            "Models stand by their last measured column, the best first.",
        ],
        cautions=cautions,
        tables=tables,
        differences=[item for board in boards for item in _differences(board)],
        lists=[*lists, *(columns_told(card) for card in cards.values())],
    )
    write_whole(out, pieces)
    return out


def _tables(board: Board) -> list[dict[str, Any]]:
    """The overall table first."""
    card = SUITES[board.suite].card
    lines = [(run, line) for run in board.runs for line in run.data["lines"]]
    subsets = list(dict.fromkeys(line["subset"] for _, line in lines))
    subsets.sort(key=lambda subset: subset != OVERALL)
    tables = []
    for subset in subsets:
        here = [(run, line) for run, line in lines if line["subset"] == subset]
        names = [name for name in card.names if any(name in line["cells"] for _, line in here)]
        tables.append(
            {
                "title": f"{card.title}: {subset}",
                "names": names,
                "ours": [
                    {"label": f"{run.model}, {line['protocol']}", "cells": line["cells"]}
                    for run, line in sorted(here, key=lambda pair: _place(pair, names))
                ],
                "published": by_source(card, subset),
            }
        )
    return tables


def _differences(board: Board) -> list[dict[str, Any]]:
    """Tables of paired differences, by model and protocol."""
    title = SUITES[board.suite].card.title
    return [
        {
            "title": f"{title}: {told}",
            "names": names,
            "lines": [{"label": subset, "cells": cells} for subset, cells in lines],
        }
        for model, columns in board.by_subset.items()
        for told, names, lines in difference_tables(model, board.runs[0].model, columns)
    ]


DifferenceTable = tuple[str, list[str], list[tuple[str, dict[str, ColumnDifference]]]]


def difference_tables(
    model: str, base: str, columns: Sequence[ColumnDifference]
) -> list[DifferenceTable]:
    """Differences of a model as tables, one a protocol: title, columns, and lines by subset."""
    tables: list[DifferenceTable] = []
    for protocol in dict.fromkeys(item.protocol for item in columns):
        here = [item for item in columns if item.protocol == protocol]
        lines = [
            (subset, {item.column: item for item in here if item.subset == subset})
            for subset in dict.fromkeys(item.subset for item in here)
        ]
        names = list(dict.fromkeys(item.column for item in here))
        tables.append((f"{model} minus {base}, paired, {protocol}", names, lines))
    return tables


def _place(pair: tuple[Standing, Mapping[str, Any]], names: Sequence[str]) -> tuple[bool, float]:
    _, line = pair
    means = [line["cells"][name]["mean"] for name in names if name in line["cells"]]
    known = [mean for mean in means if mean is not None]
    return line["protocol"] != "strict", -known[-1] if known else float("inf")


def difference_told(model: str, item: PairedDifference) -> str:
    """A paired difference in a line of words."""
    if item.mean is None:
        return f"{model}, {item.metric}: no row in common"
    ends = "" if item.ci95 is None else f" [{item.ci95[0]:+.3f}, {item.ci95[1]:+.3f}]"
    better = "" if item.higher_is_better else " (lower is better)"
    return f"{model}, {item.metric}{better}: {item.mean:+.3f}{ends}, {item.n} pairs"
