"""Scenes in, pictures out: seed by seed, resumed where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personae.compute.runs import RowLog, make_folder
from personae.diffusion.backbone import Backbone
from personae.errors import RequestError
from personae.generation.best import Rater
from personae.generation.drawing import Drawing
from personae.generation.folder import (
    FAILED,
    check_run,
    image_name,
    open_log,
    picture_key,
    run_settings,
    scene_stamp,
)
from personae.generation.images import Easel, scene_rows
from personae.generation.layout_memory import RememberedPlanner
from personae.generation.planners import LayoutPlanner
from personae.subjects.scene import Scene

__all__ = ["Failure", "GenerationSummary", "generate"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Failure:
    """A picture that could not be drawn, and why."""

    scene: str
    seed: int
    reason: str


@dataclass(frozen=True)
class GenerationSummary:
    """What became of a request.

    ``num_pictures`` of those asked for are there, ``num_drawn_now`` of them made by this call in
    ``seconds``. Of ``num_unrated`` no candidate could be rated, and the first was kept;
    ``num_cut`` were drawn from a prompt of which the model reads only the beginning.
    """

    out: Path
    num_pictures: int
    num_drawn_now: int
    num_unrated: int
    num_cut: int
    seconds: float
    failures: tuple[Failure, ...]

    def as_json(self) -> dict[str, Any]:
        """A machine's answer."""
        failures = [vars(failure) for failure in self.failures]
        return {**vars(self), "out": str(self.out), "failures": failures}


def generate(  # noqa: PLR0913 - what, with what, where to, how, and five knobs
    scenes: Sequence[Scene],
    backbone: Backbone,
    out: Path,
    drawing: Drawing | None = None,
    *,
    seeds: int | Sequence[int] = 1,
    batch: int = 4,
    rater: Rater | None = None,
    planner: LayoutPlanner | None = None,
    progress: Progress | None = None,
) -> GenerationSummary:
    """Draw every scene once a seed: ``out/images/{scene}/{seed}.png`` and ``out/images.jsonl``.

    ``seeds`` is a number of seeds from 0, or the seeds themselves. ``batch`` pictures of a scene
    are drawn at once. A picture that is there, drawn of the same scene from the same reference
    files, is not drawn again; one that failed is tried again. ``rater`` says which of
    ``drawing.best_of`` candidates is kept. ``planner`` is asked for the layout ``llm``, once a
    scene; its answers are kept in ``out/layouts.jsonl``. ``progress`` is told (done, of how many).

    A scene that cannot be drawn leaves rows with their ``error``, and the others go on.

    Raises:
        RequestError: no seed, no batch, best-of without a rater, ``llm`` without a planner, a size
            that this model cannot draw, or ``out`` holds pictures drawn otherwise; all before any
            work.
        WorkError: a full disk; what was finished is kept.
    """
    started = time.perf_counter()
    wanted = _checked_seeds(seeds)
    settled = (drawing or Drawing()).settled(backbone)
    easel = _easel(backbone, settled, out, batch, rater, planner)
    check_run(make_folder(out), run_settings(backbone, settled, rater, planner))
    stamps = {scene.id: scene_stamp(scene, easel.drawing) for scene in scenes}
    with _opened(out, stamps, wanted) as log:
        num_wanted = len(stamps) * len(wanted)
        num_before = sum(picture_key(name, seed) in log.done for name in stamps for seed in wanted)
        failures: list[Failure] = []
        num_rows = num_unrated = num_cut = 0
        for scene in scenes:
            missing = [seed for seed in wanted if picture_key(scene.id, seed) not in log.done]
            for row in scene_rows(easel, scene, missing) if missing else ():
                stamp = FAILED if row["error"] else stamps[scene.id]
                log.append(picture_key(scene.id, row["seed"]), stamp, [row])
                failures += [Failure(scene.id, row["seed"], row["error"])] if row["error"] else []
                num_rows += 1
                num_unrated += _is_unrated(row)
                num_cut += row["prompt_cut"]
                if progress is not None:
                    progress(num_before + num_rows, num_wanted)
    num_new = num_rows - len(failures)
    seconds = time.perf_counter() - started
    num_there = num_before + num_new
    return GenerationSummary(
        out, num_there, num_new, num_unrated, num_cut, seconds, tuple(failures)
    )


def _is_unrated(row: Mapping[str, Any]) -> bool:
    best_of = row["best_of"]
    return best_of is not None and all(score is None for score in best_of["scores"])


def _opened(out: Path, stamps: dict[str, str], seeds: Sequence[int]) -> RowLog:
    """images.jsonl without the rows of these pictures that no longer hold."""
    pairs = {picture_key(name, seed): (name, seed) for name in stamps for seed in seeds}
    names = {key: image_name(*pair) for key, pair in pairs.items()}
    return open_log(out, {key: stamps[name] for key, (name, _) in pairs.items()}, names)


def _checked_seeds(seeds: int | Sequence[int]) -> list[int]:
    wanted = list(range(seeds)) if isinstance(seeds, int) else list(dict.fromkeys(seeds))
    if not wanted or min(wanted) < 0:
        raise RequestError(f"seeds {seeds!r}: expected at least one, from 0 up")
    return wanted


def _easel(
    backbone: Backbone,
    drawing: Drawing,
    out: Path,
    batch: int,
    rater: Rater | None,
    planner: LayoutPlanner | None,
) -> Easel:
    if batch < 1:
        raise RequestError(f"batch {batch}: expected at least 1")
    if drawing.best_of > 1 and rater is None:
        raise RequestError(
            f"best of {drawing.best_of}: nobody says which one is best; give a rater"
        )
    if drawing.layout == "llm" and drawing.uses_layout and planner is None:
        raise RequestError("layout 'llm': nobody plans it; give a planner")
    remembering = None if planner is None else RememberedPlanner(planner, out)
    return Easel(backbone, drawing, out, batch, rater, remembering)
