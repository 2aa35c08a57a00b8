"""Running steps over shards: what is whole is kept, what is damaged or outdated is made again."""

from __future__ import annotations

import shutil
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from personae import __version__
from personae.compute.device import limited_threads
from personae.compute.runs import make_folder, read_json, write_json
from personae.compute.workers import Serial, Workers
from personae.data.pipeline.items import (
    ITEMS_FILE,
    Item,
    Lost,
    Made,
    Shard,
    digest_of,
    write_lines,
)
from personae.data.pipeline.step import Files, Step, WholeStep
from personae.errors import DataError, PersonaeError, RequestError, WorkError

__all__ = ["Account", "Progress", "StepAccount", "run_pipeline"]

_DONE = "done.json"
_LOST = "lost.jsonl"
_VANISHED = "the step said nothing of it"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class StepAccount:
    """What one step did with what came in.

    Attributes:
        name: of the step.
        num_in, num_out: items; one may become several, or none.
        dropped, failed: how many items for which reason.
        unmeasured: how many went on without being looked at, for which reason.
        seconds: of work, summed over workers, also of shards made earlier.
        num_shards, num_made: shards, and how many of them were made by this run.
        elapsed_s: of this run, from first to last shard.
    """

    name: str
    num_in: int
    num_out: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    unmeasured: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    num_shards: int = 0
    num_made: int = 0
    elapsed_s: float = 0.0

    @property
    def items_per_second(self) -> float:
        """Items in a second of one worker."""
        return self.num_in / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Account:
    """What a run did, step by step, and where its last items lie."""

    steps: tuple[StepAccount, ...]
    shards: tuple[Shard, ...]

    def items(self) -> Iterator[Item]:
        """What came through all steps."""
        for shard in self.shards:
            yield from shard.items()

    def as_json(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [
            {**vars(step), "items_per_second": round(step.items_per_second, 3)}
            for step in self.steps
        ]


@dataclass(frozen=True)
class _Task:
    step: Step
    shard: Shard
    root: Path
    folder: str
    digest: str


def run_pipeline(
    source: Iterable[Item],
    steps: Sequence[Step | WholeStep],
    out: Path,
    *,
    workers: Workers | None = None,
    shard_items: int = 64,
    progress: Progress | None = None,
) -> Account:
    """Send items through steps, shard by shard; run it again to go on, or to make what changed.

    ``out/00-source`` holds what came in, ``out/NN-STEP`` what each step made of it, and
    ``out/account.json`` what became of everything. A shard is made anew where it is not whole, or
    where its items, the step's settings or this version of the package are others than before.

    Args:
        source: what comes in; items of one group stand together.
        steps: what is done, in order.
        out: the pipeline's folder.
        workers: who works; this process by default.
        shard_items: how many items a shard holds at least, if there are as many; groups are never
            split.
        progress: told the step's name, shards done, of how many.

    Raises:
        RequestError: two steps of one name, or none.
        DataError: two items of one id.
        WorkError: the disk is full, or a worker died; what was finished is kept.
    """
    names = [step.name for step in steps]
    if len(set(names)) < len(names) or not names:
        raise RequestError(f"pipeline: expected steps of different names; got {names}")
    make_folder(out)
    shards = _source(source, out, shard_items)
    told = []
    for number, step in enumerate(steps, start=1):
        folder = f"{number:02d}-{step.name}"
        tell = partial(progress, step.name) if progress else None
        ready = _ready(step, shards)
        account, shards = _run_step(ready, shards, out, folder, workers or Serial(), tell)
        told.append(account)
        write_json(out / "account.json", Account(tuple(told), ()).as_json())
    return Account(tuple(told), tuple(shards))


def _source(source: Iterable[Item], out: Path, shard_items: int) -> list[Shard]:
    """The first shards; written only where they are others than before."""
    shards: list[Shard] = []
    taken: set[str] = set()
    folder = make_folder(out / "00-source")
    for number, items in enumerate(_packed(source, shard_items)):
        twice = [item.id for item in items if item.id in taken]
        taken |= {item.id for item in items}
        if twice or len({item.id for item in items}) < len(items):
            raise DataError(f"{twice or items[0].group}: two items of one id came in")
        digest = digest_of([item.line() for item in items])
        shard = Shard(folder / _shard_name(number), digest)
        if not _is_whole(shard):
            _write(shard, shard.folder, Made(tuple(items)), {}, 0.0, len(items))
        shards.append(shard)
    _remove_beyond(folder, len(shards))
    return shards


def _packed(source: Iterable[Item], least: int) -> Iterator[list[Item]]:
    """Groups that stand together, put together until there are enough items."""
    held: list[Item] = []
    for _, group in groupby(source, key=lambda item: item.group or item.id):
        held += group
        if len(held) >= least:
            yield held
            held = []
    if held:
        yield held


def _run_step(
    step: Step,
    shards: Sequence[Shard],
    out: Path,
    folder: str,
    workers: Workers,
    progress: Callable[[int, int], None] | None,
) -> tuple[StepAccount, list[Shard]]:
    make_folder(out / folder)
    made = [_result(step, shard, out / folder) for shard in shards]
    tasks = [
        _Task(step, shard, out, f"{folder}/{after.folder.name}", after.digest)
        for shard, after in zip(shards, made, strict=True)
        if not _is_whole(after)
    ]
    start = time.perf_counter()
    # One that is whole already needs no models.
    answers = workers.map(step.build, _make, tasks) if tasks else iter(())
    for done, _ in enumerate(answers, start=1):
        if progress:
            progress(len(shards) - len(tasks) + done, len(shards))
    _remove_beyond(out / folder, len(shards))
    elapsed = time.perf_counter() - start if tasks else 0.0
    return _account(step, made, len(tasks), elapsed), made


def _result(step: Step, shard: Shard, folder: Path) -> Shard:
    """The shard that a step makes of a shard."""
    own = getattr(step, "own", None)
    settings = step.settings() if own is None else own(shard)
    digest = digest_of(shard.digest, step.name, settings, __version__)
    return Shard(folder / shard.folder.name, digest)


def _make(state: Any, task: _Task) -> None:
    """One shard, in whatever process; nothing is there of it until all is."""
    final = task.root / task.folder
    part = final.with_name(f".{final.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    make_folder(part)
    files = Files(task.root, task.folder, part)
    items: list[Item] = []
    lost: list[Lost] = []
    unmeasured: Counter[str] = Counter()
    came = task.shard.items()
    start = time.perf_counter()
    try:
        with limited_threads(1):
            for _, group in groupby(came, key=lambda item: item.group or item.id):
                made = _worked(task.step, state, list(group), files)
                items += made.items
                lost += made.lost
                unmeasured.update(made.unmeasured)
        seconds = time.perf_counter() - start
        shard = Shard(final, task.digest)
        whole = Made(tuple(items), tuple(lost), unmeasured)
        _write(shard, part, whole, files.written, seconds, len(came))
        shutil.rmtree(final, ignore_errors=True)
        part.replace(final)
    except OSError as error:
        raise WorkError(f"{part}: cannot be written ({error.strerror or error})") from error


def _worked(step: Step, state: Any, group: list[Item], files: Files) -> Made:
    """A group's outcome; an accident in it is told of each of its items, and stops no other."""
    try:
        made = step.work(state, group, files)
    except WorkError:
        raise
    except (PersonaeError, RuntimeError, ValueError, MemoryError, ArithmeticError) as error:
        detail = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
        reason = f"the step failed ({type(error).__name__})"
        return Made(lost=tuple(Lost(item.id, reason, True, detail) for item in group))
    told = {one.id for one in made.lost}
    told |= {item.sources[-1].partition(":")[2] for item in made.items if item.sources}
    silent = [Lost(item.id, _VANISHED, True) for item in group if item.id not in told]
    return Made(made.items, (*made.lost, *silent), made.unmeasured)


def _write(
    shard: Shard, folder: Path, made: Made, files: Mapping[str, int], seconds: float, num_in: int
) -> None:
    make_folder(folder)
    twice = [name for name, n in Counter(item.id for item in made.items).items() if n > 1]
    if twice:
        raise DataError(f"{shard.folder}: two items of one id were made ({twice[0]!r})")
    sums = {
        ITEMS_FILE: write_lines(folder / ITEMS_FILE, (item.line() for item in made.items)),
        _LOST: write_lines(folder / _LOST, (one.line() for one in made.lost)),
    }
    reasons = {
        kind: dict(Counter(one.reason for one in made.lost if one.failed == failed))
        for kind, failed in (("dropped", False), ("failed", True))
    }
    reasons["unmeasured"] = dict(made.unmeasured)
    facts = {"digest": shard.digest, "sums": sums, "files": dict(files), "seconds": seconds}
    write_json(folder / _DONE, {**facts, "num_in": num_in, "num_out": len(made.items), **reasons})


def _is_whole(shard: Shard) -> bool:
    """Made with what it would be made with now, to the last line and file."""
    try:
        done = read_json(shard.folder / _DONE)
        if done["digest"] != shard.digest:
            return False
        for name, told in done["sums"].items():
            if zlib.crc32((shard.folder / name).read_bytes()) != told:
                return False
        files = shard.folder / "files"
        return all((files / name).stat().st_size == size for name, size in done["files"].items())
    except (DataError, OSError, KeyError, TypeError, AttributeError):
        return False


def _account(step: Step, shards: Sequence[Shard], made: int, elapsed: float) -> StepAccount:
    done = [read_json(shard.folder / _DONE) for shard in shards]
    lost = {
        kind: dict(sum((Counter(one.get(kind, {})) for one in done), Counter()))
        for kind in ("dropped", "failed", "unmeasured")
    }
    return StepAccount(
        step.name,
        sum(one["num_in"] for one in done),
        sum(one["num_out"] for one in done),
        **lost,
        seconds=sum(one["seconds"] for one in done),
        num_shards=len(shards),
        num_made=made,
        elapsed_s=elapsed,
    )


def _shard_name(number: int) -> str:
    return f"shard-{number:06d}"


def _remove_beyond(folder: Path, count: int) -> None:
    """Shards of a longer run before, and what a killed one left half."""
    for path in folder.iterdir():
        number = path.name.removeprefix("shard-")
        if path.name.startswith(".shard-") or (number.isdigit() and int(number) >= count):
            shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class _Decided:
    """A `WholeStep` after it has decided, as a step over shards."""

    name: str
    told: Mapping[str, Any]
    lost: Mapping[str, Lost]

    def settings(self) -> Mapping[str, Any]:
        return self.told

    def own(self, shard: Shard) -> Mapping[str, Any]:
        """A shard depends on what was decided of its own items alone."""
        ids = (item.id for item in shard.items())
        return {
            **self.told,
            "lost": {name: self.lost[name].reason for name in ids if name in self.lost},
        }

    def build(self) -> None:
        """Nothing."""

    def work(self, state: None, items: Sequence[Item], files: Files) -> Made:
        kept = tuple(item.child(item.id, self.name) for item in items if item.id not in self.lost)
        return Made(kept, tuple(self.lost[item.id] for item in items if item.id in self.lost))


def _ready(step: Step | WholeStep, shards: Sequence[Shard]) -> Step:
    """A step over shards; one that must see all items has now seen them."""
    if not isinstance(step, WholeStep):
        return step
    lost = step.decide(item for shard in shards for item in shard.items())
    return _Decided(step.name, step.settings(), lost)
