"""What made a shard: the version of this package, a step's settings, and the weights it used.

Every ``done.json`` tells it, ``provenance.json`` tells it of the whole run, and an item's
``sources`` name the steps that touched it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from personae import __version__
from personae.compute.runs import write_json
from personae.data.pipeline.items import digest_of
from personae.data.pipeline.step import Step, WholeStep
from personae.vision.weights import PackagedWeights, file_sha256

__all__ = [
    "PROVENANCE_FILE",
    "backbone_models",
    "eye_models",
    "face_models",
    "folder_digest",
    "provenance_of",
    "write_provenance",
]

PROVENANCE_FILE = "provenance.json"
_SAMPLES, _SAMPLE_BYTES = 256, 4096


def provenance_of(step: Step | WholeStep) -> dict[str, Any]:
    """What a step's output depends on beside its items, as JSON.

    Raises:
        WeightsError: a model that is asked for is not there.
    """
    models = getattr(step, "models", None)
    return {
        "step": step.name,
        "version": __version__,
        "settings": dict(step.settings()),
        "models": {} if models is None else dict(models()),
    }


def write_provenance(out: Path, steps: Sequence[Mapping[str, Any]]) -> str:
    """Write ``provenance.json``; its digest, which examples carry as ``made_by``."""
    digest = digest_of(steps)
    write_json(out / PROVENANCE_FILE, {"made_by": digest, "steps": steps})
    return digest


def face_models(eyes: str) -> dict[str, str]:
    """Weights behind eyes for faces, as ``--faces`` takes them: a SHA-256 by name.

    Unknown eyes have none: whoever builds them says what is wrong.
    """
    from personae.vision.faces.detect import LANDMARK_WEIGHTS
    from personae.vision.faces.embed import DLIB_WEIGHTS
    from personae.vision.toons.shipped import TOON_WEIGHTS

    kind, _, path = eyes.partition(":")
    if kind in {"toons", "examiner"}:
        return _packaged(*TOON_WEIGHTS.values())
    found = {"dlib": metadata.version("dlib-bin")} | _packaged(LANDMARK_WEIGHTS)
    if kind == "dlib":
        return found | _packaged(DLIB_WEIGHTS)
    if kind == "arcface" and Path(path).is_file():
        return found | {Path(path).name: file_sha256(Path(path))[:16]}
    return {}


def eye_models(*eyes: str) -> dict[str, str]:
    """Weights behind eyes for things, as ``--embedder`` and ``--detector`` take them.

    Of those that a hub keeps only the names are known, and stand in the step's settings.
    """
    from personae.vision.embedders.lite_network import LITE0_WEIGHTS

    found: dict[str, str] = {}
    for one in eyes:
        path = Path(one.partition(":")[2])
        if one == "efficientnet-lite0":
            found |= _packaged(LITE0_WEIGHTS)
        elif path.name and path.exists():
            found[one] = file_sha256(path)[:16] if path.is_file() else folder_digest(path)
    return found


def _packaged(*weights: PackagedWeights) -> dict[str, str]:
    """Whoever loads them checks that the file is the tested one."""
    return {one.name: one.sha256[:16] for one in weights}


def backbone_models(model: str, adapter: str | None = None) -> dict[str, str]:
    """Weights behind a generating model: its commit, or a digest of its folder.

    Raises:
        WeightsError: no such model, or no such adapter.
    """
    from personae.diffusion.adapters import find_adapter
    from personae.diffusion.load import resolve_checkpoint

    folder, commit = resolve_checkpoint(model)
    found = {model: commit or folder_digest(folder)}
    if adapter:
        found[adapter] = file_sha256(find_adapter(adapter))[:16]
    return found


def folder_digest(folder: Path) -> str:
    """16 hex digits of the names and sizes of a folder's files and of parts of their content.

    Of a file of more than a megabyte 256 pages of 4 KiB, evenly spread, are read: the header of
    safetensors among them. Weights that were trained on differ in nearly every page; a change of
    less may be overlooked.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts):
            size = path.stat().st_size
            digest.update(f"{name.as_posix()} {size}\n".encode())
            digest.update(_sampled(path, size))
    return digest.hexdigest()[:16]


def _sampled(path: Path, size: int) -> bytes:
    if size <= _SAMPLES * _SAMPLE_BYTES:
        return path.read_bytes()
    with path.open("rb") as stream:
        pages = []
        for place in range(_SAMPLES):
            stream.seek(place * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
            pages.append(stream.read(_SAMPLE_BYTES))
    return b"".join(pages)
