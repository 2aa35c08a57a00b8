"""The command ``personae select``: the best of what was drawn, as examples to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personae.cli.output import number, print_json, say
from personae.evaluation.select import select_examples

__all__ = ["select"]


def select(
    drawn: Annotated[Path, typer.Argument(help="Folder that personae generate filled.")],
    results: Annotated[Path, typer.Option("--results", help="Folder of personae evaluate.")],
    by: Annotated[
        str, typer.Option("--by", help="Metric; of subjects, the worst one counts.")
    ] = "strict_detect_and_compare",
    top: Annotated[float, typer.Option("--top", help="Share that is kept.")] = 0.25,
    at_least: Annotated[
        float | None, typer.Option("--at-least", help="And how good they are at least.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print a machine's answer, and nothing else.")
    ] = False,
) -> None:
    """Write examples.jsonl of the best drawn pictures, to train on them again (MuDI)."""
    kept = select_examples(drawn, results, by=by, top=top, at_least=at_least)
    if json:
        told = {"path": str(kept.path), "kept": kept.num_kept, "drawn": kept.num_seen}
        print_json({**told, "unmeasured": kept.num_unmeasured, "least": kept.least})
    else:
        say(
            f"{kept.num_kept} of {kept.num_seen} pictures in {kept.path}, {by} at least "
            f"{number(kept.least)}; {kept.num_unmeasured} were not measured"
        )
    if not kept.num_kept:
        raise typer.Exit(1)
