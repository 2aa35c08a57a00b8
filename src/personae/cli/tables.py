"""Answers as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from personae.cli.output import interval, number, print_table, say, summary_rows
from personae.diffusion.memory import format_bytes
from personae.evaluation.doctor import CastCheck, ModelCheck
from personae.metrics.summary import PairedDifference

__all__ = [
    "cast_json",
    "difference_row",
    "model_json",
    "print_cast",
    "print_model",
    "print_scores",
    "print_summary",
]


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


def model_json(check: ModelCheck) -> dict[str, Any]:
    """What `doctor` found of a model, for a machine; sizes in bytes."""
    return {
        "name": check.name,
        "device": check.device,
        "dtype": str(check.workload.dtype).removeprefix("torch."),
        "width": check.workload.width,
        "height": check.workload.height,
        "references": check.workload.references,
        "parameters": dict(check.memory.num_parameters),
        "weights": dict(check.memory.weights),
        "activations": dict(check.memory.activations),
        "total": check.memory.total,
        "available": check.available,
        "ok": check.ok,
    }


def print_model(check: ModelCheck) -> None:
    """What each part of a model needs, and whether it fits."""
    memory, work = check.memory, check.workload
    rows = [
        [
            part,
            f"{memory.num_parameters[part] / 1e6:,.1f} M",
            format_bytes(memory.weights[part]),
            format_bytes(memory.activations.get(part, 0)),
        ]
        for part in memory.weights
    ]
    columns = ["part", "parameters", "weights", "while it works"]
    print_table(f"model {check.name}", columns, rows)
    say(
        f"one picture of {work.width} x {work.height} from {work.references} references in "
        f"{str(work.dtype).removeprefix('torch.')}: about {format_bytes(memory.total)} at once; "
        f"{check.device} has {format_bytes(check.available)} free: "
        f"{'it fits' if check.ok else 'TOO LITTLE'}"
    )
