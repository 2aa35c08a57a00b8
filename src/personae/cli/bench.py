"""The command that runs a published suite: what is missing, pictures, rows, its table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from personae.cli.bench_tables import check_json, print_bench, print_check
from personae.cli.commands import Commercial, Detector, Embedder, Json
from personae.cli.generate import parse_size
from personae.cli.output import print_json, say
from personae.compute.device import choose_device
from personae.diffusion.load import TOONS, load_backbone
from personae.diffusion.lora import load_lora
from personae.errors import RequestError
from personae.evaluation.bench import Bench, Drawn, Tell, load_suite, run_bench
from personae.evaluation.suites.registry import SUITES, suite_named
from personae.evaluation.suites.suite import SuiteOptions, damaged_files, missing_files
from personae.evaluation.texts import TEXT_SCORERS
from personae.generation import Drawing
from personae.metrics.judges import JUDGES, build_judge, judgement_folder
from personae.metrics.scoring import PROTOCOLS, Protocol
from personae.metrics.witnesses import EyesChoice
from personae.report.bench_page import write_bench_page
from personae.vision.judges import QuestionJudge

__all__ = ["bench"]

_EXAMINER = "examiner"
_NOBODY = "none"


def bench(  # noqa: PLR0913, PLR0917 - a command's flags are its face
    suite: Annotated[str, typer.Argument(help=f"One of {', '.join(SUITES)}.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Where you keep the suite's files.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Name missing and damaged files, and stop."),
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the run.")] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Pictures made elsewhere, grids or single.")
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option("--grid", min=1, help="Pictures a side in a file. Default: as published."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Or draw: toons, a diffusers folder, a hub id.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option("--adapter", help="LoRA: folder, file, or toons-umo.")
    ] = None,
    adapter_scale: Annotated[float, typer.Option("--adapter-scale", help="Its strength.")] = 1.0,
    name: Annotated[str | None, typer.Option("--name", help="What tables call the model.")] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Pictures a scene. Default: as published.")
    ] = None,
    subset: Annotated[
        list[str] | None, typer.Option("--subset", help="Only this one; again for more.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Default: the model's own.")] = None,
    guidance: Annotated[float | None, typer.Option("--guidance", help="1 is none.")] = None,
    reference_guidance: Annotated[
        float | None, typer.Option("--reference-guidance", help="Towards the references.")
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", help="WIDTHxHEIGHT. Default: the model's own.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures of a scene at once.")] = 4,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda ...")] = "auto",
    protocol: Annotated[
        str, typer.Option("--protocol", help=f"both, {' or '.join(PROTOCOLS)}.")
    ] = "both",
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge", help=f"{JUDGES}, http(s)://..., or none. Default: toons for toonbench."
        ),
    ] = None,
    judge_url: Annotated[
        str | None, typer.Option("--judge-url", help="Of an endpoint: https://HOST/v1.")
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option("--judge-model", help="Its name there.")
    ] = None,
    judge_repeats: Annotated[
        int | None,
        typer.Option(
            "--judge-repeats", min=1, help="Ask the same so often. Default: as published."
        ),
    ] = None,
    whole: Annotated[
        list[str] | None,
        typer.Option(
            "--whole",
            help="Look at whole pictures: clip[:PATH], dino[:PATH], "
            "aesthetic:HEAD.safetensors[@ENCODER]; again.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", help=f"{', '.join(TEXT_SCORERS)}, or NAME:PATH; again."),
    ] = None,
    faces: Annotated[
        str | None, typer.Option("--faces", help="Default: dlib, the examiner for toonbench.")
    ] = None,
    detector: Detector = "guided",
    embedder: Embedder = "efficientnet-lite0",
    segmenter: Annotated[
        str,
        typer.Option(
            "--segmenter", help="Cut things out of their boxes: none, grabcut or sam2[:PATH]."
        ),
    ] = "none",
    commercial: Commercial = False,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="Of a mapped suite: OURS=THEIRS; again."),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="Of mudi: a prompt a line, {a} and {b}.")
    ] = None,
    size: Annotated[
        str, typer.Option("--size", help="Of toonbench: small, full, or scenes a subset.")
    ] = "small",
    workers: Annotated[int, typer.Option("--workers", min=0, help="0 is one a core.")] = 1,
    json: Json = False,
) -> None:
    """Run or resume a published suite; its table beside the published rows."""
    chosen = suite_named(suite)
    options = SuiteOptions(mapping=_mapping(column or []), prompts=prompts, size=size)
    if check:
        _check(suite, data, out, options, json)
        return
    if out is None:
        raise RequestError(f"bench {suite}: --out names the folder of the run")
    if (images is None) == (model is None):
        raise RequestError("bench: give --images DIR or --model NAME, and not both")
    is_toons = chosen.makes_data
    drawn = None
    if model is not None:
        wanted = Drawing(
            steps=steps,
            guidance=guidance,
            reference_guidance=reference_guidance,
            size=parse_size(resolution),
            adapter=None if adapter is None else f"{adapter}@{adapter_scale:g}",
        )
        drawn = _drawn(model, adapter, adapter_scale, wanted, batch, device)
    task = Bench(
        suite=chosen,
        out=out,
        model=name or _name(model, adapter, images),
        data=data,
        images=images,
        drawn=drawn,
        protocols=_protocols(protocol),
        eyes=EyesChoice(
            faces=faces or (_EXAMINER if is_toons else EyesChoice().faces),
            detector=detector,
            embedder=embedder,
            segmenter=segmenter,
            commercial=commercial,
        ),
        judge=_judge(judge or (TOONS if is_toons else _NOBODY), judge_url, judge_model),
        judge_repeats=judge_repeats,
        texts=tuple(text or ()),
        wholes=tuple(whole or ()),
        model_device=device,
        num_seeds=seeds,
        subsets=tuple(subset or ()),
        grid=grid,
        options=options,
        num_workers=workers,
    )
    try:
        with _bars() as tell:
            result = run_bench(task, tell)
    except KeyboardInterrupt:
        say("stopped; what was finished is kept, run the same command again to go on")
        raise typer.Exit(130) from None
    page = write_bench_page(out)
    if json:
        print_json({**result.data, "report": str(page)})
    else:
        print_bench(chosen.card, result)
        say(f"page: {page}; every picture: personae report {out}")
    if result.account.failed:
        raise typer.Exit(1)


def _check(
    suite: str, data: Path | None, out: Path | None, options: SuiteOptions, json: bool
) -> None:
    chosen = suite_named(suite)
    loaded = load_suite(chosen, data, out, options)
    missing = missing_files(loaded)
    with _bars() as tell:
        damaged = damaged_files(loaded, partial(tell, "opening photos"))
    if json:
        print_json(check_json(loaded, missing, damaged))
    else:
        print_check(loaded, missing, damaged)
    if missing or damaged or loaded.problems:
        raise typer.Exit(1)


def _drawn(
    model: str, adapter: str | None, scale: float, drawing: Drawing, batch: int, device: str
) -> Drawn:
    backbone = load_backbone(model, device=choose_device(device))
    if adapter is not None:
        load_lora(backbone, adapter, scale=scale)
    return Drawn(backbone, drawing.settled(backbone), batch)


def _name(model: str | None, adapter: str | None, images: Path | None) -> str:
    if model is not None and adapter is not None:
        path = Path(adapter)  # a run keeps its own in a folder of that name
        return f"{model} + {path.resolve().parent.name if path.name == 'adapter' else path.name}"
    if model is not None:
        return model
    return "pictures" if images is None else images.resolve().name


def _judge(name: str, url: str | None, model: str | None) -> QuestionJudge | None:
    if name == _NOBODY:
        return None
    if name.startswith(("http://", "https://")):
        if url is not None:
            raise RequestError(f"--judge {name} and --judge-url {url}: give the address once")
        name, url = "endpoint", name
    return build_judge(name, url=url, model=model, cache=judgement_folder())


def _protocols(name: str) -> tuple[Protocol, ...]:
    if name == "both":
        return PROTOCOLS
    for protocol in PROTOCOLS:
        if protocol == name:
            return (protocol,)
    raise RequestError(f"--protocol {name!r}: expected both, or one of {PROTOCOLS}")


def _mapping(pairs: Sequence[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise RequestError(f"--column {pair!r}: expected OURS=THEIRS, such as prompt=caption")
        mapping[ours] = theirs
    return mapping


@contextmanager
def _bars() -> Iterator[Tell]:
    """A bar for each thing that is done, on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        known: dict[str, object] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=total)
            bars.update(known[what], completed=done, total=total)  # type: ignore[arg-type]

        yield tell
