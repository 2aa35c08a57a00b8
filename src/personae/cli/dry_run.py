"""A dry run as text: the plan, what it needs, and what stands against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personae.cli.output import print_table, say
from personae.diffusion.memory import format_bytes
from personae.training.dry_run import DryRun
from personae.training.needs import MemoryNeeds, TimeNeeds

__all__ = ["print_dry_run"]

_MOST = 30  # mistakes that are printed; --json has all


def print_dry_run(run: DryRun) -> None:
    """The plan and the needs on standard output, mistakes and remarks on standard error."""
    if run.plan:
        print_table(f"{run.recipe}, a dry run", ["what", "plan"], _plan_rows(run.plan))
    if run.memory is not None:
        print_table("memory", ["what", "bytes"], _memory_rows(run.memory))
    disk = {str(folder): size for folder, size in run.disk.items() if size}
    rows = [[folder, f"about {format_bytes(size)}"] for folder, size in disk.items()]
    if rows:
        print_table("disk", ["folder", "at most"], rows)
    if run.time is not None:
        print_table("time, an estimate", ["what", "time"], _time_rows(run.time))
    for remark in run.remarks:
        say(f"remark: {remark}")
    for unchecked in run.unchecked:
        say(f"not checked: {unchecked}")
    for mistake in run.mistakes[:_MOST]:
        say(f"mistake: {mistake}")
    if len(run.mistakes) > _MOST:
        say(f"... and {len(run.mistakes) - _MOST} mistakes more, see --json")
    say(f"{len(run.mistakes)} mistakes" if run.mistakes else "no mistakes: this recipe can run")


def _plan_rows(plan: Mapping[str, Any]) -> list[list[str]]:
    """Numbers and shares in words; what belongs together in one row."""
    rows = {name: plan[name] for name in ("base", "trained") if name in plan} | dict(plan)
    layers = rows.pop("trained_layers", None)
    tensors = rows.pop("trained_tensors", None)
    if "trained" in rows:
        numbers, place = rows.pop("trained_numbers"), f"{layers} layers"
        place = f"{tensors} tensors" if layers is None else place
        rows["trained"] = f"{rows['trained']}: {numbers:,} numbers on {place}"
    if "parameters" in rows:
        rows["base"] = f"{rows['base']} ({rows.pop('family')}, {rows.pop('parameters'):,} numbers)"
    if "shapes" in rows:
        rows["shapes"] = ", ".join(
            f"{name} ({share:.0%})" for name, share in rows["shapes"].items()
        )
    if rows.pop("examples", 0):
        rows["data"] = f"{plan['examples']:,} {rows['data']}"
    return [[name.replace("_", " "), _words(value)] for name, value in rows.items()]


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)
    if isinstance(value, int):
        return f"{value:,}"
    return "none" if value is None else str(value)


def _memory_rows(needs: MemoryNeeds) -> list[list[str]]:
    held = {name: size for name, size in needs.held.items() if size}
    rows = [[name.replace("_", " "), format_bytes(size)] for name, size in held.items()]
    rows += [
        [f"while: {name.replace('_', ' ')}", f"about {format_bytes(size)}"]
        for name, size in needs.stages.items()
        if size
    ]
    free = "not known" if needs.available is None else format_bytes(needs.available)
    fits = needs.available is None or needs.total <= needs.available
    total = f"about {format_bytes(needs.total)}" + ("" if fits else ", TOO MUCH")
    return [*rows, ["at once, eyes of rewards not counted", total], ["free", free]]


def _time_rows(needs: TimeNeeds) -> list[list[str]]:
    rows = [["a step", _time(needs.per_step)], ["all of it", _time(needs.total)]]
    if needs.encoding is not None:
        rows.insert(0, ["encoding the examples, once", _time(needs.encoding)])
    return [*rows, ["from", needs.source]]


def _time(seconds: float) -> str:
    """Seconds for a person.

    >>> _time(0.25), _time(90), _time(9000)
    ('0.25 s', '90 s', '2.5 h')
    """
    for size, unit in ((7200.0, "h"), (180.0, "min")):
        if seconds >= size:
            return f"{seconds / (3600 if unit == 'h' else 60):.1f} {unit}"
    return f"{seconds:.3g} s"
