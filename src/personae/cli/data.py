"""The commands ``personae data ...``: pipelines that make training sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from personae.cli.commands import Json
from personae.cli.output import print_json, print_table, progress_bar, say
from personae.compute.ray_workers import RayData
from personae.compute.workers import Workers, make_workers
from personae.data.needs import Need, recipe_needs
from personae.data.pair import PairTask, make_pairs
from personae.data.pipeline.aesthetic import Aesthetic
from personae.data.pipeline.clips import Frames
from personae.data.pipeline.duplicates import Unlike
from personae.data.pipeline.pairs import Pairs
from personae.data.pipeline.people import Faces
from personae.data.pipeline.resembling import Distinct
from personae.data.pipeline.runner import Account, Progress
from personae.data.synthesize import read_synthesis
from personae.data.synthesize import synthesize as make_set
from personae.vision.aesthetic import CLIP_L14

__all__ = ["data", "pair", "print_account", "synthesize"]

NumWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Processes, 1 by default; 0 means one for each core (of the cluster).",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray", metavar="ADDRESS", help="Work on Ray: local, auto, or ray://HOST:PORT (extra ray)."
    ),
]
RayGpus = Annotated[float, typer.Option("--ray-gpus", min=0.0, help="GPUs of each of its workers.")]

data = typer.Typer(
    name="data",
    help="Make training sets: pictures of several subjects, with references of each.",
    no_args_is_help=True,
)


@data.command()
def pair(  # noqa: PLR0913, PLR0917 - a command's flags are its face
    clips: Annotated[
        Path,
        typer.Argument(
            help="ALBUM/CLIP/*.jpg, ALBUM/*.mp4, ALBUM.zip or .tar; album.json has rights."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for what is made.")],
    faces: Annotated[str, typer.Option("--faces", help="dlib, toons, arcface:FILE.")] = "dlib",
    every_s: Annotated[float, typer.Option("--every", help="Of a video: seconds a frame.")] = 1.0,
    least: Annotated[int, typer.Option("--least", help="People in a target.")] = 2,
    most: Annotated[int, typer.Option("--most", help="People in a target.")] = 5,
    same: Annotated[
        float | None,
        typer.Option(
            "--same",
            help="Least similarity of a reference to its person; this and the limits below: what "
            "was measured of these eyes, unless given.",
        ),
    ] = None,
    different: Annotated[
        float | None, typer.Option("--different", help="Most similarity of two people of a target.")
    ] = None,
    most_copied: Annotated[
        float | None,
        typer.Option("--most-copied", help="Most correlation of a reference with its target."),
    ] = None,
    references: Annotated[int, typer.Option("--references", help="For each person.")] = 3,
    strangers: Annotated[
        int, typer.Option("--strangers", min=0, help="People of a target without other pictures.")
    ] = 0,
    cut: Annotated[
        bool, typer.Option("--cut", help="References are cut out, before plain gray.")
    ] = False,
    least_px: Annotated[float | None, typer.Option("--least-px", help="Of a face.")] = None,
    least_sharp: Annotated[
        float | None, typer.Option("--least-sharp", help="Of a face at 64 pixels.")
    ] = None,
    unlike: Annotated[
        int, typer.Option("--unlike", min=0, max=16, help="Bits duplicates differ by; 0: kept.")
    ] = Unlike.apart,
    distinct: Annotated[
        float | None, typer.Option("--distinct", help="Cosine from which two show the same.")
    ] = None,
    aesthetic: Annotated[
        str | None,
        typer.Option("--aesthetic", help="HEAD.safetensors[:ENCODER] of an aesthetic predictor."),
    ] = None,
    least_aesthetic: Annotated[
        float, typer.Option("--least-aesthetic", help="Least score by it, about 1 to 10.")
    ] = Aesthetic.least,
    noun: Annotated[str, typer.Option("--noun", help="What everybody is called.")] = "person",
    subject_words: Annotated[
        str, typer.Option("--subject-words", help="How the model's prompts name a subject.")
    ] = PairTask.subject_words,
    require_license: Annotated[
        bool, typer.Option("--require-license", help="What has none is dropped.")
    ] = False,
    licenses: Annotated[
        list[str] | None, typer.Option("--license", help="The only ones that go on; again.")
    ] = None,
    blurred: Annotated[
        bool, typer.Option("--blur-faces", help="Of the contact sheet: those that were found.")
    ] = False,
    workers: NumWorkers = None,
    ray: Ray = None,
    ray_gpus: RayGpus = 0.0,
    json: Json = False,
) -> None:
    """Find pictures of several people, and other pictures of each of them (UMO); resumes."""
    task = PairTask(
        clips=clips,
        out=out,
        frames=Frames(every_s=every_s),
        faces=Faces(eyes=faces, least_px=least_px, least_sharp=least_sharp),
        pairs=Pairs(
            eyes=faces,
            least=least,
            most=most,
            same=same,
            different=different,
            most_copied=most_copied,
            references=references,
            strangers=strangers,
            cut=cut,
        ),
        unlike=Unlike(apart=unlike) if unlike else None,
        distinct=None if distinct is None else Distinct(most=distinct),
        aesthetic=_aesthetic(aesthetic, least_aesthetic),
        licenses=tuple(licenses or ()),
        require_license=require_license or bool(licenses),
        subject_words=subject_words,
        noun=noun,
        workers=_crew(workers, ray, ray_gpus),
        blurred=blurred,
    )
    _run("albums", lambda tell: make_pairs(task, tell), out, json)


@data.command()
def synthesize(  # noqa: PLR0913, PLR0917 - a command's flags are its face
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as data/synthesize_toons.toml.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for what is made.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value over the recipe; again.")
    ] = None,
    require_license: Annotated[
        bool, typer.Option("--require-license", help="What has none is dropped.")
    ] = False,
    blurred: Annotated[
        bool, typer.Option("--blur-faces", help="Of the contact sheet: those that were found.")
    ] = False,
    workers: NumWorkers = None,
    ray: Ray = None,
    ray_gpus: RayGpus = 0.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which models it needs, and what is missing.")
    ] = False,
    json: Json = False,
) -> None:
    """Draw pictures of several subjects, and each of them again alone (PSR); resumes."""
    asked = read_synthesis(recipe, settings or ())
    asked = replace(
        asked,
        require_license=asked.require_license or require_license,
        blurred=asked.blurred or blurred,
    )
    if dry_run:
        _print_needs(recipe_needs(asked), json)
        return
    crew = _crew(workers, ray, ray_gpus)
    _run("shards", lambda tell: make_set(asked, out, workers=crew, progress=tell), out, json)


def _print_needs(needs: Sequence[Need], json: bool) -> None:
    """What a recipe needs; exit status 2 where something of it is missing."""
    if json:
        print_json({"needs": [vars(need) for need in needs]})
    else:
        rows = [[need.where, need.what, need.state, need.todo] for need in needs]
        print_table("What the recipe needs", ("key", "what", "state", "to know"), rows)
    if any(need.state == "missing" for need in needs):
        raise typer.Exit(2)


def _aesthetic(told: str | None, least: float) -> Aesthetic | None:
    if told is None:
        return None
    head, _, encoder = told.partition(":")
    return Aesthetic(head=head, encoder=encoder or CLIP_L14, least=least)


def _crew(num_workers: int | None, ray: str | None, ray_gpus: float) -> Workers:
    """Who works: this process, several, or Ray, which by default uses all that there is."""
    if ray is None:
        return make_workers(1 if num_workers is None else num_workers)
    return RayData(num_workers or 0, ray, ray_gpus)


def _run(label: str, work: Callable[[Progress], Account], out: Path, json: bool) -> None:
    """A pipeline, with its progress, what stops it, and its account."""
    try:
        with progress_bar(label) as tell:
            account = work(lambda _, done, total: tell(done, total))
    except KeyboardInterrupt:
        say("stopped; what was finished is kept, run the same command again to go on")
        raise typer.Exit(130) from None
    print_account(account, out, json)


def print_account(account: Account, out: Path, json: bool) -> None:
    """What became of everything, and where the result lies."""
    if json:
        print_json({"steps": account.as_json(), "out": str(out)})
        return
    rows = []
    for step in account.steps:
        reasons = [f"{count} {reason}" for reason, count in step.dropped.items()]
        reasons += [f"{count} FAILED: {reason}" for reason, count in step.failed.items()]
        reasons += [f"{count} UNMEASURED: {why}" for why, count in step.unmeasured.items()]
        rate = f"{step.items_per_second:.1f}" if step.seconds else "-"
        counts = [str(step.num_in), str(step.num_out), f"{step.num_made} of {step.num_shards}"]
        rows.append([step.name, *counts, rate, "; ".join(reasons)])
    columns = ("step", "in", "out", "shards made now", "a second", "dropped and failed")
    print_table("What became of everything", columns, rows)
    sheet = out / "contact_sheet.png"
    say(f"{out / 'examples.jsonl'}; " + (f"look at {sheet}" if sheet.exists() else "it is empty"))
