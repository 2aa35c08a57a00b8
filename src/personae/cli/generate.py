"""The command that draws: scenes and references in, pictures out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from personae.cli.commands import Commercial, Detector, Embedder, Json, Root
from personae.cli.output import print_json, progress_bar, say
from personae.compute.device import choose_device
from personae.diffusion.load import TOONS, load_backbone
from personae.diffusion.lora import load_lora
from personae.diffusion.tokens import load_tokens
from personae.errors import DataError, RequestError
from personae.evaluation.measure import scene_groups
from personae.generation import (
    INITS,
    LAYOUTS,
    Drawing,
    GenerationSummary,
    LanguagePlanner,
    MatchingRater,
    overwrite,
)
from personae.generation import generate as run_generation
from personae.generation.drawing import Init
from personae.generation.drawing_choice import START_PHOTOS, StartPhoto
from personae.metrics.witnesses import EyesChoice, build_witnesses
from personae.subjects.manifest import read_scenes
from personae.subjects.scene import Scene
from personae.vision.language import KEY_VARIABLE, EndpointModel, FolderModel

__all__ = ["generate", "parse_size"]

# Kept for measuring: a picture that was chosen to please it could not be measured by it.
_EXAMINER = "examiner"


def generate(  # noqa: PLR0913, PLR0917 - a command's flags are its face
    scenes: Annotated[Path, typer.Argument(help="scenes.jsonl")],
    model: Annotated[str, typer.Option("--model", help="toons, a diffusers folder, or a hub id.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for images/ and images.jsonl.")],
    seeds: Annotated[str, typer.Option("--seeds", help="How many, from 0; or 3,7; or 4-7.")] = "1",
    adapter: Annotated[
        str | None,
        typer.Option("--adapter", help="LoRA: a folder, a safetensors file, or toons-umo."),
    ] = None,
    adapter_scale: Annotated[float, typer.Option("--adapter-scale", help="Its strength.")] = 1.0,
    tokens: Annotated[
        list[Path] | None, typer.Option("--tokens", help="Folder of learned tokens; again.")
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Of a hub id.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Default: the model's own.")] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="1 is none. Default: the model's own.")
    ] = None,
    reference_guidance: Annotated[
        float | None,
        typer.Option(
            "--reference-guidance", help="Towards the references; as --guidance, and on top of it."
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="WIDTHxHEIGHT. Default: the model's own.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", help="Pictures of a scene at once.")] = 4,
    init: Annotated[str, typer.Option("--init", help=f"Noise: {' or '.join(INITS)}.")] = "plain",
    gamma: Annotated[float, typer.Option("--gamma", help="Of mean-shift: how far.")] = 0.3,
    layout: Annotated[
        str, typer.Option("--layout", help=f"Of mean-shift and regions: {', '.join(LAYOUTS)}.")
    ] = "given",
    start_photo: Annotated[
        str,
        typer.Option(
            "--start-photo",
            help=f"Of mean-shift, what a subject is cut out of: {' or '.join(START_PHOTOS)}.",
        ),
    ] = "reference",
    llm_model: Annotated[
        str | None,
        typer.Option("--llm-model", help="Of --layout llm: a name at --llm-url, or a folder."),
    ] = None,
    llm_url: Annotated[
        str | None,
        typer.Option("--llm-url", help=f"https://HOST/v1; its key stands in {KEY_VARIABLE}."),
    ] = None,
    regions: Annotated[
        bool, typer.Option("--regions", help="Each subject's box follows its own prompt.")
    ] = False,
    region_weight: Annotated[float, typer.Option("--region-weight", help="0 to 1.")] = 1.0,
    relative_size: Annotated[
        list[str] | None,
        typer.Option("--relative-size", help="Of mean-shift: NAME-OR-NOUN=NUMBER."),
    ] = None,
    in_context: Annotated[
        bool,
        typer.Option(
            "--context/--no-context", help="Does the model see references, or only the noise?"
        ),
    ] = True,
    negative: Annotated[
        str, typer.Option("--negative", help="Words to turn away from; {ID} is a bare noun.")
    ] = "",
    best_of: Annotated[
        int, typer.Option("--best-of", help="Draw this many, keep the best matching one.")
    ] = 1,
    faces: Annotated[
        str | None,
        typer.Option("--faces", help="Of --best-of. Default: toons for --model toons, else dlib."),
    ] = None,
    detector: Detector = "guided",
    embedder: Embedder = "efficientnet-lite0",
    commercial: Commercial = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda ...")] = "auto",
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read weights that can run code.")
    ] = False,
    root: Root = None,
    again: Annotated[
        bool, typer.Option("--overwrite", help="Throw away the pictures that --out holds.")
    ] = False,
    json: Json = False,
) -> None:
    """Draw every scene with its references; resumes where it stopped."""
    drawing = Drawing(
        steps=steps,
        guidance=guidance,
        reference_guidance=reference_guidance,
        size=parse_size(size),
        init=_init(init),
        gamma=gamma,
        layout=layout,
        start_photo=_start_photo(start_photo),
        relative_sizes=_relative_sizes(relative_size or []),
        in_context=in_context,
        best_of=best_of,
        negative=negative,
        adapter=_adapted(adapter, adapter_scale, tokens or []),
        regions=regions,
        region_weight=region_weight,
    )
    planner = _planner(drawing, llm_url, llm_model, device)
    wanted = _seeds(seeds)
    if not wanted or batch < 1:
        raise RequestError(f"--seeds {seeds} --batch {batch}: expected at least 1 of each")
    manifest = read_scenes(scenes, root)
    if not manifest.scenes:
        raise DataError(f"{scenes}: no scene that can be drawn; {_first(manifest.problems)}")
    eyes = EyesChoice(
        faces=faces or (TOONS if model == TOONS else EyesChoice().faces),
        detector=detector,
        embedder=embedder,
        commercial=commercial,
    )
    rater = _rater(eyes, manifest.scenes) if best_of > 1 else None
    backbone = load_backbone(
        model, device=choose_device(device), revision=revision, allow_pickle=allow_pickle
    )
    for folder in tokens or []:
        load_tokens(backbone, folder)
    if adapter is not None:
        load_lora(backbone, adapter, scale=adapter_scale)
    drawing = drawing.settled(backbone)
    if again:
        overwrite(out)
    try:
        with progress_bar("drawing") as tell:
            summary = run_generation(
                manifest.scenes,
                backbone,
                out,
                drawing,
                seeds=wanted,
                batch=batch,
                rater=rater,
                planner=planner,
                progress=tell,
            )
    except KeyboardInterrupt:
        say("stopped; what was finished is kept, run the same command again to go on")
        raise typer.Exit(130) from None
    _tell(summary, manifest.problems, scenes, json)
    if manifest.problems or summary.failures:
        raise typer.Exit(1)


def _tell(summary: GenerationSummary, problems: Sequence[str], scenes: Path, json: bool) -> None:
    for problem in problems:
        say(f"problem: {problem}")
    for failure in summary.failures:
        say(f"failed: scene {failure.scene}, seed {failure.seed}: {failure.reason}")
    if summary.num_unrated:
        say(
            f"warning: the eyes could rate no candidate of {summary.num_unrated} pictures, and the "
            "first was kept; they may not know the references, choose others with --faces, "
            "--detector or --embedder"
        )
    if summary.num_cut:
        say(
            f"warning: {summary.num_cut} pictures were drawn from a prompt that is longer than "
            "this model reads; its end was cut off (prompt_cut in images.jsonl)"
        )
    if json:
        print_json({**summary.as_json(), "problems": list(problems)})
        return
    images = summary.out / "images"
    say(
        f"{summary.num_pictures} pictures in {images}, {summary.num_drawn_now} of them drawn now "
        f"in {summary.seconds:.1f} s; score them: personae evaluate {scenes} --images {images} "
        f"--out {summary.out / 'results'}"
    )


def _adapted(adapter: str | None, scale: float, tokens: Sequence[Path]) -> str | None:
    """As images.jsonl names it: ``FOLDER@1 tokens:FOLDER``."""
    parts = [] if adapter is None else [f"{adapter}@{scale:g}"]
    return " ".join([*parts, *(f"tokens:{folder}" for folder in tokens)]) or None


def _rater(eyes: EyesChoice, scenes: Sequence[Scene]) -> MatchingRater:
    if eyes.faces.partition(":")[0] == _EXAMINER:
        raise RequestError(
            "--faces examiner: it only measures; choose pictures by other eyes, such as toons"
        )
    groups = tuple(dict.fromkeys(group for scene in scenes for group in scene_groups(scene)))
    return MatchingRater(build_witnesses(eyes, groups))


def _planner(
    drawing: Drawing, url: str | None, model: str | None, device: str
) -> LanguagePlanner | None:
    if drawing.layout != "llm":
        if url is not None or model is not None:
            raise RequestError("--llm-url, --llm-model: nobody is asked; add --layout llm")
        return None
    if model is None:
        raise RequestError("--layout llm: who plans? give --llm-model, with or without --llm-url")
    if url is not None:
        return LanguagePlanner(EndpointModel(url, model))
    return LanguagePlanner(FolderModel(Path(model), device=choose_device(device)))


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``"1024x768"`` as (1024, 768).

    >>> parse_size("1024x768")
    (1024, 768)

    Raises:
        RequestError: another form.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise RequestError(f"--size {text!r}: expected WIDTHxHEIGHT, such as 1024x768")
    return int(match[1]), int(match[2])


def _init(text: str) -> Init:
    for init in INITS:
        if init == text:
            return init
    raise RequestError(f"--init {text!r}: expected one of {INITS}")


def _start_photo(text: str) -> StartPhoto:
    for choice in START_PHOTOS:
        if choice == text:
            return choice
    raise RequestError(f"--start-photo {text!r}: expected one of {START_PHOTOS}")


def _seeds(text: str) -> list[int]:
    """A count, a list, or a range with both ends."""
    if re.fullmatch(r"\d+", text):
        return list(range(int(text)))
    if match := re.fullmatch(r"(\d+)-(\d+)", text):
        return list(range(int(match[1]), int(match[2]) + 1))
    if re.fullmatch(r"\d+(,\d+)*,?", text):
        return [int(part) for part in text.split(",") if part]
    raise RequestError(f"--seeds {text!r}: expected a number (4), a list (3,7) or a range (4-7)")


def _relative_sizes(pairs: Sequence[str]) -> dict[str, float]:
    sizes = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        try:
            sizes[name] = float(number)
        except ValueError:
            raise RequestError(
                f"--relative-size {pair!r}: expected NAME=NUMBER, such as cat=0.5"
            ) from None
    return sizes


def _first(problems: Sequence[str]) -> str:
    return problems[0] if problems else "the file is empty"
