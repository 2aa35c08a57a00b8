"""The command ``personae export``: a cast in, another program's layout out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from personae.cli.commands import Json, Root
from personae.cli.generate import parse_size
from personae.cli.output import print_json, progress_bar, say
from personae.config import build_config, read_toml
from personae.data.cast_examples import CastExamples, CastRecipe
from personae.data.mix_files import write_mixes
from personae.data.photo_formats import WRITERS, write_photos
from personae.errors import DataError, RequestError
from personae.subjects.manifest import read_cast
from personae.subjects.subject import Subject

__all__ = ["export"]


def export(  # noqa: PLR0913, PLR0917 - a command's flags are its face
    cast: Annotated[Path, typer.Argument(help="cast.jsonl, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="A new or empty folder.")],
    layout: Annotated[str | None, typer.Option("--format", help=f"{', '.join(WRITERS)}.")] = None,
    seg_mix: Annotated[
        int | None,
        typer.Option("--seg-mix", help="Instead: so many mixes of its subjects, with captions."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="Of --seg-mix: whose [data.cast] says how they are mixed."),
    ] = None,
    size: Annotated[str, typer.Option("--size", help="Of --seg-mix: WIDTHxHEIGHT.")] = "1024x1024",
    seed: Annotated[int, typer.Option("--seed", help="Of --seg-mix.")] = 0,
    workers: Annotated[int, typer.Option("--workers", help="Processes; 0: one a core.")] = 1,
    root: Root = None,
    json: Json = False,
) -> None:
    """Write a cast as other programs read it: photos with masks, or ready mixes."""
    if (layout is None) == (seg_mix is None):
        raise RequestError("expected either --format or --seg-mix COUNT")
    if seg_mix is not None:
        _mixes(cast, out, seg_mix, _MixChoice(recipe, size, seed, workers), json)
        return
    assert layout is not None
    subjects = _subjects(cast, root)
    write_photos(subjects, layout, out)
    num_photos = sum(len(item.references) for item in subjects)
    if json:
        told = {"subjects": len(subjects), "num_photos": num_photos}
        print_json({"out": str(out), "format": layout, **told})
        return
    say(f"{num_photos} photos of {len(subjects)} subjects as {layout} in {out}")


@dataclass(frozen=True)
class _MixChoice:
    """How mixes are made."""

    recipe: Path | None
    size: str
    seed: int
    workers: int


def _mixes(cast: Path, out: Path, count: int, choice: _MixChoice, json: bool) -> None:
    if count < 1:
        raise RequestError(f"--seg-mix {count}: expected at least 1")
    path = cast / "cast.jsonl" if cast.is_dir() else cast
    size = parse_size(choice.size) or (1024, 1024)
    made = CastRecipe(file=path)
    if choice.recipe is not None:
        told = read_toml(choice.recipe).get("data", {}).get("cast", {})
        made = build_config(CastRecipe, {**told, "file": str(path)}, str(choice.recipe))
    source = CastExamples(replace(made, prior=None, in_context=False), (size,), choice.seed)
    with progress_bar("mixing") as tell:
        written = write_mixes(source, count, out, num_workers=choice.workers, progress=tell)
    if json:
        print_json({"out": str(out), "metadata": str(written), "mixes": count})
        return
    say(f"{count} mixes of {len(source.subjects)} subjects in {out}, captions in {written}")


def _subjects(cast: Path, root: Path | None) -> tuple[Subject, ...]:
    """The cast, whole: what is handed on must not be short of a subject without a word."""
    path = cast / "cast.jsonl" if cast.is_dir() else cast
    manifest = read_cast(path, root)
    if manifest.problems:
        raise DataError(f"{manifest.problems[0]}; nothing was written")
    if not manifest.subjects:
        raise DataError(f"{path}: no subject; run `personae prepare` first")
    return manifest.subjects
