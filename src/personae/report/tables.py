"""The page's tables: the summary with its intervals, what changed between two runs, the facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from markupsafe import Markup

from personae.report.charts import (
    axis_for,
    difference_axis,
    difference_bar,
    interval_bar,
    spread_bars,
)
from personae.report.records import MAIN_METRICS, Run

__all__ = ["change_rows", "facts_of", "separability_of", "summary_rows"]

Row = dict[str, Any]
Pair = tuple[str, float, float]
"""Scene, our value, theirs."""
Place = tuple[str, Any, str | None, str]
"""Scene, seed, subject, eyes."""


def summary_rows(run: Run) -> list[Row]:
    """A row a metric of summary.json, the ordering metric first, with its charts."""
    entries = list((run.summary or {}).get("metrics") or [])
    names = [str(entry.get("metric")) for entry in entries]
    # The rows of one metric (other eyes, other protocol) stand together.
    entries.sort(key=lambda e: (_prominence(str(e.get("metric"))), names.index(str(e["metric"]))))
    spreads = _spreads(run)
    return [_summary_row(entry, spreads.get(_summary_key(entry), [])) for entry in entries]


def change_rows(ours: Run, theirs: Run, higher: Callable[[str], bool]) -> list[Row]:
    """A row a metric and eyes: mean paired difference (ours minus theirs), its 95% interval."""
    rows = [
        _change_row(key, eyes, pairs)
        for key in ours.columns
        if key in theirs.columns
        for eyes, pairs in _pairs(ours, theirs, key).items()
    ]
    axis = difference_axis([end for row in rows for end in (row["mean"], *(row["ci"] or ()))])
    rows.sort(key=lambda row: _prominence(row["metric"]))
    for row in rows:
        row["higher"] = higher(row["metric"])
        row["tone"] = _tone(row)
        row["bar"] = Markup(difference_bar(row["mean"], row["ci"], axis, row["tone"]))
        row["axis"] = axis
    return rows


def separability_of(run: Run) -> Row:
    """Pairs of subjects the eyes cannot tell apart, and how many pairs were looked at."""
    pairs = run.facts.get("separability") or []
    close = [
        {"subjects": [str(name) for name in pair.get("subjects", [])], "reason": pair.get("reason")}
        for pair in pairs
        if pair.get("separable") is False
    ]
    return {"close": close, "pairs": len(pairs)}


def facts_of(run: Run) -> list[tuple[str, str]]:
    """What produced the numbers: files, protocol, eyes, environment, as names and plain text."""
    shown = ("protocol", "eyes", "scenes", "images", "environment")
    facts = {name: run.facts[name] for name in shown if name in run.facts}
    if "environment" not in facts and run.summary:
        facts["environment"] = run.summary.get("environment") or {}
    return list(_flat(facts, ""))


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name} / {key}" if name else str(key))
    elif isinstance(value, list):
        yield name, ", ".join(str(inner) for inner in value)
    elif value is not None:
        yield name, str(value)


def _prominence(metric: str) -> int:
    return MAIN_METRICS.index(metric) if metric in MAIN_METRICS else len(MAIN_METRICS)


def _summary_key(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    metric, protocol = str(entry.get("metric")), str(entry.get("protocol") or "")
    return metric, protocol, str(entry.get("eyes") or "")


def _spreads(run: Run) -> dict[tuple[str, str, str], list[float]]:
    """The mean of each picture, by metric, protocol and eyes."""
    names = list(run.columns)
    spreads: dict[tuple[str, str, str], list[float]] = {}
    for picture in run.pictures.values():
        found: dict[tuple[int, str], list[float]] = {}
        for score in picture.scores:
            if score.value is not None:
                found.setdefault((score.column, score.eyes), []).append(score.value)
        for (column, eyes), values in found.items():
            spreads.setdefault((*names[column], eyes), []).append(sum(values) / len(values))
    return spreads


def _summary_row(entry: Mapping[str, Any], values: list[float]) -> Row:
    mean, ci = entry.get("mean"), entry.get("ci95")
    known = [float(value) for value in (mean, *(ci or ())) if value is not None]
    axis = axis_for(known + values)
    interval = (float(ci[0]), float(ci[1])) if ci else None
    bar = "" if mean is None else interval_bar(float(mean), interval, axis)
    return {
        "metric": entry.get("metric"),
        "protocol": entry.get("protocol") or "",
        "eyes": entry.get("eyes") or "",
        "mean": mean,
        "interval": interval,
        "axis": axis,
        "bar": Markup(bar),
        "spread": Markup(spread_bars(values, axis)),
        "n": entry.get("n"),
        "n_absent": entry.get("n_absent"),
        "n_unmeasured": entry.get("n_unmeasured"),
        "higher": entry.get("higher_is_better", True),
    }


def _pairs(ours: Run, theirs: Run, key: tuple[str, str]) -> dict[str, list[Pair]]:
    """By eyes: scene, our value and theirs, of every key that both runs have measured."""
    other = dict(_values(theirs, key))
    pairs: dict[str, list[Pair]] = {}
    for place, value in _values(ours, key):
        if place in other:
            pairs.setdefault(place[3], []).append((place[0], value, other[place]))
    return pairs


def _values(run: Run, key: tuple[str, str]) -> Iterator[tuple[Place, float]]:
    column = run.columns[key]
    for picture in run.pictures.values():
        for score in picture.scores:
            if score.column == column and score.value is not None:
                yield (picture.scene, picture.seed, score.subject, score.eyes), score.value


def _change_row(key: tuple[str, str], eyes: str, pairs: list[Pair]) -> Row:
    from personae.metrics.summary import paired_difference

    mean, ci = paired_difference(pairs)
    return {
        "metric": key[0],
        "protocol": key[1],
        "eyes": eyes,
        "ours": sum(ours for _, ours, _ in pairs) / len(pairs),
        "theirs": sum(theirs for _, _, theirs in pairs) / len(pairs),
        "mean": mean,
        "ci": ci,
        "n": len(pairs),
    }


def _tone(row: Row) -> str:
    """Better or worse where the interval leaves zero out; unclear otherwise, or without one."""
    if row["ci"] is None or row["ci"][0] <= 0 <= row["ci"][1]:
        return "unclear"
    return "better" if (row["mean"] > 0) == row["higher"] else "worse"
