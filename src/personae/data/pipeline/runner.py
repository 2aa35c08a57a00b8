"""Running steps over shards: what is whole is kept, what is damaged or outdated is made again."""

from __future__ import annotations

import hashlib
import shutil
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from personae.compute.device import limited_threads
from personae.compute.runs import make_folder, read_json, write_json
from personae.compute.workers import Serial, Workers
from personae.data.pipeline.account import Account, StepAccount, Tally
from personae.data.pipeline.items import Item, Lost, Made, Shard, digest_of
from personae.data.pipeline.provenance import provenance_of, write_provenance
from personae.data.pipeline.shards import read_whole, remove_beyond, shard_name, write_shard
from personae.data.pipeline.step import Files, Step, WholeStep
from personae.errors import DataError, PersonaeError, RequestError, WorkError

__all__ = ["Account", "Progress", "run_pipeline"]

_DIGESTS = "shards.json"
_VANISHED = "the step said nothing of it"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class _Task:
    """One shard to be made.

    Attributes:
        step: which does it.
        came: what comes in.
        goes: what will be there.
        root: the pipeline's folder.
        made_by: version, settings and models, as its ``done.json`` will tell.
    """

    step: Step
    came: Shard
    goes: Shard
    root: Path
    made_by: Mapping[str, Any]


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

    ``out/00-source`` holds what came in, ``out/NN-STEP`` what each step made of it,
    ``out/account.json`` what became of everything, ``out/provenance.json`` what made it. A shard is
    made anew where it is not whole, or where its items, the step's settings, its models' weights or
    this version of the package are others than before.

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
    out = make_folder(out).absolute()  # a worker may stand in another folder
    made_by = [provenance_of(step) for step in steps]
    digest = write_provenance(out, made_by)
    shards = _source(source, out, shard_items)
    told: list[StepAccount] = []
    for number, (step, by) in enumerate(zip(steps, made_by, strict=True), start=1):
        tell = partial(progress, step.name) if progress else None
        parts = _parts(step, shards)
        folder = make_folder(out / f"{number:02d}-{step.name}")
        account, shards = _run_step(parts, by, shards, folder, workers or Serial(), tell)
        told.append(account)
        write_json(out / "account.json", Account(tuple(told), ()).as_json())
    return Account(tuple(told), tuple(shards), digest)


def _source(source: Iterable[Item], out: Path, shard_items: int) -> list[Shard]:
    """The first shards; written only where they are others than before."""
    shards: list[Shard] = []
    taken = array("Q")  # eight bytes an item: of very many the names alone would fill the memory
    folder = make_folder(out / "00-source")
    for number, items in enumerate(_packed(source, shard_items)):
        _require_different_here(items)
        taken.extend(_short_hash(item.id) for item in items)
        digest = digest_of([item.line() for item in items])
        shard = Shard(folder / shard_name(number), digest)
        if read_whole(shard) is None:
            told = {"num_in": len(items), "seconds": 0.0}
            write_shard(shard, shard.folder, Made(tuple(items)), {}, told)
        shards.append(shard)
    _require_different(taken, shards)
    remove_beyond(folder, len(shards))
    return shards


def _short_hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())


def _require_different_here(items: Sequence[Item]) -> None:
    twice = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if twice:
        raise DataError(f"{twice[0]}: two items of one id came in")


