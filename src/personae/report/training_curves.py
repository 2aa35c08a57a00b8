"""Which numbers of a training log stand in which chart, and what a reader must know of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from personae.report.curves import Line, curve_chart
from personae.training.history import History

__all__ = ["Chart", "Section", "sections_of"]

_LOOK = "validation."
_EXAMINER = "examiner_"
_THIRD = "features"
_SPANS = ("picture", "more picture", "more noise", "noise")
_OWN_CHARTS = ("loss", "grad_norm", "lr", "examples_per_second", "seconds", "unmeasured")
_NO_CURVE = {"best_step", "validation.seconds", "skipped"}


@dataclass(frozen=True)
class Chart:
    """One chart: its title, what to know of it, its lines for the legend, its drawing."""

    title: str
    words: str
    lines: Sequence[Line]
    svg: Markup


@dataclass(frozen=True)
class Section:
    """Charts that belong together; ``badge`` says what their numbers were never used for."""

    title: str
    words: str
    charts: Sequence[Chart]
    badge: str = ""


@dataclass(frozen=True)
class _Drawer:
    """Draws charts of one log, all over the same steps, with the same best one."""

    log: History
    steps: tuple[int, int]

    def chart(self, title: str, lines: Sequence[Line], words: str = "") -> Chart | None:
        lines = [line for line in lines if line.points]
        if not lines:
            return None
        svg = curve_chart(lines, self.steps, title, self.log.best_step)
        return Chart(title, words, lines, Markup(svg))

    def both(self, name: str, title: str = "", words: str = "") -> Chart | None:
        """A number while training, and the same on other identities."""
        trained = Line("while training", self.log.series(name), 0)
        looked = Line("on other identities", self.log.series(_LOOK + name), 1, smooth=False)
        return self.chart(title or name, [trained, looked], words)


def sections_of(log: History, recipe: Mapping[str, Any]) -> list[Section]:
    """All charts of a log; a number that nobody here knows gets one too."""
    last = max((row["step"] for row in log.rows), default=1)
    drawer = _Drawer(log, (0, max(1, last)))
    names = [name for name in log.names() if name not in _NO_CURVE]
    plain = list(dict.fromkeys(name.removeprefix(_LOOK) for name in names))
    weights = recipe.get("rewards", {}).get("weights", {})
    rewards = [name for name in plain if name == "reward" or name in weights]
    examined = [name for name in plain if name.startswith(_EXAMINER)]
    known = {*rewards, *examined, _THIRD, *_OWN_CHARTS}
    rest = [name for name in plain if name not in known]
    found = [
        _rewards(drawer, rewards, weights),
        _third(drawer),
        _examiner(drawer, examined),
        _steps(drawer, recipe, rest),
    ]
    return [section for section in found if section.charts]


def _kept(charts: Sequence[Chart | None]) -> list[Chart]:
    return [chart for chart in charts if chart is not None]


def _rewards(drawer: _Drawer, names: Sequence[str], weights: Mapping[str, Any]) -> Section:
    """The sum and each summand; a summand that is the sum has no chart of its own."""
    log, same = drawer.log, [name for name in names if name != "reward"]
    if len(same) == 1 and all(
        log.series(p + same[0]) == log.series(p + "reward") for p in ("", _LOOK)
    ):
        charts = [drawer.both("reward", f"reward: {same[0]}")]
    else:
        charts = [
            drawer.both(name, words=f"weight {weights[name]:g}" if name in weights else "the sum")
            for name in names
        ]
    words = "Training makes these grow, so they alone do not show that it is getting better."
    return Section("What is trained for", words, _kept(charts))


def _third(drawer: _Drawer) -> Section:
    line = Line("on other identities", drawer.log.series(_LOOK + _THIRD), 1, smooth=False)
    words = (
        "The third measure: neither the rewards' eyes nor the examiner's. Nothing is trained for "
        "it; the step where it is largest is kept as the best one, and a run that no longer makes "
        "it grow is over-optimizing."
    )
    return Section("What says which step is the best", words, _kept([drawer.chart(_THIRD, [line])]))


def _examiner(drawer: _Drawer, names: Sequence[str]) -> Section:
    charts = [drawer.both(name) for name in names]
    words = "Another detector and another embedder, for the log alone."
    badge = "never used for training or choice"
    return Section("The examiner", words, _kept(charts), badge)


def _steps(drawer: _Drawer, recipe: Mapping[str, Any], rest: Sequence[str]) -> Section:
    log = drawer.log
    clip = recipe.get("optimizer", {}).get("clip")
    limit = f"before it is shortened to {clip:g}" if clip else ""
    loss = log.series("loss")
    loss = loss if any(value for _, value in loss) else []  # a method without one logs zeros
    charts = [
        drawer.chart("loss", [Line("loss", loss)], "flow matching"),
        drawer.chart("loss by time", _by_time(log), "four spans, from the picture's end to noise"),
        drawer.chart("grad_norm", [Line("grad_norm", log.series("grad_norm"))], limit),
        drawer.chart("seconds a step", [Line("seconds a step", _paces(log))], "with all between"),
        drawer.chart("lr", [Line("lr", log.series("lr"), smooth=False)], "learning rate"),
        drawer.chart(
            "unmeasured",
            [Line("unmeasured", log.series("unmeasured"), smooth=False)],
            "pictures that a reward could not look at",
        ),
        *(drawer.both(name) for name in rest),
    ]
    return Section("Loss and steps", "", _kept(charts))


def _by_time(log: History) -> list[Line]:
    lines = []
    for place, name in enumerate(_SPANS):
        points = [(row["step"], _at(row.get("loss_by_time"), place)) for row in log.training]
        kept = [(step, value) for step, value in points if value is not None]
        lines.append(Line(name, kept, place))
    return lines


def _at(values: Any, place: int) -> float | None:
    """One of a list's numbers; what is none, or not finite, is nothing."""
    if not isinstance(values, list) or place >= len(values):
        return None
    told = History(({"step": 0, "value": values[place]},)).series("value")
    return told[0][1] if told else None


def _paces(log: History) -> list[tuple[int, float]]:
    """Seconds of each step, from one row to the next; a resumption's first row has none."""
    return [
        (step, (after - before) / (step - start))
        for (start, before), (step, after) in pairwise(log.series("seconds"))
        if step > start and after >= before
    ]
