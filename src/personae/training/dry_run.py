"""A run without the run: what would be trained, how much it needs, and every mistake before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from personae.diffusion.memory import available_memory, format_bytes
from personae.errors import DataError, RequestError, WeightsError
from personae.training.base_check import Base, look_at_base
from personae.training.data_check import DataFacts, assumed_data, look_at_data
from personae.training.flops import decoder_cost, picture_flops
from personae.training.history import History, read_history
from personae.training.machine_check import check_disk, check_folder, check_machine, find_device
from personae.training.needs import (
    MemoryNeeds,
    TimeNeeds,
    largest,
    memory_needs,
    time_needs,
)
from personae.training.plan import plan_of, trained_of
from personae.training.processes import count_processes
from personae.training.recipe import Recipe
from personae.training.recipe_check import (
    Finding,
    Mistake,
    Remark,
    Unchecked,
    mistake_of,
    read_whole,
)
from personae.training.rewards_check import check_method, check_rewards
from personae.training.words_check import check_words
from personae.training.work import Work, step_flops
from personae.training.written import disk_needs

__all__ = ["DryRun", "dry_run"]

_PATCH = 16  # of every known family, where the base itself is not known


@dataclass(frozen=True)
class DryRun:
    """What a recipe would do, and what stands against it.

    Attributes:
        recipe: the file.
        plan: what would be trained, on what, how; name to words or numbers.
        memory: None: it could not be said.
        disk: bytes that the run writes, by folder.
        time: None: it could not be said.
        mistakes: what would stop it, or make it another run than was meant.
        unchecked: what could not be looked at, and why.
        remarks: what is worth knowing.
    """

    recipe: Path
    plan: Mapping[str, Any]
    memory: MemoryNeeds | None
    disk: Mapping[Path, int]
    time: TimeNeeds | None
    mistakes: tuple[Mistake, ...]
    unchecked: tuple[Unchecked, ...]
    remarks: tuple[Remark, ...]

    def as_data(self) -> dict[str, Any]:
        """Plain data, ready for JSON; sizes in bytes."""
        memory = self.memory
        return {
            "recipe": str(self.recipe),
            "plan": dict(self.plan),
            "memory": None if memory is None else {**asdict(memory), "total": memory.total},
            "disk": {str(folder): size for folder, size in self.disk.items()},
            "time": None if self.time is None else asdict(self.time),
            "mistakes": [asdict(item) for item in self.mistakes],
            "unchecked": [asdict(item) for item in self.unchecked],
            "remarks": [item.text for item in self.remarks],
        }


def dry_run(path: Path, out: Path, settings: Sequence[str] = (), *, resume: bool = False) -> DryRun:
    """Look at a recipe and at all that it names; no weights are read.

    Only configuration files, the headers of safetensors files, some examples and the log of an
    earlier start of this run are opened.

    Args:
        path: the recipe.
        out: folder of the run.
        settings: ``section.key=value`` over the recipe.
        resume: go on with the run in ``out``.
    """
    reading = read_whole(path, settings)
    if reading.recipe is None:
        return _told(path, {}, reading.mistakes)
    recipe = reading.recipe
    found: list[Finding] = list(reading.mistakes)
    base, told = (None, []) if "base" in reading.lacking else look_at_base(recipe)
    found += told
    data: DataFacts | None = None
    if "data" not in reading.lacking:
        limits = None if base is None else base.configs.limits
        data, told = look_at_data(recipe, limits, _PATCH if base is None else base.multiple)
        found += told
    if data is None and base is not None:
        data = assumed_data(recipe, base.configs.limits)
    device, told = find_device(recipe)
    found += [*told, *check_machine(recipe, device), *check_method(recipe)]
    found += [*check_rewards(recipe), *check_folder(recipe, out, resume)]
    found += [] if base is None else check_words(recipe)
    return _needs(path, recipe, out, _Known(base, data, device), found)


@dataclass(frozen=True, eq=False)
class _Known:
    base: Base | None
    data: DataFacts | None
    device: torch.device | None


def _needs(path: Path, recipe: Recipe, out: Path, known: _Known, found: list[Finding]) -> DryRun:
    """Memory, disk and time, as far as base, data and device are known."""
    base, data = known.base, known.data
    plan = plan_of(recipe, base, data, known.device)
    memory, needed, seconds = None, dict[Path, int](), None
    try:
        if base is not None:
            plan |= trained_of(recipe, base)
            needed = disk_needs(recipe, base, data, out)
            found += check_disk(needed)
        if base is not None and data is not None and data.shapes:
            own, other, kept = _decoders(recipe, base, data, found)
            memory = _memory(recipe, base, data, kept, known.device, found)
            each = picture_flops(recipe, base, largest(data), own)
            work = step_flops(recipe, base.configs.limits, each, other)
            seconds = _time(recipe, known, work, _log(recipe, out), found)
    except (DataError, RequestError, WeightsError) as error:  # those who looked told it already
        found.append(Unchecked("memory and time", str(error)))
    return _told(path, plan, found, memory=memory, disk=needed, time=seconds)


def _told(path: Path, plan: Mapping[str, Any], found: Sequence[Finding], **needs: Any) -> DryRun:
    mistakes = tuple(dict.fromkeys(item for item in found if isinstance(item, Mistake)))
    named = (_named(path, item) for item in mistakes)
    unchecked = tuple(item for item in found if isinstance(item, Unchecked))
    remarks = tuple(item for item in found if isinstance(item, Remark))
    given = {"memory": None, "disk": {}, "time": None} | needs
    return DryRun(path, plan, **given, mistakes=tuple(named), unchecked=unchecked, remarks=remarks)


def _named(path: Path, item: Mistake) -> Mistake:
    """A key of the recipe is told with its file."""
    is_key = ":" not in item.where and "/" not in item.where and not item.where.startswith("--")
    return replace(item, where=f"{path}: {item.where}") if is_key else item


def _decoders(
    recipe: Recipe, base: Base, data: DataFacts, found: list[Finding]
) -> tuple[float, float, int]:
    """Operations of the base's decoder and of the reward's, and the bytes that the latter keeps."""
    size = largest(data).pictures[0]
    own, kept = decoder_cost(base, None, *size)
    folder = None if recipe.rerefl is None else recipe.rerefl.decoder
    if folder is None:
        return own, own, kept
    try:
        return own, *decoder_cost(base, _small_decoder(folder, base), *size)
    except (WeightsError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = WeightsError(str(error).split("\n")[0])
        todo = "make it with recipes/small_decoder.py, or leave rerefl.decoder out"
        expected = "a small decoder for this base"
        found.append(mistake_of("rerefl.decoder", str(folder), reason, todo, expected))
        return own, own, kept


def _small_decoder(folder: Path, base: Base) -> Callable[[Tensor], Tensor]:
    """One like that of the folder, on the meta device; the header of its weights is looked at."""
    from personae.diffusion.decoder import SmallDecoder
    from personae.diffusion.folder import read_safetensors_header

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        own = int(config["latent_channels"])
    except OSError as error:
        raise WeightsError(f"{folder}: cannot be read ({error.strerror or error})") from error
    read_safetensors_header(folder / "diffusion_pytorch_model.safetensors")
    channels = int(base.configs.denoiser.config["in_channels"])
    with torch.device("meta"):
        return SmallDecoder(config, round((channels / own) ** 0.5))


def _memory(
    recipe: Recipe,
    base: Base,
    data: DataFacts,
    kept: int,
    device: torch.device | None,
    found: list[Finding],
) -> MemoryNeeds:
    free = None if device is None else available_memory(device)
    processes = count_processes()
    needs = memory_needs(recipe, base, data, kept, free, processes)
    if free is None:
        why = f"{recipe.device} is not on this machine, so nothing is known of its memory"
        found.append(Unchecked("memory that is free", why))
        return needs
    if recipe.training.sharding != "no" and processes == 1:
        why = "told is what one alone needs; start the dry run as the run, by `accelerate launch`"
        found.append(Unchecked("memory of one of several processes", why))
        return needs
    came = f"{format_bytes(free)} free on {device}"
    todo = "lower the rank, quantize, or take another device"
    if needs.certain > free:
        expected = f"{format_bytes(needs.certain)} for weights, gradients and optimizer"
        found.append(Mistake("device", expected, came, todo))
    elif needs.total > free:
        stage = max(needs.stages, key=lambda name: needs.stages[name])
        told = f"memory will hardly do: about {format_bytes(needs.total)} at once ({stage})"
        found.append(Remark(f"{told}, {came}; lower training.batch_size or the pictures' sizes"))
    return needs


def _log(recipe: Recipe, out: Path) -> History:
    """Of an earlier start of this very run."""
    if any(isinstance(item, Mistake) for item in check_folder(recipe, out, resume=True)):
        return History()
    try:
        return read_history(out / "log.jsonl")
    except DataError:
        return History()


def _time(
    recipe: Recipe, known: _Known, work: Work, log: History, found: list[Finding]
) -> TimeNeeds | None:
    base, data, device = known.base, known.data, known.device
    assert base is not None
    assert data is not None
    if device is None and log.seconds_per_step() is None:
        words = (
            f"a step is {work.total_step:.2g} operations, {work.total_step / 1e14:.3g} s at 1e14"
        )
        why = f"{recipe.device} is not on this machine to be measured; {words} a second"
        found.append(Unchecked("time", why))
        return None
    return time_needs(recipe, base, data, work, device or torch.device("cpu"), log)
