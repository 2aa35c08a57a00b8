"""The command ``personae prepare``: photos in, a cast out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from personae.cli.commands import Json
from personae.cli.output import print_json, print_table, progress_bar, say
from personae.data.prepare import Preparation, PreparedCast
from personae.data.prepare import prepare as run_preparation
from personae.data.segment import EyesForCutting
from personae.errors import RequestError

__all__ = ["prepare"]


def prepare(  # noqa: PLR0913, PLR0917 - a command's flags are its face
    photos: Annotated[
        Path, typer.Argument(help="A folder a subject; or metadata.jsonl; or COCO's JSON.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the cast.")],
    noun: Annotated[
        list[str] | None,
        typer.Option("--noun", help="NAME=TEXT: descriptive, 'red monster plush'."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="NAME=KIND: person, animal or object. Default: person where every photo shows "
            "a face.",
        ),
    ] = None,
    token: Annotated[
        list[str] | None, typer.Option("--token", help="NAME=WORD. Default: the next rare word.")
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            "--detector",
            help="auto, guided, owlv2[:PATH], grounding-dino[:PATH], florence-2[:PATH], given.",
        ),
    ] = "auto",
    segmenter: Annotated[
        str, typer.Option("--segmenter", help="auto, grabcut, sam2[:PATH], given.")
    ] = "auto",
    faces: Annotated[str, typer.Option("--faces", help="dlib or toons, for people.")] = "dlib",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Do this subject again, and no other.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--overwrite", help="Cut everything again, mended masks too.")
    ] = False,
    json: Json = False,
) -> None:
    """Turn photos into a cast: subjects cut out, captioned and checked; resumes."""
    task = Preparation(
        photos=photos,
        out=out,
        eyes=EyesForCutting(detector=detector, segmenter=segmenter, faces=faces),
        nouns=_named(noun or [], "--noun", "cat=grey cat"),
        kinds=_named(kind or [], "--kind", "ann=person"),
        tokens=_named(token or [], "--token", "cat=olis"),
        only=tuple(only or ()),
        overwrite=again,
    )
    try:
        with progress_bar("preparing") as tell:
            cast = run_preparation(task, tell)
    except KeyboardInterrupt:
        say("stopped; what was finished is kept, run the same command again to go on")
        raise typer.Exit(130) from None
    _tell(cast, json)
    if cast.problems:
        raise typer.Exit(1)


def _named(pairs: Sequence[str], flag: str, example: str) -> Mapping[str, str]:
    named = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not name or not value.strip():
            raise RequestError(f"{flag} {pair!r}: expected NAME=VALUE, such as {example!r}")
        named[name] = value.strip()
    return named


def _tell(cast: PreparedCast, json: bool) -> None:
    for problem in cast.problems:
        say(f"problem: {problem}")
    for text in cast.left_out:
        say(f"left out: {text}")
    for warning in cast.warnings:
        say(f"warning: {warning}")
    for subject, photo in cast.doubtful:
        reasons = "; ".join(doubt.words for doubt in photo.doubts)
        say(f"doubtful: {subject.id}, {photo.original}: {reasons}")
    if json:
        print_json({"out": str(cast.out), "num_cut": cast.num_cut, **cast.as_json()})
        return
    rows = [
        [
            item.id, item.token, item.noun, item.kind, str(len(item.photos)),
            str(sum(bool(photo.doubts) for photo in item.photos)),
        ]
        for item in cast.subjects
    ]  # fmt: skip
    print_table(str(cast.out), ["subject", "token", "noun", "kind", "photos", "doubtful"], rows)
    say(
        f"{cast.num_photos} photos, {cast.num_cut} cut out now by {cast.eyes}; check "
        f"{cast.out / 'contact_sheet.png'}, mend a mask in place and run the same command again"
    )
