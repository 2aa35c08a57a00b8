"""Answers as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from personae.cli.output import interval, number, print_table, say, summary_rows
from personae.evaluation.doctor import CastCheck
from personae.metrics.summary import PairedDifference

__all__ = ["cast_json", "difference_row", "print_cast", "print_scores", "print_summary"]


def print_scores(picture: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Every score of one picture, with what stands against it."""
    table = [
        [
            row["metric"],
            row["subject"] or "(picture)",
            number(row["value"]),
            row["unmeasured"] or ("absent" if (row["details"] or {}).get("absent") else ""),
        ]
        for row in rows
    ]
    print_table(str(picture), ["metric", "subject", "score", "remark"], table)


def print_summary(title: str, metrics: Sequence[dict[str, Any]]) -> None:
    """summary.json as a table."""
    columns = ["metric", "better", "mean", "95% interval", "n", "absent", "unmeasured", "eyes"]
    print_table(title, columns, summary_rows(metrics))


def difference_row(item: PairedDifference) -> list[str]:
    """A paired difference as a row of a table."""
    return [
        item.metric,
        "higher" if item.higher_is_better else "lower",
        number(item.first),
        number(item.second),
        number(item.mean),
        interval(item.ci95),
        str(item.n),
        str(item.n_unpaired),
        item.eyes,
    ]


def cast_json(check: CastCheck) -> dict[str, Any]:
    """What `doctor` found of a cast, for a machine."""
    return {
        "pairs": [vars(pair) for pair in check.pairs],
        "blind": check.blind,
        "notes": list(check.notes),
        "problems": list(check.problems),
    }


def print_cast(check: CastCheck) -> None:
    """Every pair of a cast, and what stands against it."""
    rows = [
        [
            " / ".join(pair.subjects),
            "apart" if pair.separable else "NOT APART",
            number(pair.best_different, 2),
            number(pair.worst_same, 2),
            number(pair.auc, 2),
            pair.reason,
        ]
        for pair in check.pairs
    ]
    columns = ["pair", "these eyes", "most alike across", "least alike same", "AUC", "why"]
    print_table("cast", columns, rows)
    for name, reason in check.blind.items():
        say(f"{name} cannot be known: {reason}")
    for text in [*check.notes, *check.problems]:
        say(text)
