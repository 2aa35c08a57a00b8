"""A published suite from end to end: draw or take the pictures, look, ask, and make its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from personae import __version__
from personae.compute.runs import RowLog, make_folder, read_json, read_rows, write_json
from personae.diffusion.backbone import Backbone
from personae.errors import RequestError
from personae.evaluation.bench_account import Account, account_of
from personae.evaluation.disagreements import disagreements
from personae.evaluation.evaluate import Evaluation, evaluate, shot_stamp
from personae.evaluation.judge_agreement import judge_agreement
from personae.evaluation.judging import JudgingAccount, judge_shots
from personae.evaluation.measure import Shot
from personae.evaluation.model_rows import score_by_models
from personae.evaluation.pictures import find_pictures
from personae.evaluation.suite_pictures import lay_out
from personae.evaluation.suite_table import Line, suite_table
from personae.evaluation.suites.suite import (
    LoadedSuite,
    Suite,
    SuiteOptions,
    missing_files,
    only_subsets,
)
from personae.evaluation.texts import TEXT_SCORERS
from personae.evaluation.whole import build_whole_models, whole_sources
from personae.generation import Drawing, Failure, generate
from personae.metrics.scoring import PROTOCOLS, Protocol
from personae.metrics.summary import summarize
from personae.metrics.witnesses import EyesChoice
from personae.subjects.scene_lines import write_scenes
from personae.vision.judges import QuestionJudge

__all__ = ["BENCH_FILE", "Bench", "BenchResult", "Drawn", "load_suite", "run_bench"]

BENCH_FILE = "bench.json"
_FORMAT = 1
_DATA = "data"

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Drawn:
    """A model to draw the suite with."""

    backbone: Backbone
    drawing: Drawing
    batch: int = 4


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A suite to run.

    Attributes:
        suite: which.
        out: the run's folder.
        model: what the table calls it.
        data: the user's folder; None for a suite that makes its own.
        images: pictures made elsewhere; or ``drawn`` with a model.
        protocols: whose arithmetic.
        eyes: whose looks.
        judge: who is asked; None: nobody.
        judge_repeats: how often each question is asked, at least; None: as published.
        texts: models that read prompts too.
        wholes: models that look at whole pictures (`build_whole_models`).
        model_device: where both compute.
        num_seeds: pictures a scene; None: as published.
        subsets: only these; () is all.
        grid: pictures a side in each file; None: as published.
        options: for the suite's loader.
        num_workers: processes that look; 0 is one a core.
    """

    suite: Suite
    out: Path
    model: str
    data: Path | None = None
    images: Path | None = None
    drawn: Drawn | None = None
    protocols: tuple[Protocol, ...] = PROTOCOLS
    eyes: EyesChoice = field(default_factory=EyesChoice)
    judge: QuestionJudge | None = None
    judge_repeats: int | None = None
    texts: tuple[str, ...] = ()
    wholes: tuple[str, ...] = ()
    model_device: str = "cpu"
    num_seeds: int | None = None
    subsets: tuple[str, ...] = ()
    grid: int | None = None
    options: SuiteOptions = field(default_factory=SuiteOptions)
    num_workers: int = 1


@dataclass(frozen=True)
class BenchResult:
    """What came of it: the table, an account of what was not done, and the file that holds both."""

    path: Path
    lines: tuple[Line, ...]
    account: Account
    data: dict[str, Any]


def load_suite(
    suite: Suite, data: Path | None, out: Path | None, options: SuiteOptions
) -> LoadedSuite:
    """The suite from the user's folder, or from one below ``out`` where it makes its own.

    Raises:
        RequestError: no folder was given, or it is not there.
        DataError: nothing in it can be read.
    """
    if suite.makes_data and data is None and out is not None:
        return suite.load(out / _DATA, options)
    if data is None:
        raise RequestError(
            f"--data: where is {suite.card.title}? It is not shipped; get it from "
            f"{suite.card.source} ({suite.card.licence}). Expected there: {suite.card.data_tree}"
        )
    if not suite.makes_data and not data.is_dir():
        raise RequestError(f"--data {data}: no such folder; expected {suite.card.data_tree}")
    return suite.load(data, options)


