"""Two runs, paired row by row; and the gate that a user's own tests can stand on."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from personae.compute.runs import read_rows
from personae.errors import RequestError
from personae.metrics.summary import PairedDifference, paired_differences

__all__ = ["Gate", "compare_runs", "failed_gates", "parse_gate"]

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_GATE = re.compile(r"\s*([a-z_]+)(?:\.(mean|low|high))?\s*(<=|>=|<|>)\s*([-+]?\d*\.?\d+)\s*")


@dataclass(frozen=True)
class Gate:
    """A condition on a paired difference under which a comparison fails."""

    text: str
    metric: str
    part: str
    comparison: str
    limit: float

    def holds(self, difference: PairedDifference) -> bool:
        """Is the condition true of this difference? One without a number counts as true."""
        value = _part(difference, self.part)
        return value is None or _OPERATORS[self.comparison](value, self.limit)


def parse_gate(text: str) -> Gate:
    """Read ``METRIC[.mean|.low|.high] < NUMBER``; the number is a difference, second minus first.

    >>> parse_gate("strict_id_similarity<-0.02").limit
    -0.02

    Raises:
        RequestError: not of that form.
    """
    match = _GATE.fullmatch(text)
    if match is None:
        raise RequestError(
            f"--fail-if {text!r}: expected METRIC<NUMBER, such as "
            "'strict_id_similarity<-0.02' or 'presence.low<-0.05' (low and high: ends of the "
            "95% interval)"
        )
    metric, part, comparison, limit = match.groups()
    return Gate(text, metric, part or "mean", comparison, float(limit))


def compare_runs(first: Path, second: Path) -> list[PairedDifference]:
    """Second minus first, for every metric, over the rows whose key is in both.

    Raises:
        DataError: a results file cannot be read.
        RequestError: the two have no key in common.
    """
    differences = paired_differences(
        read_rows(first / "results.jsonl"), read_rows(second / "results.jsonl")
    )
    if not any(item.n for item in differences):
        raise RequestError(
            f"{first} and {second} have no measured row in common: the same scenes, seeds, "
            "protocol and eyes are needed on both sides"
        )
    return differences


def failed_gates(gates: Sequence[Gate], differences: Sequence[PairedDifference]) -> list[Gate]:
    """The gates that hold for any difference of their metric.

    Raises:
        RequestError: a gate names a metric that is in neither run.
    """
    known = {item.metric for item in differences}
    for gate in gates:
        if gate.metric not in known:
            raise RequestError(
                f"--fail-if {gate.text!r}: no metric {gate.metric!r} here; "
                f"known are {sorted(known)}"
            )
    return [
        gate
        for gate in gates
        if any(gate.holds(item) for item in differences if item.metric == gate.metric)
    ]


def _part(difference: PairedDifference, part: str) -> float | None:
    if part == "mean":
        return difference.mean
    if difference.ci95 is None:
        return None
    return difference.ci95[0 if part == "low" else 1]
