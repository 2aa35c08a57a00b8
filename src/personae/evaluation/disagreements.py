"""Rows on which the official and the strict arithmetic disagree most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from personae.evaluation.suite_table import is_of_eyes
from personae.evaluation.suites.card import Column
from personae.evaluation.suites.suite import LoadedSuite
from personae.metrics.cards import METRICS

__all__ = ["disagreements"]

_LEAST = 0.1
_MOST_ROWS = 60
# Without bounds, but of a known scale.
_SPANS = {"grid_aesthetic": 10.0}
Row = Mapping[str, Any]
Key = tuple[str, Any, Any]


def disagreements(loaded: LoadedSuite, rows: Iterable[Row], eyes: Iterable[str]) -> dict[str, Any]:
    """Pairs of rows of a column that differ, or of which one protocol alone has a value.

    Differing is by a tenth of the metric's range (of 1 where it has none) at least. ``rows`` holds
    the sixty widest apart, those that one protocol omits first; ``num`` counts all, by column,
    beside the number of ``pairs``.
    """
    names = set(eyes)
    kept = [row for row in rows if is_of_eyes(row, names)]
    found: list[dict[str, Any]] = []
    counts: dict[str, dict[str, int]] = {}
    for subset, card, official, strict in _pairs(loaded):
        column = card.name
        ours = _by_key(loaded, kept, subset, strict, "strict")
        theirs = _by_key(loaded, kept, subset, official, "official")
        count = counts.setdefault(column, {"pairs": 0, "num": 0})
        for key in ours.keys() & theirs.keys():
            count["pairs"] += 1
            gap = _gap(theirs[key], ours[key], official)
            if gap >= _LEAST:
                count["num"] += 1
                found.append(_told(card, subset, theirs[key], ours[key], gap))
    found.sort(key=lambda item: (-item["gap"], item["column"], item["scene"], str(item["seed"])))
    return {"columns": counts, "rows": found[:_MOST_ROWS]}


def _pairs(loaded: LoadedSuite) -> list[tuple[str, Column, str, str]]:
    """Subset, column, official and strict metric, where both are there."""
    pairs = []
    for subset in loaded.subsets:
        for column in loaded.card.columns:
            official, strict = column.metric(subset, "official"), column.metric(subset, "strict")
            if column.stands_in(subset) and official is not None and strict is not None:
                pairs.append((subset, column, official, strict))
    return pairs


def _by_key(
    loaded: LoadedSuite, rows: Iterable[Row], subset: str, metric: str, protocol: str
) -> dict[Key, Row]:
    return {
        (row["scene"], row["seed"], row["subject"]): row
        for row in rows
        if row["metric"] == metric
        and row["protocol"] == protocol
        and row["image"] is not None
        and loaded.subset_of.get(row["scene"]) == subset
    }


def _gap(official: Row, strict: Row, metric: str) -> float:
    """How far apart, as a share of the range; 1 where one has a value and the other has none."""
    if official["value"] is None and strict["value"] is None:
        return 0.0
    if official["value"] is None or strict["value"] is None:
        return 1.0
    span = _SPANS.get(metric) or METRICS[metric].high or 1.0
    return float(abs(official["value"] - strict["value"]) / span)


def _told(column: Column, subset: str, official: Row, strict: Row, gap: float) -> dict[str, Any]:
    return {
        "column": column.name,
        "subset": subset,
        "scene": official["scene"],
        "seed": official["seed"],
        "subject": official["subject"],
        "image": official["image"],
        "official": _scaled(official, column),
        "official_unmeasured": official["unmeasured"],
        "strict": _scaled(strict, column),
        "strict_unmeasured": strict["unmeasured"],
        "absent": bool((strict["details"] or {}).get("absent")),
        "gap": round(gap, 4),
    }


def _scaled(row: Row, column: Column) -> float | None:
    """In the unit of the column."""
    return None if row["value"] is None else round(column.scale * row["value"], 4)
