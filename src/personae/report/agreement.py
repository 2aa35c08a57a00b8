"""What people said, as one HTML file: success, preference, agreement, and which metric follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from personae.evaluation.agreement import Agreement
from personae.evaluation.agreement_metrics import Accuracy, MetricAgreement
from personae.metrics.summary import Interval
from personae.report.charts import interval_bar
from personae.report.page import content_policy, page_file, write_whole

__all__ = ["write_agreement_report"]

_NOTES = {
    "success": "Pairs of pictures of one scene and seed whose shares of yes differ.",
    "subjects": "Pairs of which most raters prefer one by its subjects.",
    "text": "Pairs of which most raters prefer one by the words it follows.",
    "naturalness": "Pairs of which most raters prefer one by how natural it looks.",
}
_HALF = " Share in which the metric prefers the same picture; 0.5 is chance, ties count half."
Row = tuple[MetricAgreement, float | None, Interval | None, int, int, int]


def write_agreement_report(result: Agreement, out: Path) -> Path:
    """Write the page of `agreement` and return its path.

    Raises:
        WorkError: it cannot be written; an older one is left as it was.
    """
    style = "\n".join(page_file(name) for name in ("page.css", "cards.css"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    pieces = environment.from_string(page_file("agreement.html.j2")).generate(
        result=result,
        counted=sum(rater.left_out is None for rater in result.raters),
        followers=_followers(result),
        chart=_chart,
        style=Markup(style),
        policy=content_policy("", style),
    )
    write_whole(out, pieces)
    return out


def _chart(value: float, ends: Interval | None, low: float) -> Markup:
    return Markup(interval_bar(value, ends, (low, 1.0)))


def _followers(result: Agreement) -> list[tuple[str, str, int, list[Row]]]:
    """A table for the rank correlation, and one for each aspect in which people prefer."""
    tables: list[tuple[str, str, int, list[Row]]] = []
    correlated: list[Row] = [
        (metric, found.rho, found.ci95, found.n, found.n_unmeasured, 0)
        for metric in result.metrics
        if (found := metric.success) is not None
    ]
    if correlated:
        note = "Spearman's rank correlation with the share of raters who say yes to a picture."
        tables.append(("Which metric ranks pictures as people do?", note, -1, correlated))
    for aspect, note in _NOTES.items():
        rows = [_row(m, m.pairs[aspect]) for m in result.metrics if aspect in m.pairs]
        if rows:
            title = f"Which metric prefers what people prefer, by {aspect}?"
            tables.append((title, note + _HALF, 0, rows))
    return tables


def _row(metric: MetricAgreement, found: Accuracy) -> Any:
    return metric, found.accuracy, found.ci95, found.n, found.n_unmeasured, found.n_ties
