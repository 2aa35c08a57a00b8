"""Each command: parse its flags, call the one function that does the work, print the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from personae.cli.output import (
    print_json,
    print_table,
    progress_bar,
    say,
)
from personae.cli.tables import (
    cast_json,
    difference_row,
    model_json,
    print_cast,
    print_model,
    print_scores,
    print_summary,
)
from personae.errors import RequestError
from personae.evaluation import compare as comparing
from personae.evaluation import doctor as doctoring
from personae.evaluation.evaluate import Evaluation
from personae.evaluation.evaluate import evaluate as run_evaluation
from personae.evaluation.single import guess_kinds, parse_named, scene_by_hand, score_picture
from personae.evaluation.texts import TEXT_SCORERS
from personae.metrics.scoring import PROTOCOLS, Protocol
from personae.metrics.witnesses import EyesChoice
from personae.report import is_training_run, write_report, write_training_report

__all__ = ["compare", "doctor", "evaluate", "report", "score"]

Json = Annotated[bool, typer.Option("--json", help="Print a machine's answer, and nothing else.")]
ProtocolName = Annotated[
    str, typer.Option("--protocol", help="strict counts everything; official is the papers' own.")
]
Faces = Annotated[str, typer.Option("--faces", help="dlib, or arcface:FILE (weights you own).")]
Detector = Annotated[
    str,
    typer.Option(
        "--detector", help="guided, owlv2[:PATH], grounding-dino[:PATH], florence-2[:PATH]."
    ),
]
Embedder = Annotated[str, typer.Option("--embedder", help="efficientnet-lite0, dinov2[:PATH] ...")]
Commercial = Annotated[
    bool, typer.Option("--commercial", help="Refuse weights that forbid commercial use.")
]
Root = Annotated[
    Path | None, typer.Option("--root", help="Folder that paths in the file may not leave.")
]


def score(
    picture: Annotated[Path, typer.Argument(help="The picture to score.")],
    ref: Annotated[list[str], typer.Option("--ref", help="NAME=PHOTO; again for more photos.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="person, animal or object, for all; or NAME=KIND. Default: "
            "person where every reference shows a face.",
        ),
    ] = None,
    noun: Annotated[list[str] | None, typer.Option("--noun", help="NAME=NOUN.")] = None,
    relation: Annotated[
        str | None, typer.Option("--relation", help="'NAME|left of|NAME', to score positions.")
    ] = None,
    protocol: ProtocolName = "strict",
    faces: Faces = "dlib",
    detector: Detector = "guided",
    embedder: Embedder = "efficientnet-lite0",
    commercial: Commercial = False,
    json: Json = False,
) -> None:
    """Is every subject in this picture, once, and still itself?"""
    eyes = _eyes(faces, detector, embedder, commercial)
    references = parse_named(ref, "--ref")
    kinds = _kinds(kind or [], references)
    kinds |= guess_kinds({n: paths for n, paths in references.items() if n not in kinds}, eyes)
    nouns = {name: values[-1] for name, values in parse_named(noun or [], "--noun").items()}
    scene = scene_by_hand(references, kinds, nouns, _relation(relation))
    rows = score_picture(picture, scene, _protocol(protocol), eyes)
    if json:
        print_json(rows)
        return
    print_scores(picture, rows)


def evaluate(
    scenes: Annotated[Path, typer.Argument(help="scenes.jsonl")],
    images: Annotated[Path, typer.Option("--images", help="Folder with the pictures.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    protocol: ProtocolName = "strict",
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes; 0 means one for each core.")
    ] = 0,
    root: Root = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away the results that --out holds.")
    ] = False,
    faces: Faces = "dlib",
    detector: Detector = "guided",
    embedder: Embedder = "efficientnet-lite0",
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            help=f"How well prompts are kept, by {', '.join(TEXT_SCORERS)}, or NAME:PATH; again.",
        ),
    ] = None,
    text_device: Annotated[
        str, typer.Option("--text-device", help="Of --text: auto, cpu, cuda ...")
    ] = "auto",
    commercial: Commercial = False,
    json: Json = False,
) -> None:
    """Score every picture of every scene; resumes where it stopped."""
    task = Evaluation(
        scenes=scenes,
        images=images,
        out=out,
        protocol=_protocol(protocol),
        eyes=_eyes(faces, detector, embedder, commercial),
        texts=tuple(text or ()),
        text_device=text_device,
        root=root,
        num_workers=workers,
        overwrite=overwrite,
    )
    try:
        with progress_bar("scoring") as tell:
            result = run_evaluation(task, tell)
    except KeyboardInterrupt:
        say("stopped; what was finished is kept, run the same command again to go on")
        raise typer.Exit(130) from None
    for problem in result.problems:
        say(f"problem: {problem}")
    for reason in result.inseparable:
        say(f"warning: {reason}; their confusion scores are unmeasured")
    if json:
        print_json({**result.summary, "problems": list(result.problems), "out": str(result.out)})
    else:
        print_summary(f"{result.num_pictures} pictures", result.summary["metrics"])
        say(f"rows: {out / 'results.jsonl'}; look at them: personae report {out}")
    if result.problems:
        raise typer.Exit(1)


def compare(
    first: Annotated[Path, typer.Argument(help="Results to compare with.")],
    second: Annotated[Path, typer.Argument(help="Results that are new.")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option("--fail-if", help="Exit 1 if so, e.g. 'strict_id_similarity<-0.02'."),
    ] = None,
    json: Json = False,
) -> None:
    """Paired differences, second minus first, with 95% intervals over scenes."""
    gates = [comparing.parse_gate(text) for text in fail_if or []]
    differences = comparing.compare_runs(first, second)
    failed = comparing.failed_gates(gates, differences)
    if json:
        print_json(
            {
                "differences": [item.as_json() for item in differences],
                "failed": [gate.text for gate in failed],
            }
        )
    else:
        columns = [
            "metric",
            "better",
            "first",
            "second",
            "difference",
            "95% interval",
            "pairs",
            "unpaired",
            "eyes",
        ]
        print_table(
            f"{second} minus {first}", columns, [difference_row(item) for item in differences]
        )
        for gate in failed:
            say(f"failed: {gate.text}")
    if failed:
        raise typer.Exit(1)


def report(
    results: Annotated[Path, typer.Argument(help="Folder of results, or of a training run.")],
    against: Annotated[
        Path | None, typer.Option("--against", help="Results of another run, side by side.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write.")] = None,
    json: Json = False,
) -> None:
    """Write report.html: every picture of an evaluation, worst first, or a training's curves."""
    is_training = is_training_run(results) and not (results / "results.jsonl").is_file()
    if is_training and against is not None:
        raise RequestError("--against: two evaluations are set side by side, trainings are not")
    path = (
        write_training_report(results, out)
        if is_training
        else write_report(results, out, against=against)
    )
    if json:
        print_json({"report": str(path)})
    else:
        say(f"wrote {path}")


