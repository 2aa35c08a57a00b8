"""What a recipe of `personae data synthesize` needs, and whether it is there.

No large model is loaded, nothing is fetched, and no endpoint is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from personae.data.pipeline.drawn import WORLD
from personae.data.pipeline.people import face_eyes
from personae.data.pipeline.speaker import Speaker
from personae.data.synthesize import SynthesisRecipe
from personae.diffusion.adapters import find_adapter
from personae.diffusion.configs import KNOWN_MODELS
from personae.diffusion.load import TOONS, find_configs
from personae.errors import PersonaeError, RequestError, WeightsError
from personae.metrics.witnesses import build_embedder
from personae.vision.detectors import WORD_DETECTORS
from personae.vision.embedders.transformers_models import CLIP_B16, DINO_S16, DINOV2_BASE
from personae.vision.language import KEY_VARIABLE
from personae.vision.segmenters.sam2 import SAM2

__all__ = ["Need", "recipe_needs"]

State = Literal["here", "to be fetched", "not asked", "missing"]
_PUBLISHED = {
    **WORD_DETECTORS,
    "sam2": SAM2,
    "dinov2": str(DINOV2_BASE.source),
    "dino": str(DINO_S16.source),
    "clip": str(CLIP_B16.source),
}


@dataclass(frozen=True)
class Need:
    """Something that a recipe names.

    Attributes:
        where: the recipe's key.
        what: the model, file or address.
        state: ``here``; ``to be fetched`` from the hub at the first run; ``not asked`` (an address:
            no question is sent); ``missing``: the recipe cannot run.
        todo: what to do, or what is still open.
    """

    where: str
    what: str
    state: State
    todo: str = ""


def recipe_needs(recipe: SynthesisRecipe) -> list[Need]:
    """All that a recipe needs, in the order in which its steps need it."""
    needs = list(_speakers(recipe))
    if recipe.drawn.by != WORLD:
        needs.append(_model("drawn.by", recipe.drawn.by))
    needs += _eyes(recipe)
    if recipe.redrawn.tries:
        needs.append(_drawing_again("redrawn.model", recipe.redrawn.model, recipe.redrawn.adapter))
        if recipe.redrawn.adapter is not None:
            needs.append(_adapter(recipe.redrawn.adapter))
    if recipe.edited is not None and recipe.edited.by != WORLD:
        needs.append(_drawing_again("edited.by", recipe.edited.by))
    if recipe.base is not None:
        needs.append(_base(recipe.base))
    return needs


def _speakers(recipe: SynthesisRecipe) -> Iterator[Need]:
    asked: dict[str, Speaker | None] = {"captioned.speaker": recipe.captioned.speaker}
    if recipe.planner == "llm" and recipe.planned is not None:
        asked = {"planned.speaker": recipe.planned.speaker, **asked}
    for where, speaker in asked.items():
        if speaker is None:
            continue
        if speaker.folder is None:
            key = "set" if os.environ.get(KEY_VARIABLE) else "not set"
            told = f"it has to answer there; {KEY_VARIABLE} is {key}"
            yield Need(where, f"{speaker.model} at {speaker.url}", "not asked", told)
        elif (speaker.folder / "config.json").is_file():
            yield Need(where, str(speaker.folder), "here")
        else:
            todo = "give a folder of transformers, with config.json"
            yield Need(where, str(speaker.folder), "missing", todo)


def _eyes(recipe: SynthesisRecipe) -> Iterator[Need]:
    located = recipe.located
    if located.sight is None:
        yield _built("faces.eyes", recipe.faces.eyes)
        return
    yield _pretrained("located.by", located.by)
    if located.segmenter.partition(":")[0] == "sam2":
        yield _pretrained("located.segmenter", located.segmenter)
    elif located.segmenter not in {"grabcut", "auto"}:
        todo = "expected auto, grabcut or sam2[:PATH]"
        yield Need("located.segmenter", located.segmenter, "missing", todo)
    if located.embedder.partition(":")[0] in _PUBLISHED:
        yield _pretrained("located.embedder", located.embedder)
    elif located.embedder == "dreamsim" and find_spec("dreamsim") is not None:
        todo = "its package fetches its weights itself"
        yield Need("located.embedder", located.embedder, "to be fetched", todo)
    else:
        yield _built("located.embedder", located.embedder)


def _built(where: str, name: str) -> Need:
    """Small eyes that packages carry, loaded to see whether they are there."""
    try:
        (face_eyes if where == "faces.eyes" else build_embedder)(name)
    except PersonaeError as error:
        return Need(where, name, "missing", str(error))
    return Need(where, name, "here")


def _pretrained(where: str, text: str) -> Need:
    """``name`` or ``name:PATH-OR-HUB-ID`` of a model of transformers."""
    name, _, source = text.partition(":")
    return _placed(where, source or _PUBLISHED[name], "config.json")


def _model(where: str, name: str) -> Need:
    """A diffusers pipeline: a folder, a hub id, or toons."""
    if name == TOONS:
        try:
            find_configs(name)
        except WeightsError as error:
            return Need(where, name, "missing", str(error))
        return Need(where, name, "here")
    return _placed(where, name, "model_index.json")


def _placed(where: str, source: str, file: str) -> Need:
    path = Path(source).expanduser()
    if path.exists():
        if _is_model(path, file):
            return Need(where, source, "here")
        todo = f"expected a folder with {file} and safetensors; give another"
        return Need(where, source, "missing", todo)
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        return Need(where, source, "missing", "no such folder, and no hub id; check the path")
    from huggingface_hub import try_to_load_from_cache

    kept = try_to_load_from_cache(source, file)
    if isinstance(kept, str) and _is_model(Path(kept).parent, file):
        return Need(where, source, "here")
    return Need(where, source, "to be fetched", "or give the path of a downloaded copy")


def _is_model(folder: Path, file: str) -> bool:
    """With its configuration, and weights: those alone that were asked for lie in a hub's cache."""
    return (folder / file).is_file() and any(folder.rglob("*.safetensors"))


def _drawing_again(where: str, name: str, adapter: str | None = None) -> Need:
    """A model that is shown pictures; whether it takes references is in its configuration."""
    need = _model(where, name)
    known = name in KNOWN_MODELS or need.state == "here"
    if need.state == "missing" or adapter is not None or not known:
        return need
    try:
        takes_none = find_configs(name).limits.reference_px == 0
    except PersonaeError as error:
        return Need(need.where, name, "missing", str(error))
    or_adapter = ", or an adapter that gives it them" if where == "redrawn.model" else ""
    todo = f"it takes no references; name another{or_adapter}"
    return Need(need.where, name, "missing", todo) if takes_none else need


def _adapter(source: str) -> Need:
    try:
        find_adapter(source)
    except (WeightsError, RequestError) as error:
        return Need("redrawn.adapter", source, "missing", str(error))
    return Need("redrawn.adapter", source, "here")


def _base(name: str) -> Need:
    """Only its configuration is read: how its prompts name a subject."""
    if name in KNOWN_MODELS:
        return Need("base", name, "here", "only the way in which its prompts name a subject")
    return _model("base", name)
