"""The folder that drawing fills: its settings, its rows, and what of it still holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from personae import __version__
from personae.compute.runs import RowLog, read_json, read_rows, write_json
from personae.diffusion.backbone import Backbone
from personae.errors import DataError, RequestError
from personae.generation.best import Rater
from personae.generation.drawing import Drawing
from personae.generation.layout_memory import LAYOUTS_FILE
from personae.generation.planners import LayoutPlanner
from personae.subjects.scene import Scene

__all__ = [
    "FAILED",
    "IMAGES_FILE",
    "RUN_FILE",
    "check_run",
    "image_name",
    "open_log",
    "overwrite",
    "picture_key",
    "rater_name",
    "run_settings",
    "scene_stamp",
    "weights_digest",
]

IMAGES_FILE = "images.jsonl"
RUN_FILE = "generation.json"
# What the weights are called; whether they are others, their digest tells.
_NAMES = ("model", "revision", "adapter")
_SAMPLES = 64
# The stamp of a picture that could not be drawn: it equals no scene's, so it is tried again.
FAILED = "failed"


def picture_key(scene_id: str, seed: int) -> str:
    """What names a picture in the journal."""
    return f"{scene_id}|{seed}"


def image_name(scene_id: str, seed: int) -> str:
    """Where a picture lies, relative to images.jsonl."""
    return f"images/{scene_id}/{seed}.png"


def rater_name(rater: Rater | None) -> str | None:
    """What a rater calls itself."""
    return None if rater is None else str(getattr(rater, "name", type(rater).__name__))


def run_settings(
    backbone: Backbone,
    drawing: Drawing,
    rater: Rater | None,
    planner: LayoutPlanner | None = None,
) -> dict[str, Any]:
    """What all pictures of a folder share; ``drawing`` is a settled one."""
    shared = asdict(drawing) | {"relative_sizes": dict(drawing.relative_sizes)}
    shared["size"] = None if drawing.size is None else list(drawing.size)
    # None where there are none: as in a folder that was begun before there were any.
    shared["region_weight"] = drawing.region_weight if drawing.regions else None
    shared["regions"] = drawing.regions or None
    is_random = drawing.start_photo == "random" and drawing.uses_layout
    shared["start_photo"] = "random" if is_random else None
    shared["negative"] = drawing.negative or None
    asked = planner is not None and drawing.layout == "llm"
    shared["planner"] = f"{planner.name}: {planner.model}" if planner and asked else None
    return {
        "model": backbone.name,
        "revision": backbone.revision,
        "family": backbone.family,
        "weights": weights_digest(backbone),
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "rater": rater_name(rater) if drawing.best_of > 1 else None,
        **shared,
    }


def weights_digest(backbone: Backbone) -> str:
    """A short name for what the weights hold, an adapter's included: 16 hex digits.

    Of each tensor of denoiser and text encoder it reads name, shape and 64 values spread evenly.
    """
    digest = hashlib.sha256()
    for part in (backbone.denoiser, backbone.text_encoder):
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            values = tensor.detach().flatten()
            some = values[:: max(values.numel() // _SAMPLES, 1)][:_SAMPLES]
            digest.update(some.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_run(out: Path, settings: Mapping[str, Any]) -> None:
    """Write a new folder's settings, or compare with those that it was begun with.

    Raises:
        RequestError: the folder holds pictures drawn otherwise; it says what differs.
    """
    path = out / RUN_FILE
    if not path.exists():
        write_json(path, {**settings, "personae": __version__})
        return
    before = read_json(path)
    differing = [
        f"{name} {before.get(name)!r} (now {value!r})"
        for name, value in settings.items()
        if before.get(name) != value and name not in _NAMES
    ]
    if differing:
        raise RequestError(
            f"{out} holds pictures drawn with {', '.join(differing)}; "
            "use another --out, or --overwrite"
        )


def scene_stamp(scene: Scene, drawing: Drawing) -> str:
    """Changes with anything of a scene that its pictures depend on, its references' bytes included.

    Where the files lie does not matter. A file that cannot be read counts as missing.
    """
    subjects = [
        (name, subject.name, *(_digest(path) for path in _files(scene, name, drawing)))
        for name, subject in scene.subjects.items()
    ]
    text = repr((scene.id, scene.prompt, subjects, dict(scene.layout), scene.relation))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _files(scene: Scene, name: str, drawing: Drawing) -> list[Path | None]:
    """The chosen photo and its mask; then all others, where a start may be cut out of any."""
    references = scene.subjects[name].references
    chosen = references[min(drawing.reference, len(references) - 1)]
    more = references if drawing.start_photo == "random" and drawing.uses_layout else ()
    return [path for file in (chosen, *more) for path in (file.image, file.mask)]


def _digest(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "missing"


def open_log(out: Path, stamps: Mapping[str, str], names: Mapping[str, str]) -> RowLog:
    """Open images.jsonl, without the rows that no longer hold, whose pictures are removed.

    ``stamps`` and ``names`` say of each picture that is wanted now what scene it is of and where
    it lies. Rows of other pictures stay.
    """
    log = RowLog(out / IMAGES_FILE)
    stale = [
        key
        for key, stamp in log.done.items()
        if key in stamps and (stamp != stamps[key] or not (out / names[key]).is_file())
    ]
    for key in stale:
        (out / names[key]).unlink(missing_ok=True)
    if stale:
        log.drop(stale)
    return log


def overwrite(out: Path) -> None:
    """Throw away what drawing left in a folder; pictures that it did not make stay."""
    for name in _drawn_names(out / IMAGES_FILE):
        with suppress(OSError):
            (out / name).unlink(missing_ok=True)
    layouts = (LAYOUTS_FILE, ".layouts.journal.jsonl")
    for name in (IMAGES_FILE, ".images.journal.jsonl", RUN_FILE, *layouts):
        (out / name).unlink(missing_ok=True)


def _drawn_names(path: Path) -> Sequence[str]:
    """The pictures of images.jsonl that lie below its folder, up to a line that is torn."""
    names = []
    with suppress(DataError):
        for row in read_rows(path):
            name = row.get("image")
            if isinstance(name, str) and (path.parent / name).resolve().is_relative_to(
                path.parent.resolve()
            ):
                names.append(name)
    return names
