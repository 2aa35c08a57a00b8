"""Where a dry run found mistakes."""

from __future__ import annotations

from personae.training.dry_run import DryRun


def wheres(run: DryRun) -> list[str]:
    """The keys of the recipe that mistakes were found at."""
    return [item.where.removeprefix(f"{run.recipe}: ") for item in run.mistakes]