def run_bench(task: Bench, tell: Tell | None = None) -> BenchResult:
    """Run or resume a suite; ``out`` then holds what `evaluate` leaves, and ``bench.json``.

    Pictures, rows and judgements that are there are kept. A judge that fails leaves the columns of
    the eyes as they are. ``tell`` is told (what is done, done, of how many).

    Raises:
        RequestError: the request is wrong, or ``out`` holds another suite.
        DataError: the suite or the pictures cannot be read.
        WeightsError: eyes or models cannot be loaded.
        WorkError: a full disk, a worker that died; what was finished is kept.
    """
    if (task.images is None) == (task.drawn is None):
        raise RequestError("bench: give --images DIR or --model NAME, and not both")
    say = tell or (lambda what, done, total: None)
    whole_sources(task.wholes)
    loaded = load_suite(task.suite, task.data, task.out, task.options)
    if task.subsets:
        loaded = only_subsets(loaded, task.subsets)
    num_seeds = loaded.card.seeds if task.num_seeds is None else task.num_seeds
    _check_out(task, loaded)
    scenes_path = task.out / "scenes.jsonl"
    write_scenes(loaded.scenes, scenes_path)
    failures = _draw(task, loaded, num_seeds, say)
    images, problems = _pictures(task, loaded)
    ran = _look(task, scenes_path, images, say)
    shots = _shots(loaded, images)
    whole_eyes = _see_whole(task, loaded, shots, say)
    judged = _ask(task, loaded, shots, say)
    rows = list(read_rows(task.out / "results.jsonl"))
    _write_summary(task.out, rows)
    names = frozenset([*ran["eyes"], *_text_eyes(task, rows), *whole_eyes])
    names |= {task.judge.name} if task.judge else set()
    lines = suite_table(loaded, rows, protocols=task.protocols, eyes=names, num_seeds=num_seeds)
    account = account_of(
        loaded,
        rows=rows,
        pictures=find_pictures(images, [scene.id for scene in loaded.scenes]),
        num_seeds=num_seeds,
        failures=failures,
        problems=(*loaded.problems, *problems, *ran["problems"]),
        judged=judged,
    )
    data = {
        "format": _FORMAT,
        "personae": __version__,
        "suite": loaded.card.name,
        "title": loaded.card.title,
        "model": task.model,
        "protocols": list(task.protocols),
        "eyes": sorted(names),
        "judge": None if task.judge is None else task.judge.name,
        "judge_agreement": judge_agreement(rows, task.judge.name) if task.judge else {},
        "scenes": _scenes_told(loaded),
        "num_scenes": len(loaded.scenes),
        "num_seeds": num_seeds,
        "unverified": loaded.card.unverified,
        "lines": [line.as_json() for line in lines],
        "disagreements": disagreements(loaded, rows, names),
        "account": account.as_json(),
    }
    path = task.out / BENCH_FILE
    write_json(path, {**read_json(path), **data})
    return BenchResult(path, tuple(lines), account, data)


def _scenes_told(loaded: LoadedSuite) -> dict[str, dict[str, Any]]:
    """Of each scene its subset and its subjects' kinds, for who has the results alone."""
    return {
        scene.id: {
            "subset": loaded.subset_of[scene.id],
            "kinds": {name: subject.kind for name, subject in scene.subjects.items()},
        }
        for scene in loaded.scenes
    }


def _check_out(task: Bench, loaded: LoadedSuite) -> None:
    """A folder belongs to one suite, model and choice of scenes."""
    settings = {
        "suite": loaded.card.name,
        "model": task.model,
        "subsets": sorted(task.subsets),
        "size": task.options.size if task.suite.makes_data else "",
    }
    path = make_folder(task.out) / BENCH_FILE
    if not path.exists():
        write_json(path, {"settings": settings})
        return
    before = read_json(path).get("settings")
    if before != settings:
        raise RequestError(f"{task.out} holds {before}, now {settings} is asked for; another --out")


