"""The command ``personae export``: a cast in, another program's layout out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personae.cli.commands import Json, Root
from personae.cli.output import print_json, say
from personae.data.photo_formats import WRITERS, write_photos
from personae.errors import DataError
from personae.subjects.manifest import read_cast
from personae.subjects.subject import Subject

__all__ = ["export"]


def export(
    cast: Annotated[Path, typer.Argument(help="cast.jsonl, or its folder.")],
    layout: Annotated[str, typer.Option("--format", help=f"{', '.join(WRITERS)}.")],
    out: Annotated[Path, typer.Option("--out", help="A new or empty folder.")],
    root: Root = None,
    json: Json = False,
) -> None:
    """Write a cast's photos, masks and captions as other programs read them."""
    subjects = _subjects(cast, root)
    write_photos(subjects, layout, out)
    num_photos = sum(len(item.references) for item in subjects)
    if json:
        told = {"subjects": len(subjects), "num_photos": num_photos}
        print_json({"out": str(out), "format": layout, **told})
        return
    say(f"{num_photos} photos of {len(subjects)} subjects as {layout} in {out}")


def _subjects(cast: Path, root: Path | None) -> tuple[Subject, ...]:
    """The cast, whole: what is handed on must not be short of a subject without a word."""
    path = cast / "cast.jsonl" if cast.is_dir() else cast
    manifest = read_cast(path, root)
    if manifest.problems:
        raise DataError(f"{manifest.problems[0]}; nothing was written")
    if not manifest.subjects:
        raise DataError(f"{path}: no subject; run `personae prepare` first")
    return manifest.subjects