def _require_different(taken: array[int], shards: Sequence[Shard]) -> None:
    """Whether all ids differ; only where hashes of two are the same are the ids looked at."""
    hashes, counts = np.unique(np.frombuffer(taken, np.uint64), return_counts=True)
    doubtful = set(hashes[counts > 1].tolist())
    seen: set[str] = set()
    for item in (item for shard in shards for item in shard.items()) if doubtful else ():
        if _short_hash(item.id) in doubtful:
            if item.id in seen:
                raise DataError(f"{item.id}: two items of one id came in")
            seen.add(item.id)


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
    parts: Callable[[Shard], Step],
    made_by: Mapping[str, Any],
    shards: Sequence[Shard],
    folder: Path,
    workers: Workers,
    progress: Callable[[int, int], None] | None,
) -> tuple[StepAccount, list[Shard]]:
    tally, made, tasks = Tally(made_by["step"]), [], []
    came = digest_of(made_by, [shard.digest for shard in shards])
    held = _held(folder, came, len(shards))
    for place, shard in enumerate(shards):
        digest = (
            digest_of(shard.digest, made_by, parts(shard).settings())
            if held is None
            else held[place]
        )
        goes = Shard(folder / shard.folder.name, digest)
        made.append(goes)
        counts = read_whole(goes)
        if counts is None:
            tasks.append(_Task(parts(shard), shard, goes, folder.parent, made_by))
        else:
            tally.add(counts)
    if held is None:
        write_json(folder / _DIGESTS, {"came": came, "goes": [shard.digest for shard in made]})
    start = time.perf_counter()
    # One that is whole already needs no models.
    answers = workers.map(tasks[0].step.build, _make, tasks) if tasks else iter(())
    for done, counts in enumerate(answers, start=1):
        tally.add(counts)
        if progress:
            progress(len(shards) - len(tasks) + done, len(shards))
    remove_beyond(folder, len(shards))
    elapsed = time.perf_counter() - start if tasks else 0.0
    return tally.account(num_made=len(tasks), elapsed_s=elapsed), made


def _held(folder: Path, came: str, count: int) -> list[str] | None:
    """What shards were to be when the very same came in, so that nothing is decided again."""
    try:
        told = read_json(folder / _DIGESTS)
        known = told["came"] == came and len(told["goes"]) == count
        return list(told["goes"]) if known else None
    except (DataError, KeyError, TypeError):
        return None


def _make(state: Any, task: _Task) -> dict[str, Any]:
    """One shard, in whatever process; nothing is there of it until all is. Gives its counts."""
    final = task.goes.folder
    part = final.with_name(f".{final.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    make_folder(part)
    files = Files(task.root, f"{final.parent.name}/{final.name}", part)
    items: list[Item] = []
    lost: list[Lost] = []
    unmeasured: Counter[str] = Counter()
    came = task.came.items()
    start = time.perf_counter()
    try:
        with limited_threads(1):
            for _, group in groupby(came, key=lambda item: item.group or item.id):
                made = _worked(task.step, state, list(group), files)
                items += made.items
                lost += made.lost
                unmeasured.update(made.unmeasured)
        seconds = time.perf_counter() - start
        told = {"num_in": len(came), "seconds": seconds, "made_by": task.made_by}
        whole = Made(tuple(items), tuple(lost), unmeasured)
        counts = write_shard(task.goes, part, whole, files.written, told)
        shutil.rmtree(final, ignore_errors=True)
        part.replace(final)
    except OSError as error:
        raise WorkError(f"{part}: cannot be written ({error.strerror or error})") from error
    return counts


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


@dataclass(frozen=True)
class _Decided:
    """What a `WholeStep` has decided of the items of one shard, as a step over it.

    A shard is sent with what concerns it, and depends on no more.
    """

    name: str
    lost: Mapping[str, Lost]

    def settings(self) -> Mapping[str, Any]:
        return {"lost": {name: one.reason for name, one in self.lost.items()}}

    def build(self) -> None:
        """Nothing."""

    def work(self, state: None, items: Sequence[Item], files: Files) -> Made:
        kept = tuple(item.child(item.id, self.name) for item in items if item.id not in self.lost)
        return Made(kept, tuple(self.lost[item.id] for item in items if item.id in self.lost))


def _parts(step: Step | WholeStep, shards: Sequence[Shard]) -> Callable[[Shard], Step]:
    """A step for each shard; one that must see all items sees them when it is first asked."""
    if not isinstance(step, WholeStep):
        return lambda shard: step
    return _Deciding(step, shards).part


@dataclass(eq=False)
class _Deciding:
    """A `WholeStep` that decides once, and not before it has to."""

    step: WholeStep
    shards: Sequence[Shard]

    @cached_property
    def lost(self) -> Mapping[str, Lost]:
        return self.step.decide(item for shard in self.shards for item in shard.items())

    def part(self, shard: Shard) -> Step:
        ids = (item.id for item in shard.items()) if self.lost else ()
        return _Decided(
            self.step.name, {name: self.lost[name] for name in ids if name in self.lost}
        )
