"""The page of a suite's run: its table beside the published rows, and what was not done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from personae.compute.runs import read_json
from personae.errors import DataError
from personae.evaluation.judge_agreement import agreement_told
from personae.evaluation.suites.card import PublishedRow, SuiteCard
from personae.evaluation.suites.registry import SUITES
from personae.metrics.cards import METRICS
from personae.report.page import content_policy, page_file, write_whole

__all__ = ["PAGE", "by_source", "columns_told", "render_tables", "write_bench_page"]

PAGE = "bench.html"


def write_bench_page(run: Path, out: Path | None = None) -> Path:
    """Write ``bench.html`` of a run's ``bench.json`` and return its path.

    Raises:
        DataError: there is no such file, or it is of a run that did not end.
        WorkError: the page cannot be written.
    """
    path = run / "bench.json"
    data = read_json(path)
    if data.get("suite") not in SUITES or "lines" not in data:
        raise DataError(f"{path}: no finished run of a suite; run `personae bench` again")
    card = SUITES[data["suite"]].card
    account = data["account"]
    target = run / PAGE if out is None else out
    write_whole(
        target,
        render_tables(
            title=f"{card.title}: {data['model']}",
            lead=_lead(card, data),
            cautions=[f"Unverified: {card.unverified}"] if card.unverified else [],
            tables=_tables(card, data),
            lists=[
                {"title": "What was not done", "items": _not_done(account, data)},
                {
                    "title": "Does the judge agree with itself?",
                    "items": agreement_told(data.get("judge_agreement", {})),
                },
                columns_told(card),
                {
                    "title": "Known faults of the published program and data",
                    "items": [f"{item.fault}. Here: {item.here}." for item in card.faults],
                },
            ],
            disagreements=data["disagreements"],
        ),
    )
    return target


def render_tables(
    *,
    title: str,
    lead: Sequence[str],
    cautions: Sequence[str],
    tables: Sequence[Mapping[str, Any]],
    lists: Sequence[Mapping[str, Any]],
    differences: Sequence[Mapping[str, Any]] = (),
    disagreements: Mapping[str, Any] | None = None,
) -> Any:
    """A page of tables, piece by piece; nothing in it runs."""
    style = "\n".join(page_file(name) for name in ("page.css", "bench.css"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(page_file("bench.html.j2")).generate(
        title=title,
        lead=lead,
        cautions=cautions,
        tables=tables,
        differences=differences,
        lists=[item for item in lists if item["items"]],
        disagreements=disagreements or {"rows": [], "columns": {}},
        style=Markup(style),
        policy=content_policy("", style),
    )


def _lead(card: SuiteCard, data: Mapping[str, Any]) -> list[str]:
    judge = data["judge"] or "nobody was asked"
    return [
        f"{card.paper}. Data: {card.source}; {card.licence}.",
        f"{data['num_scenes']} scenes, {data['num_seeds']} to be drawn of each. Eyes here: "
        f"{'; '.join(name for name in data['eyes'] if name != data['judge'])}. Judge: {judge}.",
        f"Eyes of the suite: {card.eyes}. Numbers by other eyes are other numbers.",
        "Ours: mean, 95% interval over scenes (none with fewer than two), n measured of n asked "
        "for: what is missing is in no mean. Of few scenes intervals are too narrow. "
        "Official: the arithmetic of the published program; "
        "strict: an absent subject is 0, one box counts for one subject, nothing is dropped.",
    ]


def _tables(card: SuiteCard, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    tables = []
    for subset in dict.fromkeys(line["subset"] for line in data["lines"]):
        ours = [line for line in data["lines"] if line["subset"] == subset]
        names = [name for name in card.names if any(name in x["cells"] for x in ours)]
        tables.append(
            {
                "title": subset,
                "names": names,
                "ours": [
                    {"label": f"{data['model']}, {line['protocol']}", "cells": line["cells"]}
                    for line in ours
                ],
                "published": by_source(card, subset),
            }
        )
    return tables


def columns_told(card: SuiteCard) -> dict[str, Any]:
    """What each column means, under both protocols, and which way is better."""
    items = []
    for column in card.columns:
        pairs = {(column.official, column.strict), *column.swapped.values()}
        told = [
            f"{METRICS[metric].protocol}: {METRICS[metric].meaning}"
            for metric in dict.fromkeys(name for pair in sorted(pairs, key=str) for name in pair)
            if metric is not None
        ]
        times = "" if column.scale == 1 else f", times {column.scale:g}"
        better = "higher" if column.higher_is_better else "lower"
        items.append(f"{column.name} ({better} is better{times}). {' '.join(told)}")
    items += [
        f"{name}: mean of {', '.join(parts)}, only where all of them were measured."
        for name, parts in _averages(card)
    ]
    return {"title": f"What the columns of {card.title} mean", "items": items}


def _averages(card: SuiteCard) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (item.name + (f" in {', '.join(item.subsets)}" if item.subsets else ""), item.of)
        for item in card.averages
    ]


def by_source(card: SuiteCard, subset: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """The published rows of a subset, each source once: rows of other sources do not compare."""
    sources: dict[str, list[PublishedRow]] = {}
    for row in card.published:
        if row.subset == subset:
            sources.setdefault(row.source, []).append(row)
    return [
        (source, [{"model": row.model, "mark": row.mark, "told": told} for row, told in each])
        for source, rows in sources.items()
        for each in [list(zip(rows, _as_published(rows), strict=True))]
    ]


def _as_published(rows: Sequence[PublishedRow]) -> list[dict[str, str]]:
    """The numbers of a source with as many decimals as its column has: 83.90 beside 96.89."""
    decimals: dict[str, int] = {}
    for row in rows:
        for name, value in row.values.items():
            behind = len(f"{value!r}".partition(".")[2].rstrip("0"))
            decimals[name] = max(decimals.get(name, 0), behind)
    return [
        {name: f"{value:.{decimals[name]}f}" for name, value in row.values.items()} for row in rows
    ]


def _not_done(account: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    silent = {
        f"{name} is unmeasured: {cell['reason']}"
        for line in data["lines"]
        for name, cell in line["cells"].items()
        if cell["mean"] is None and cell["reason"]
    }
    return [*account["told"], *sorted(silent)]
