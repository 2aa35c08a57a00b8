"""The program itself: its commands, and what becomes of errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from personae import __version__
from personae.cli import commands
from personae.cli.bench import bench
from personae.cli.data import data
from personae.cli.export import export
from personae.cli.generate import generate
from personae.cli.leaderboard import leaderboard
from personae.cli.merge import merge
from personae.cli.output import say
from personae.cli.prepare import prepare
from personae.cli.prior import prior
from personae.cli.select import select
from personae.cli.serve import serve
from personae.cli.survey import agreement, survey
from personae.cli.train import train
from personae.errors import PersonaeError

__all__ = ["app", "main"]

app = typer.Typer(
    name="personae",
    help="Pictures that hold several given subjects at once, each still itself: measure them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(commands.score)
app.command()(commands.evaluate)
app.command()(commands.compare)
app.command()(commands.report)
app.command()(commands.doctor)
app.command()(bench)
app.command()(leaderboard)
app.command()(prepare)
app.command()(export)
app.command()(prior)
app.command()(generate)
app.command()(select)
app.command()(merge)
app.command()(survey)
app.command()(agreement)
app.command()(train)
app.command()(serve)
app.add_typer(data)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"personae {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True),
) -> None:
    """Pictures that hold several given subjects at once, each still itself: measure them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status."""
    try:
        app(args=None if arguments is None else list(arguments), standalone_mode=True)
    except PersonaeError as error:
        say(f"error: {error}")
        sys.exit(error.exit_status)
