"""A suite's table, published rows and account as a terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personae.cli.output import print_table, say
from personae.evaluation.bench import BenchResult
from personae.evaluation.judge_agreement import agreement_told
from personae.evaluation.suite_table import Cell
from personae.evaluation.suites.card import SuiteCard
from personae.evaluation.suites.suite import LoadedSuite

__all__ = ["cell_text", "check_json", "print_bench", "print_check"]


def print_bench(card: SuiteCard, result: BenchResult) -> None:
    """Our lines by subset and protocol, each subset's published rows behind them."""
    for subset in dict.fromkeys(line.subset for line in result.lines):
        ours = [line for line in result.lines if line.subset == subset]
        names = [name for name in card.names if any(name in line.cells for line in ours)]
        rows = [
            [f"{result.data['model']}, {line.protocol}"]
            + [cell_text(line.cells.get(name)) for name in names]
            for line in ours
        ]
        rows += [
            [f"{row.model} ({row.mark})" if row.mark else row.model]
            + [f"{row.values[name]:g}" if name in row.values else "" for name in names]
            for row in card.published
            if row.subset == subset
        ]
        print_table(f"{card.title}: {subset}", ["model", *names], rows)
    say("ours: mean [95% interval], n measured (n missing); others: as published, by other eyes")
    if card.unverified:
        say(f"unverified: {card.unverified}")
    reasons = {
        f"{name}: {cell.reason}"
        for line in result.lines
        for name, cell in line.cells.items()
        if cell.mean is None and cell.reason
    }
    for text in sorted(reasons):
        say(f"unmeasured: {text}")
    for text in agreement_told(result.data["judge_agreement"]):
        say(f"the judge with itself: {text}")
    for text in result.account.told():
        say(text)


def cell_text(cell: Cell | None) -> str:
    """A cell in one line.

    >>> cell_text(Cell(0.5, (0.25, 0.75), 12, 3)), cell_text(Cell(None, None, 0, 15, "no judge"))
    ('0.500 [0.250, 0.750] 12 (3)', '- 0 (15)')
    """
    if cell is None:
        return ""
    counts = f"{cell.n} ({cell.n_missing})"
    if cell.mean is None:
        return f"- {counts}"
    ends = "" if cell.ci95 is None else f" [{_told(cell.ci95[0])}, {_told(cell.ci95[1])}]"
    return f"{_told(cell.mean)}{ends} {counts}"


def _told(value: float) -> str:
    """With as many decimals as say something: shares have three, hundredths two."""
    return f"{value:.3f}" if abs(value) < 1.5 else f"{value:.2f}"


def check_json(
    loaded: LoadedSuite, missing: Mapping[Path, Sequence[str]], damaged: Mapping[Path, str]
) -> dict[str, Any]:
    """What `bench --check` found, for a machine."""
    return {
        "suite": loaded.card.name,
        "scenes": {name: _count(loaded, name) for name in loaded.subsets},
        "whole": _num_whole(loaded, missing),
        "missing": {str(path): list(scenes) for path, scenes in missing.items()},
        "damaged": {str(path): reason for path, reason in damaged.items()},
        "problems": list(loaded.problems),
        "licence": loaded.card.licence,
        "unverified": loaded.card.unverified,
    }


def print_check(
    loaded: LoadedSuite, missing: Mapping[Path, Sequence[str]], damaged: Mapping[Path, str]
) -> None:
    """Scenes by subset, then every file that is not there or cannot be read."""
    names = dict.fromkeys([*loaded.card.sizes, *loaded.subsets])
    rows = [
        [name, str(_count(loaded, name)), str(loaded.card.sizes.get(name) or "not recorded")]
        for name in names
    ]
    print_table(loaded.card.title, ["subset", "scenes there", "as published"], rows)
    for path, scenes in missing.items():
        say(f"missing: {path} (needed by {len(scenes)}: {', '.join(scenes[:3])})")
    for reason in damaged.values():
        say(f"damaged: {reason}")
    for problem in loaded.problems:
        say(f"problem: {problem}")
    say(
        f"{_num_whole(loaded, missing)} of {len(loaded.scenes)} scenes have all their photos; "
        f"{len(missing)} files are missing, {len(damaged)} cannot be read. "
        f"Licence: {loaded.card.licence}"
    )
    if loaded.card.unverified:
        say(f"unverified: {loaded.card.unverified}")


def _count(loaded: LoadedSuite, subset: str) -> int:
    return sum(name == subset for name in loaded.subset_of.values())


def _num_whole(loaded: LoadedSuite, missing: Mapping[Path, Sequence[str]]) -> int:
    return len(loaded.scenes) - len({name for scenes in missing.values() for name in scenes})
