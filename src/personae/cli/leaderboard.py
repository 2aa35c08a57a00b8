"""The command that sets runs of suites side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personae.cli.bench_tables import cell_text
from personae.cli.commands import Json
from personae.cli.output import print_json, print_table, say
from personae.errors import RequestError
from personae.evaluation.hub_results import write_hub_results
from personae.evaluation.leaderboard import Board, read_boards
from personae.evaluation.subset_differences import ColumnDifference
from personae.evaluation.suite_table import Cell
from personae.evaluation.suites.registry import SUITES
from personae.evaluation.suites.suite import plain_stem
from personae.report.leaderboard_page import difference_tables, difference_told, write_leaderboard

__all__ = ["leaderboard"]


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Folders that `personae bench` filled.")],
    out: Annotated[Path | None, typer.Option("--out", help="The page to write.")] = None,
    hub: Annotated[
        Path | None,
        typer.Option("--hub", help="Folder for the Hub's files; one in it for each run."),
    ] = None,
    hub_dataset: Annotated[
        list[str] | None,
        typer.Option("--hub-dataset", help="SUITE=ORG/NAME, for .eval_results; again."),
    ] = None,
    json: Json = False,
) -> None:
    """Runs of suites side by side: tables, paired differences, a page, files for the Hub."""
    datasets = _datasets(hub_dataset or [])
    boards = read_boards(runs)
    page = None if out is None else write_leaderboard(boards, out)
    written = [
        path
        for board in boards
        for run in board.runs
        if hub is not None
        for path in write_hub_results(
            run, hub / plain_stem(f"{board.suite} {run.model}"), datasets.get(board.suite)
        )
    ]
    if json:
        print_json(
            {
                "boards": [_json(board) for board in boards],
                "page": None if page is None else str(page),
                "hub": [str(path) for path in written],
            }
        )
        return
    for board in boards:
        _print(board)
    for path in [*([page] if page else []), *written]:
        say(f"wrote {path}")


def _print(board: Board) -> None:
    card = SUITES[board.suite].card
    subset = board.runs[0].data["lines"][-1]["subset"]
    lines = [
        (run, line) for run in board.runs for line in run.data["lines"] if line["subset"] == subset
    ]
    names = [name for name in card.names if any(name in line["cells"] for _, line in lines)]
    rows = [
        [f"{run.model}, {line['protocol']}"]
        + [cell_text(Cell(**line["cells"][n]) if n in line["cells"] else None) for n in names]
        for run, line in lines
    ]
    print_table(f"{card.title}: {subset}", ["model", *names], rows)
    for text in board.cautions:
        say(f"warning: {text}")
    for model, items in board.differences.items():
        for item in items:
            say(f"minus {board.runs[0].model}: {difference_told(model, item)}")
    for model, columns in board.by_subset.items():
        for title, columns_shown, by_subset in difference_tables(
            model, board.runs[0].model, columns
        ):
            print_table(
                f"{card.title}: {title}",
                ["subset", *columns_shown],
                [
                    [subset, *(_difference_text(cells.get(name)) for name in columns_shown)]
                    for subset, cells in by_subset
                ],
            )


def _difference_text(item: ColumnDifference | None) -> str:
    if item is None:
        return ""
    if item.mean is None:
        return "no pair"
    ends = "" if item.ci95 is None else f" [{item.ci95[0]:+.3g}, {item.ci95[1]:+.3g}]"
    return f"{item.mean:+.3g}{ends} {item.n}"


def _json(board: Board) -> dict[str, object]:
    return {
        "suite": board.suite,
        "runs": [{"model": run.model, "path": str(run.path), **run.data} for run in board.runs],
        "differences": {
            model: [item.as_json() for item in items] for model, items in board.differences.items()
        },
        "by_subset": {
            model: [item.as_json() for item in items] for model, items in board.by_subset.items()
        },
        "cautions": list(board.cautions),
    }


def _datasets(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        suite, _, name = pair.partition("=")
        if suite not in SUITES or name.count("/") != 1:
            raise RequestError(
                f"--hub-dataset {pair!r}: expected SUITE=ORG/NAME, such as xversebench=me/xverse"
            )
        found[suite] = name
    return found