def _draw(task: Bench, loaded: LoadedSuite, num_seeds: int, say: Tell) -> tuple[Failure, ...]:
    """Draw the scenes whose photos are all there; those that lack one are told of elsewhere."""
    if task.drawn is None:
        return ()
    lacking = {name for scenes in missing_files(loaded).values() for name in scenes}
    summary = generate(
        [scene for scene in loaded.scenes if scene.id not in lacking],
        task.drawn.backbone,
        task.out,
        task.drawn.drawing,
        seeds=num_seeds,
        batch=task.drawn.batch,
        progress=partial(say, "drawing"),
    )
    return summary.failures


def _pictures(task: Bench, loaded: LoadedSuite) -> tuple[Path, tuple[str, ...]]:
    if task.images is None:
        return make_folder(task.out / "images"), ()
    laid = lay_out(loaded, task.images, task.out, task.grid)
    return laid.folder, laid.problems


def _look(task: Bench, scenes: Path, images: Path, say: Tell) -> dict[str, list[str]]:
    """Both protocols into one folder; which eyes looked, and what they could not use."""
    eyes: list[str] = []
    problems: list[str] = []
    for protocol in task.protocols:
        evaluate(
            Evaluation(
                scenes=scenes,
                images=images,
                out=task.out,
                protocol=protocol,
                eyes=task.eyes,
                texts=task.texts if protocol == task.protocols[-1] else (),
                text_device=task.model_device,
                root=Path(scenes.resolve().anchor),
                num_workers=task.num_workers,
            ),
            partial(say, f"{protocol} arithmetic"),
        )
        run = read_json(task.out / "run.json")
        eyes += run["eyes"].values()
        problems += run["problems"]
    return {"eyes": list(dict.fromkeys(eyes)), "problems": list(dict.fromkeys(problems))}


def _shots(loaded: LoadedSuite, images: Path) -> list[Shot]:
    """Every picture of every scene; a scene without one too."""
    scenes = {scene.id: scene for scene in loaded.scenes}
    found = find_pictures(images, list(scenes))
    shots = [
        Shot(scenes[item.scene], item.seed, item.path, item.path.relative_to(images).as_posix())
        for item in found.pictures
    ]
    return shots + [Shot(scenes[name]) for name in found.missing]


def _see_whole(
    task: Bench, loaded: LoadedSuite, shots: Sequence[Shot], say: Tell
) -> tuple[str, ...]:
    """Rows of whole pictures; what their eyes are called."""
    if not task.wholes:
        return ()
    built = build_whole_models(
        task.wholes,
        shots,
        grid=loaded.card.grid,
        stamp=shot_stamp,
        device=task.model_device,
    )
    models = [model for model in built if model.protocol in task.protocols]
    with RowLog(task.out / "results.jsonl") as log:
        score_by_models(models, shots, log, shot_stamp, "whole", partial(say, "whole pictures"))
    return tuple(dict.fromkeys(model.name for model in models))


def _ask(
    task: Bench, loaded: LoadedSuite, shots: Sequence[Shot], say: Tell
) -> JudgingAccount | None:
    if task.judge is None or not loaded.asked:
        return None
    asked = {
        name: [
            one.repeated(task.judge_repeats or 1)
            for one in each
            if any(row[1] in task.protocols for row in one.rows)
        ]
        for name, each in loaded.asked.items()
    }
    with RowLog(task.out / "results.jsonl") as log:
        return judge_shots(task.judge, asked, shots, log, shot_stamp, partial(say, "judging"))


def _text_eyes(task: Bench, rows: Sequence[dict[str, Any]]) -> list[str]:
    """The models that read prompts, as the newest rows of their metrics name them."""
    metrics = {TEXT_SCORERS[text.partition(":")[0]][0] for text in task.texts}
    return list({row["metric"]: row["eyes"] for row in rows if row["metric"] in metrics}.values())


def _write_summary(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """As `evaluate` writes it, with the judge's rows."""
    summary = read_json(out / "summary.json")
    metrics = [item.as_json() for item in summarize(rows)]
    write_json(out / "summary.json", {**summary, "metrics": metrics})
