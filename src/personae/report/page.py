"""One HTML file for a results folder: written as a stream, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from personae.errors import WorkError
from personae.report.findings import ABSENT, DUPLICATED, STRANGER, UNMEASURED, WHOLE
from personae.report.gallery import NO_TWIN, Gallery, plan_gallery
from personae.report.records import Run, read_run
from personae.report.tables import change_rows, facts_of, separability_of, summary_rows

__all__ = ["content_policy", "page_file", "safe_json", "write_report", "write_whole"]

Progress = Callable[[int, int], None]


def write_report(
    results: Path,
    out: Path | None = None,
    *,
    against: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write ``report.html`` of a results folder and return its path.

    ``against`` names a second results folder: every picture is then shown beside its twin (the
    same scene and seed), with paired differences. ``progress`` is called with (pictures done,
    pictures in all). Pictures are linked by a path relative to the page's folder.

    Raises:
        DataError: a results file is missing or broken; the message names the line.
        WorkError: the page cannot be written; an older one is left as it was.
    """
    results, out = Path(results), Path(out) if out is not None else Path(results) / "report.html"
    run = read_run(results)
    twin = None if against is None else read_run(Path(against))
    higher = _direction(run)
    gallery = plan_gallery(run, out, twin, higher)
    write_whole(out, _pieces(gallery, higher, progress))
    return out


def _pieces(
    gallery: Gallery, higher: Callable[[str], bool], progress: Progress | None
) -> Iterator[str]:
    columns = gallery.columns(gallery.run)
    twin_columns = gallery.columns(gallery.twin) if gallery.twin else None
    changes = change_rows(gallery.run, gallery.twin, higher) if gallery.twin else []
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    script = "\n".join(page_file(name) for name in ("cards.js", "page.js"))
    style = "\n".join(page_file(name) for name in ("page.css", "cards.css"))
    blocks = (safe_json(text) for text in gallery.blocks(progress))
    return environment.from_string(page_file("template.html.j2")).generate(
        run=gallery.run,
        twin=gallery.twin,
        tally=_tally(gallery),
        summary=summary_rows(gallery.run),
        changes=changes,
        separability=separability_of(gallery.run),
        facts=facts_of(gallery.run),
        labels=gallery.labels,
        main=gallery.run.main_column(),
        scenes=safe_json(json.dumps(gallery.casts.scenes, separators=(",", ":"))),
        index=safe_json(json.dumps(gallery.index(columns, twin_columns), separators=(",", ":"))),
        blocks=blocks,
        script=Markup(script),
        style=Markup(style),
        policy=content_policy(script, style),
    )


def _direction(run: Run) -> Callable[[str], bool]:
    """Which way is better, by metric name: the summary's word, then the metric's own card."""
    said = {
        entry["metric"]: bool(entry["higher_is_better"])
        for entry in (run.summary or {}).get("metrics", [])
        if entry.get("higher_is_better") is not None
    }
    from personae.metrics import METRICS

    def higher(metric: str) -> bool:
        return said.get(metric, METRICS[metric].higher_is_better if metric in METRICS else True)

    return higher


def _tally(gallery: Gallery) -> dict[str, int]:
    """How many pictures hold every subject once, lack one, hold one twice, and so on."""
    flags = gallery.flags
    pairs = {
        "absent": ABSENT,
        "duplicated": DUPLICATED,
        "stranger": STRANGER,
        "unmeasured": UNMEASURED,
    }
    counts = {name: sum(bool(flag & bit) for flag in flags) for name, bit in pairs.items()}
    twins = [(ours, theirs) for ours, theirs in zip(flags, gallery.twin_flags, strict=True)]
    twins = [pair for pair in twins if pair[1] != NO_TWIN]
    return counts | {
        "pictures": len(flags),
        "whole": sum(bool(flag & WHOLE) for flag in flags),
        "twins": len(twins),
        "twin_whole": sum(bool(theirs & WHOLE) for _, theirs in twins),
        "changed": sum(ours != theirs for ours, theirs in twins),
    }


def safe_json(text: str) -> Markup:
    r"""JSON that no HTML parser can leave: <, > and & become escapes of the same meaning.

    >>> print(safe_json('"</script>"'))
    "\u003c/script\u003e"
    """
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def page_file(name: str) -> str:
    """The text of a file that pages are made of: a template, a style sheet, a script."""
    return files("personae.report").joinpath(name).read_text(encoding="utf-8")


def content_policy(script: str, style: str) -> str:
    """A content policy: this very script and style, pictures from the file itself, nothing else."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; img-src data:; script-src 'sha256-{digest(script)}'; "
        f"style-src 'sha256-{digest(style)}'; base-uri 'none'; form-action 'none'"
    )


def write_whole(out: Path, pieces: Iterator[str]) -> None:
    """Write a page piece by piece; an older one stays until the new one is whole.

    Raises:
        WorkError: it cannot be written.
    """
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
        temporary.replace(out)
    except OSError as error:
        raise WorkError(
            f"{out}: the report could not be written ({error.strerror}); "
            "free some space or name another place with out"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
