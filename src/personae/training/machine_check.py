"""Does this machine have what a recipe asks for: device, compiler, libraries, an empty folder?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch

from personae.compute.device import choose_device
from personae.config import read_toml
from personae.diffusion.memory import format_bytes
from personae.diffusion.quantize import quantization_config
from personae.errors import DataError, RequestError
from personae.training.checkpoint import checkpoints
from personae.training.recipe import Recipe, changed_keys
from personae.training.recipe_check import Finding, Mistake, Remark, mistake_of

__all__ = ["check_disk", "check_folder", "check_machine", "find_device"]

_COMPILERS = ("g++", "clang++", "c++")


def find_device(recipe: Recipe) -> tuple[torch.device | None, list[Finding]]:
    """The recipe's device; None: it is not there."""
    try:
        return choose_device(recipe.device), []
    except RequestError as error:
        reason = str(error).partition("; ")[0]
    todo = "run on a machine that has it, or say --set device=auto"
    return None, [Mistake("device", "a device of this machine", reason, todo)]


def check_machine(recipe: Recipe, device: torch.device | None) -> Iterator[Finding]:
    """What the recipe needs of the device and of installed libraries."""
    training = recipe.training
    if device is not None:
        yield from _precision(recipe, device)
        if training.compile:
            yield from _compiler(device)
        if training.quantize != "no":
            yield from _quantize(recipe, device)
        if device.type == "cpu" and training.threads > (os.cpu_count() or 1):
            told = f"training.threads {training.threads} on {os.cpu_count()} cores"
            yield Remark(f"{told}: more threads than cores slow each other down")
    if recipe.optimizer.name == "adamw8bit" and find_spec("bitsandbytes") is None:
        todo = "run `pip install bitsandbytes`, or take adamw"
        yield Mistake("optimizer.name", "bitsandbytes for adamw8bit", "not installed", todo)
    yield from _trackers(recipe)


def _precision(recipe: Recipe, device: torch.device) -> Iterator[Finding]:
    if recipe.training.precision != "bf16":
        return
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        came = f"bf16 on {torch.cuda.get_device_name(device)}, which has none"
        yield Mistake("training.precision", "no", came, "set it to no, or take a newer GPU")
    if device.type == "cpu":
        yield Remark("training.precision bf16 on the CPU works, but is slower there on most")


def _compiler(device: torch.device) -> Iterator[Finding]:
    named = os.environ.get("CXX")
    if device.type == "cpu" and not any(map(shutil.which, (named or "", *_COMPILERS))):
        expected, came = "a C++ compiler for torch.compile on the CPU", "none on PATH"
        yield Mistake("training.compile", expected, came, "install g++, or set it to false")
    if device.type == "cuda" and find_spec("triton") is None:
        expected, came = "triton for torch.compile on a GPU", "not installed"
        yield Mistake("training.compile", expected, came, "install triton, or set it to false")


def _quantize(recipe: Recipe, device: torch.device) -> Iterator[Finding]:
    kind = recipe.training.quantize
    dtype = torch.bfloat16 if recipe.training.precision == "bf16" else torch.float32
    try:
        quantization_config(kind, device, dtype)
    except RequestError as error:
        expected = f"what {kind} needs"
        reason, _, todo = str(error).removeprefix("training.quantize: ").partition("; ")
        yield Mistake("training.quantize", expected, reason, todo or "set it to no")


def _trackers(recipe: Recipe) -> Iterator[Finding]:
    if not recipe.training.trackers:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = [str(name) for name in LOGGER_TYPE_TO_CLASS]
    there = [str(name) for name in get_available_trackers()]
    for name in recipe.training.trackers:
        if name not in known:
            yield Mistake("training.trackers", f"one of {', '.join(known)}", name, "mend the name")
        elif name not in there:
            todo = f"run `pip install {name}`, or leave it out"
            yield Mistake("training.trackers", f"{name} installed", "not installed", todo)


def check_folder(recipe: Recipe, out: Path, resume: bool) -> list[Finding]:
    """May the run go into this folder?"""
    resolved = out / "recipe.resolved.toml"
    if out.exists() and not out.is_dir():
        return [Mistake("--out", "a folder", f"the file {out}", "give another --out")]
    if not resolved.exists():
        return []
    try:
        changed = changed_keys(read_toml(resolved), recipe)
    except DataError as error:
        return [mistake_of("--out", str(resolved), error, "give another --out")]
    if changed:
        came = f"{out}, which was started with another recipe ({', '.join(changed)} differ)"
        todo = "give another --out, or take the recipe in recipe.resolved.toml"
        return [Mistake("--out", "a new folder, or this recipe's run", came, todo)]
    if not resume:
        todo = "go on with --resume, or give another --out"
        return [Mistake("--out", "a new folder", f"{out}, which holds this recipe's run", todo)]
    found = checkpoints(out / "checkpoints")
    begins = found[-1].name if found else "its beginning: it has no checkpoint"
    return [Remark(f"{out}: goes on from {begins}")]


def check_disk(needed: Mapping[Path, int]) -> list[Finding]:
    """Is there room for so many bytes below each folder? Folders on one disk share its room."""
    disks: dict[int, tuple[Path, int]] = {}
    for folder, size in needed.items():
        there = _existing(folder)
        device = there.stat().st_dev
        first, before = disks.get(device, (there, 0))
        disks[device] = (first, before + size)
    findings: list[Finding] = []
    for folder, size in disks.values():
        free = shutil.disk_usage(folder).free
        if size > free:
            expected = f"about {format_bytes(size)} for checkpoints, weights and latents"
            todo = "make room, keep fewer checkpoints (training.keep), or give another --out"
            findings.append(Mistake("--out", expected, f"{format_bytes(free)} free", todo))
    return findings


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    place = folder.absolute()
    return next(path for path in (place, *place.parents) if path.exists())