def doctor(
    cast_file: Annotated[
        Path | None, typer.Option("--cast", help="cast.jsonl: can these eyes tell them apart?")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Folder, hub id or toons: does it fit here?")
    ] = None,
    width: Annotated[int | None, typer.Option("--width", min=1, help="With --height.")] = None,
    height: Annotated[int | None, typer.Option("--height", min=1, help="With --width.")] = None,
    references: Annotated[
        int | None, typer.Option("--references", min=0, help="How many --model draws from.")
    ] = None,
    root: Root = None,
    faces: Faces = "dlib",
    detector: Detector = "guided",
    embedder: Embedder = "efficientnet-lite0",
    commercial: Commercial = False,
    json: Json = False,
) -> None:
    """Is this machine ready, can these eyes tell a cast apart, and does a model fit?"""
    size = _size(width, height)
    eyes = _eyes(faces, detector, embedder, commercial)
    model_check = None if model is None else doctoring.check_model(model, size, references)
    checks = doctoring.check_machine(eyes)
    cast_check = None if cast_file is None else doctoring.check_cast(cast_file, eyes, root)
    ok = all(check.ok for check in checks if check.needed)
    ok = ok and all(check is None or check.ok for check in (cast_check, model_check))
    if json:
        print_json(
            {
                "ok": ok,
                "checks": [vars(check) for check in checks],
                "cast": None if cast_check is None else cast_json(cast_check),
                "model": None if model_check is None else model_json(model_check),
            }
        )
    else:
        rows = [
            [c.name, "ok" if c.ok else ("MISSING" if c.needed else "-"), c.seen] for c in checks
        ]
        print_table("machine", ["what", "state", "seen"], rows)
        if cast_check is not None:
            print_cast(cast_check)
        if model_check is not None:
            print_model(model_check)
    if not ok:
        raise typer.Exit(1)


def _eyes(faces: str, detector: str, embedder: str, commercial: bool) -> EyesChoice:
    return EyesChoice(
        faces=faces,
        detector=detector,
        embedder=embedder,
        commercial=commercial,
    )


def _size(width: int | None, height: int | None) -> tuple[int, int] | None:
    if width is None and height is None:
        return None
    if width is None or height is None:
        raise RequestError("--width and --height: give both, or neither")
    return width, height


def _protocol(name: str) -> Protocol:
    for protocol in PROTOCOLS:
        if protocol == name:
            return protocol
    raise RequestError(f"--protocol {name!r}: expected one of {PROTOCOLS}")


def _kinds(kinds: Sequence[str], references: dict[str, list[str]]) -> dict[str, str]:
    """Bare kinds hold for all subjects, NAME=KIND for one and wins."""
    bare = [kind for kind in kinds if "=" not in kind]
    named = parse_named([kind for kind in kinds if "=" in kind], "--kind")
    everyone = dict.fromkeys(references, bare[-1]) if bare else {}
    return everyone | {name: values[-1] for name, values in named.items()}


def _relation(text: str | None) -> list[str] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split("|")]
    if len(parts) != 3:
        raise RequestError(f"--relation {text!r}: expected 'NAME|left of|NAME'")
    return parts
