"""Does the judge of a run agree with itself? From the repeats that its rows keep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from personae.vision.judges import Judgement, Question, agreement

__all__ = ["agreement_told", "judge_agreement", "told_repeats"]


def told_repeats(
    questions: Mapping[str, Question], given: Mapping[str, Sequence[Judgement]]
) -> dict[str, dict[str, list[float | None]]]:
    """Kind of question -> its name -> the values in the order they were asked for; None: none."""
    told: dict[str, dict[str, list[float | None]]] = {}
    for name, answers in given.items():
        told.setdefault(questions[name].kind, {})[name] = [item.value for item in answers]
    return told


def judge_agreement(rows: Iterable[Mapping[str, Any]], judge: str) -> dict[str, dict[str, Any]]:
    """`agreement` of the judge's repeats, by metric and kind of question; {} without repeats.

    >>> kept = {"repeats": {"mark": {"mark": [8.0, 6.0]}}}
    >>> row = {"metric": "semantic_alignment", "eyes": "me", "details": kept}
    >>> judge_agreement([row], "me")["semantic_alignment (mark)"]["difference"]
    2.0
    """
    found: dict[str, list[list[Judgement]]] = defaultdict(list)
    for row in rows:
        kept = (row["details"] or {}).get("repeats") if row["eyes"] == judge else None
        for kind, questions in (kept or {}).items():
            for values in questions.values():
                found[f"{row['metric']} ({kind})"].append([_judgement(value) for value in values])
    return {name: asdict(agreement(repeats)) for name, repeats in sorted(found.items())}


def agreement_told(agreements: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """In words, a line a metric and kind of question."""
    return [_told(name, item) for name, item in agreements.items()]


def _told(name: str, item: Mapping[str, Any]) -> str:
    if item["exact"] is None:
        return f"{name}: no question was answered twice"
    alone = item["num_alone"] + item["num_missing"]
    left = (
        f"; {item['num_alone']} questions have fewer than two answers, {item['num_missing']} "
        "answers are missing"
        if alone
        else ""
    )
    apart = "" if "yes" in name else f", {item['difference']:.2f} marks apart on average"
    return (
        f"{name}: {100 * item['exact']:.0f} of 100 pairs of answers to the same question are the "
        f"same{apart} ({item['num_questions']} questions{left})"
    )


def _judgement(value: float | None) -> Judgement:
    return Judgement.missing("no answer") if value is None else Judgement(value)
