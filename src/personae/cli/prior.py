"""The command ``personae prior``: what a model draws for the nouns of a cast, as a cast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personae.cli.generate import parse_size
from personae.cli.output import print_json, progress_bar, say
from personae.compute.device import choose_device
from personae.data.cast_examples import read_whole_cast
from personae.data.prior import PRIOR_NEGATIVE, PRIOR_WORDS, PriorTask, make_priors
from personae.data.segment import EyesForCutting
from personae.diffusion.load import load_backbone

__all__ = ["prior"]


def prior(  # noqa: PLR0913, PLR0917 - a command's flags are its face
    cast: Annotated[Path, typer.Argument(help="cast.jsonl")],
    model: Annotated[str, typer.Option("--model", help="toons, a diffusers folder, or a hub id.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new cast.")],
    count: Annotated[int, typer.Option("--count", help="Pictures a noun.")] = 50,
    words: Annotated[str, typer.Option("--prompt", help="With {noun}.")] = PRIOR_WORDS,
    negative: Annotated[
        str, typer.Option("--negative", help="Words to turn away from, under guidance.")
    ] = PRIOR_NEGATIVE,
    size: Annotated[
        str | None, typer.Option("--size", help="WIDTHxHEIGHT. Default: the model's own.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Default: the model's own.")] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="1 is none. Default: the model's own.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all noise.")] = 0,
    faces: Annotated[
        str | None,
        typer.Option("--faces", help="Who finds faces. Default: toons for --model toons."),
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Of a hub id.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda ...")] = "auto",
    json: Annotated[
        bool, typer.Option("--json", help="Print a machine's answer, and nothing else.")
    ] = False,
) -> None:
    """Draw the bare nouns of a cast and cut them out, for prior preservation; resumes."""
    subjects = read_whole_cast(cast)
    seen = faces or ("toons" if model == "toons" else EyesForCutting().faces)
    task = PriorTask(
        count=count,
        words=words,
        negative=negative,
        size=parse_size(size),
        steps=steps,
        guidance=guidance,
        seed=seed,
        eyes=EyesForCutting(faces=seen),
    )
    backbone = load_backbone(model, device=choose_device(device), revision=revision)
    try:
        with progress_bar("drawing") as tell:
            made = make_priors(backbone, subjects, out, task, tell)
    except KeyboardInterrupt:
        say("stopped; what was finished is kept, run the same command again to go on")
        raise typer.Exit(130) from None
    if json:
        print_json({"cast": str(made.out / "cast.jsonl"), **made.as_json()})
        return
    say(
        f"{made.num_photos} priors of {len(made.subjects)} nouns in {made.out}, "
        f"{len(made.doubtful)} of them doubtful; look at "
        f"{made.out / 'contact_sheet.png'}, then personae train ... --set "
        f"data.cast.prior={made.out / 'cast.jsonl'}"
    )
