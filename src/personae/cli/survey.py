"""The commands ``personae survey`` and ``personae agreement``: asking people, and hearing them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personae.cli.output import interval, number, print_json, print_table, progress_bar, say
from personae.errors import RequestError
from personae.evaluation.agreement import Agreement
from personae.evaluation.agreement import agreement as run_agreement
from personae.evaluation.survey import check_folder, make_survey, write_key
from personae.evaluation.survey_design import Plan
from personae.evaluation.survey_files import ASPECTS, Kind
from personae.report import write_agreement_report, write_survey_page

__all__ = ["agreement", "survey"]

_KINDS: dict[str, tuple[Kind, ...]] = {
    "each": ("each",),
    "pair": ("pair",),
    "both": ("each", "pair"),
}
Json = Annotated[bool, typer.Option("--json", help="Print a machine's answer, and nothing else.")]


def survey(  # noqa: PLR0913, PLR0917 - a command's flags are its face
    results: Annotated[list[Path], typer.Argument(help="Folders of results, one a model.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the survey.")],
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help="each (is everyone there?), pair (which is better?), both. Default: each for "
            "one folder, both for several.",
        ),
    ] = None,
    raters: Annotated[int, typer.Option("--raters", help="Sheets, one a person.")] = 10,
    questions: Annotated[
        int, typer.Option("--questions", help="Of a rater; checks and repeats come on top.")
    ] = 40,
    judges: Annotated[
        int, typer.Option("--judges", help="Raters that see a picture or pair, at least.")
    ] = 3,
    checks: Annotated[
        int, typer.Option("--checks", help="Attention checks a rater and kind of question.")
    ] = 4,
    repeats: Annotated[
        int, typer.Option("--repeats", help="Questions asked twice, a rater and kind.")
    ] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    max_mb: Annotated[
        float, typer.Option("--max-mb", help="Size of the page; pictures are scaled down.")
    ] = 12.0,
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder that paths in the file may not leave.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away another survey that --out holds.")
    ] = False,
    json: Json = False,
) -> None:
    """Ask people about the pictures: one page for all raters, and a key that stays here."""
    plan = Plan(
        kinds=_kinds(kind, len(results)),
        raters=raters,
        questions=questions,
        judges=judges,
        checks=checks,
        repeats=repeats,
        seed=seed,
    )
    made = make_survey(results, plan, out, root)
    if not overwrite:
        check_folder(made, out)
    with progress_bar("pictures") as tell:
        page = write_survey_page(made, out, max_mb=max_mb, progress=tell)
    key = write_key(made, out)
    for problem in made.problems:
        say(f"problem: {problem}")
    if json:
        told = {"survey": made.key.survey, "page": str(page), "key": str(key)}
        sizes = {"raters": raters, "judges": made.key.judges, "bytes": page.stat().st_size}
        print_json({**told, **sizes, "problems": list(made.problems)})
        return
    judged = ", ".join(f"{name}: {count}" for name, count in made.key.judges.items())
    shown = sum(picture.what == "picture" for picture in made.key.pictures)
    say(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB, {shown} pictures; judges of {judged})")
    say(f"give each rater the page and a number: {page.name}#rater=1 to #rater={raters}")
    say(f"keep {key}; when answers are back: personae agreement {out} ANSWERS")


def agreement(
    survey: Annotated[Path, typer.Argument(help="Folder of personae survey.")],
    answers: Annotated[list[Path], typer.Argument(help="Files of answers, or folders of them.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write a page: report.html.")
    ] = None,
    min_checks: Annotated[
        float, typer.Option("--min-checks", help="Share of attention checks a rater needs right.")
    ] = 0.75,
    min_consistency: Annotated[
        float, typer.Option("--min-consistency", help="Share of repeats answered the same.")
    ] = 0.0,
    json: Json = False,
) -> None:
    """What people said: do they agree, how often each model succeeds and wins, who follows them."""
    found = run_agreement(
        survey, answers, least_checks=min_checks, least_consistency=min_consistency
    )
    if out is not None:
        write_agreement_report(found, out)
    if json:
        print_json(found.as_json())
        return
    _print_raters(found)
    _print_people(found)
    _print_metrics(found)
    if out is not None:
        say(f"wrote {out}")


def _kinds(kind: str | None, num_results: int) -> tuple[Kind, ...]:
    name = kind or ("each" if num_results == 1 else "both")
    if name not in _KINDS:
        raise RequestError(f"--kind {name!r}: expected one of {', '.join(_KINDS)}")
    return _KINDS[name]


def _print_raters(found: Agreement) -> None:
    left_out = [rater for rater in found.raters if rater.left_out is not None]
    say(f"{len(found.raters) - len(left_out)} raters count; {found.rule}")
    for rater in left_out:
        say(f"left out: rater {rater.rater}: {rater.left_out}")
    if found.n_missing:
        say(f"sheets that have not come back: {found.n_missing}")


def _print_people(found: Agreement) -> None:
    print_table(
        "do raters agree? (Krippendorff's alpha)",
        ["question", "alpha", "95% interval", "judged", "votes"],
        [
            [a.question, number(a.alpha), interval(a.ci95), str(a.n_units), str(a.n_votes)]
            for a in found.alphas
        ],
    )
    if found.success:
        print_table(
            "success: every subject there once, and itself",
            ["model", "rate", "95% interval", "pictures", "undecided"],
            [
                [s.model, number(s.rate), interval(s.ci95), str(s.n), str(s.n_undecided)]
                for s in found.success
            ],
        )
    if found.wins:
        print_table(
            "win rate of the first (equal counts half)",
            ["first", "second", "by", "rate", "95% interval", "won", "equal", "lost"],
            [
                [w.first, w.second, w.aspect, number(w.rate), interval(w.ci95)]
                + [str(count) for count in (w.n_wins, w.n_equal, w.n_losses)]
                for w in found.wins
            ],
        )


def _print_metrics(found: Agreement) -> None:
    correlated = [(m, m.success) for m in found.metrics if m.success is not None]
    if correlated:
        print_table(
            "rank correlation with the share of raters who say yes",
            ["metric", "rho", "95% interval", "pictures", "unmeasured", "eyes"],
            [
                [m.metric, number(s.rho), interval(s.ci95), str(s.n), str(s.n_unmeasured), m.eyes]
                for m, s in correlated
            ],
        )
    for aspect in ("success", *ASPECTS):
        rows = [
            [m.metric, number(p.accuracy), interval(p.ci95)]
            + [str(count) for count in (p.n, p.n_ties, p.n_unmeasured)]
            + [m.eyes]
            for m in found.metrics
            if (p := m.pairs.get(aspect)) is not None
        ]
        if rows:
            columns = ["metric", "accuracy", "95% interval", "pairs", "ties", "unmeasured", "eyes"]
            print_table(f"prefers what people prefer by {aspect}", columns, rows)
