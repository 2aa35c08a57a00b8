"""Is this machine ready, and can these eyes tell this cast apart?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from personae.compute.device import choose_device
from personae.diffusion.load import find_configs
from personae.diffusion.memory import MemoryEstimate, Workload, available_memory, estimate_memory
from personae.errors import PersonaeError, RequestError, WeightsError
from personae.evaluation.environment import package_versions
from personae.metrics.eyes import Group, group_of
from personae.metrics.separability import PairSeparability
from personae.metrics.witnesses import EyesChoice, build_witnesses
from personae.subjects.manifest import read_cast
from personae.subjects.subject import Subject

__all__ = ["CastCheck", "Check", "ModelCheck", "check_cast", "check_machine", "check_model"]


@dataclass(frozen=True)
class Check:
    """One thing looked at: is it well, and what was seen."""

    name: str
    ok: bool
    seen: str
    needed: bool = True


@dataclass(frozen=True)
class CastCheck:
    """A cast under these eyes: each pair, subjects that cannot be known, lines that are wrong."""

    pairs: tuple[PairSeparability, ...]
    blind: dict[str, str]
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing stands against scoring this cast."""
        return not self.blind and not self.problems and all(pair.separable for pair in self.pairs)


@dataclass(frozen=True)
class ModelCheck:
    """What a model needs on a device to draw one picture, and what is free there."""

    name: str
    device: str
    workload: Workload
    memory: MemoryEstimate
    available: int

    @property
    def ok(self) -> bool:
        """There is room for it."""
        return self.memory.total <= self.available


def check_machine(eyes: EyesChoice) -> list[Check]:
    """Packages, devices and weights."""
    checks = [
        Check(name, version is not None, version or "not installed", name not in _OPTIONAL)
        for name, version in package_versions().items()
    ]
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else "none; scoring runs on the CPU"
    checks.append(Check("CUDA device", cuda, device, needed=False))
    checks.append(_attempt("eyes for people", lambda: _eyes_name(eyes, "person")))
    checks.append(_attempt("eyes for things", lambda: _eyes_name(eyes, "thing")))
    return checks


def check_cast(path: Path, eyes: EyesChoice, root: Path | None = None) -> CastCheck:
    """Can these eyes tell the subjects of a cast apart, reference against reference?

    Raises:
        DataError: the file cannot be read.
    """
    manifest = read_cast(path, root)
    groups: dict[Group, dict[str, Subject]] = {}
    for subject in manifest.subjects:
        groups.setdefault(group_of(subject.kind), {})[subject.id] = subject
    pairs: list[PairSeparability] = []
    blind: dict[str, str] = {}
    notes: list[str] = []
    for group, witness in build_witnesses(eyes, tuple(groups)).items():
        gallery = witness.gallery(groups[group])
        pairs += witness.separability(gallery)
        blind |= gallery.blind
        notes += gallery.notes
    return CastCheck(tuple(pairs), blind, tuple(notes), manifest.problems)


def check_model(
    name: str,
    size: tuple[int, int] | None = None,
    references: int | None = None,
    device: str = "auto",
) -> ModelCheck:
    """How much memory a model needs, from its configuration; nothing is loaded.

    Args:
        name: folder, hub id or ``toons``.
        size: (width, height) of a picture; by default what the model was trained at.
        references: in context; by default two, or as many as the model takes.
        device: as ``choose_device`` reads it; weights have 16 bits except on the CPU.

    Raises:
        WeightsError: there is no such model, or the hub cannot be reached.
        RequestError: the model was not trained for so many references.
    """
    place = choose_device(device)
    configs = find_configs(name)
    most = configs.limits.max_subjects if configs.limits.reference_px else 0
    if references is not None and references > most:
        raise RequestError(f"model {name}: takes at most {most} references, not {references}")
    width, height = size or max(configs.limits.sizes, default=(1024, 1024))
    workload = Workload(
        width=width,
        height=height,
        references=min(2, most) if references is None else references,
        dtype=torch.float32 if place.type == "cpu" else torch.bfloat16,
    )
    memory = estimate_memory(configs, workload)
    return ModelCheck(name, str(place), workload, memory, available_memory(place))


_OPTIONAL = ("transformers", "onnxruntime")


def _eyes_name(eyes: EyesChoice, group: Group) -> str:
    return build_witnesses(eyes, (group,))[group].eyes.name


def _attempt(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except WeightsError as error:
        return Check(name, False, str(error))
    except PersonaeError as error:
        return Check(name, False, str(error), needed=False)
