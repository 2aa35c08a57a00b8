"""The command ``personae train``: a recipe in, a run's folder out."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from personae.cli.output import number, print_json, progress_bar, say
from personae.evaluation.evaluate import Progress

__all__ = ["train"]


class _Bars:
    """One bar at a time: that of the stage which speaks."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._label = ""

    def teller(self, label: str) -> Progress:
        """What a stage calls with (done, of how many)."""

        def tell(done: int, total: int) -> None:
            self._show(label)(done, total)

        return tell

    def _show(self, label: str) -> Progress:
        if label != self._label:
            self._stack.close()
            self._label = label
            self._tell = self._stack.enter_context(progress_bar(label))
        return self._tell


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a TOML file.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="SECTION.KEY=VALUE over the recipe; again for more."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of --out.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; default runs/NAME-OF-RECIPE.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained, and every mistake.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a machine's answer, and nothing else.")
    ] = False,
) -> None:
    """Train a model or an adapter by a recipe; stops well on Ctrl-C, and resumes exactly."""
    folder = out or Path("runs") / recipe.stem
    if dry_run:
        _dry_run(recipe, folder, settings or [], resume=resume, json=json)
        return
    from personae.training.finetune import finetune
    from personae.training.recipe import read_recipe

    task = read_recipe(recipe, settings or [])
    try:
        with ExitStack() as stack:
            bars = _Bars(stack)
            result = finetune(
                task,
                folder,
                resume=resume,
                progress=bars.teller("training"),
                encoding=bars.teller("encoding"),
                tell=lambda text: say(f"note: {text}"),
            )
    except KeyboardInterrupt:
        say("stopped; what was finished is kept, run the same command again with --resume")
        raise typer.Exit(130) from None
    for problem in result.problems:
        say(f"problem: {problem}")
    if json:
        print_json(
            {
                "out": str(result.out),
                "steps": result.steps,
                "stopped": result.stopped,
                "saved": None if result.saved is None else str(result.saved),
                "loss": result.loss,
                "seconds": result.seconds,
                "problems": list(result.problems),
            }
        )
    else:
        say(
            f"{result.steps} steps in {result.seconds:.0f} s, loss {number(result.loss)}: "
            f"{result.saved or folder / 'checkpoints'}"
        )
    if result.stopped:
        say(f"stopped by {result.stopped}; run the same command again with --resume to go on")
    if result.stopped == "SIGINT":
        raise typer.Exit(130)


def _dry_run(recipe: Path, out: Path, settings: list[str], *, resume: bool, json: bool) -> None:
    from personae.cli.dry_run import print_dry_run
    from personae.training.dry_run import dry_run

    told = dry_run(recipe, out, settings, resume=resume)
    if json:
        print_json(told.as_data())
    else:
        print_dry_run(told)
    if told.mistakes:
        raise typer.Exit(2)
