"""The base of a recipe, looked at without its weights: configuration files, headers, layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from personae.diffusion.adapters import require_same_adapter
from personae.diffusion.configs import KNOWN_MODELS, ModelConfigs, build_on_meta
from personae.diffusion.folder import CheckpointFolder, inspect_folder, names_in_memory
from personae.diffusion.load import FAMILIES, TOONS, find_configs
from personae.diffusion.low_rank import layer_ranks
from personae.diffusion.memory import format_bytes
from personae.errors import RequestError, WeightsError
from personae.toons import checkpoint_folder
from personae.training.recipe import LoraRecipe, Recipe
from personae.training.recipe_check import Finding, Mistake, Remark, Unchecked, mistake_of

__all__ = ["Base", "adapted_layers", "hub_folder", "look_at_base"]

# What a hub that answers says; huggingface_hub's classes for a hub that does not derive from these.
_ANSWERS = {
    "EntryNotFoundError",
    "GatedRepoError",
    "HFValidationError",
    "RemoteEntryNotFoundError",
    "RepositoryNotFoundError",
    "RevisionNotFoundError",
}


@dataclass(frozen=True, eq=False)
class Base:
    """A model without its weights.

    Attributes:
        configs: what its configuration files say.
        modules: its parts on torch's meta device.
    """

    configs: ModelConfigs
    modules: Mapping[str, nn.Module]

    @property
    def denoiser(self) -> nn.Module:
        """What is trained."""
        return self.modules[self.configs.family.denoiser]

    @property
    def text_encoders(self) -> tuple[nn.Module, ...]:
        """What embeds prompts, one or two."""
        return tuple(self.modules[name] for name in self.modules if name.startswith("text_encoder"))

    @property
    def multiple(self) -> int:
        """Width and height of a picture are multiples of this many pixels."""
        return self.configs.multiple

    @property
    def num_parameters(self) -> int:
        """Of all parts."""
        return sum(p.numel() for module in self.modules.values() for p in module.parameters())


def look_at_base(recipe: Recipe) -> tuple[Base | None, list[Finding]]:
    """What the recipe's base is, and what is wrong with it; no weights are read."""
    where = "base"
    try:
        configs = find_configs(recipe.base, recipe.revision)
    except WeightsError as error:
        return None, [_unreachable(recipe, error) or _base_mistake(where, recipe.base, error)]
    if configs.pipeline_class not in FAMILIES:
        known = f"one of {', '.join(sorted(FAMILIES))}"
        return None, [Mistake(where, known, configs.pipeline_class, "give a model of these")]
    try:
        modules = {name: build_on_meta(part) for name, part in configs.parts.items()}
    except (WeightsError, TypeError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        return None, [_base_mistake(where, recipe.base, WeightsError(str(error)))]
    base = Base(configs, modules)
    return base, [*_weights(recipe, base), *_lora(recipe, base)]


def adapted_layers(base: Base, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """The layers that an adapter goes on, by name, as `add_lora` chooses them.

    Raises:
        RequestError: the targets match none, or one that is no linear layer.
    """
    denoiser, pattern = base.denoiser, base.configs.family.lora_targets
    if targets:
        pattern = r"(.*\.)?(" + "|".join(re.escape(name) for name in targets) + ")"
    found = {k: layer for k, layer in denoiser.named_modules() if re.fullmatch(pattern, k)}
    layers = {name: layer for name, layer in found.items() if isinstance(layer, nn.Linear)}
    if not layers or len(layers) < len(found):
        foreign = sorted({type(layer).__name__ for layer in found.values()} - {"Linear"})
        examples = sorted(
            {
                re.sub(r".*\.\d+\.", "", name)
                for name, layer in denoiser.named_modules()
                if isinstance(layer, nn.Linear)
            }
        )
        raise RequestError(
            f"lora.targets: expected ends of names of linear layers; got {list(targets)}, which "
            f"match {', '.join(foreign) or 'no layer'}; take some of {', '.join(examples)}"
        )
    return layers


def hub_folder(name: str, revision: str | None, file: str) -> Path | None:
    """Where a file of a hub id lies on this machine; None: it was never fetched."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except ValueError:  # no name of a repository
        return None
    return Path(found).parent if isinstance(found, str) else None


def _base_mistake(where: str, base: str, error: WeightsError) -> Mistake:
    todo = f"give {TOONS!r}, a diffusers folder or a hub id"
    return mistake_of(where, base, error, todo, "a model of a known family, whole")


def _unreachable(recipe: Recipe, error: WeightsError) -> Unchecked | None:
    """A hub that did not answer is no mistake of the recipe; one that says no is."""
    cause = error.__cause__
    if not isinstance(cause, OSError) or type(cause).__name__ in _ANSWERS:
        return None
    reason = str(cause).strip().split("\n")[0]
    known = ", ".join(KNOWN_MODELS)
    return Unchecked(
        f"base {recipe.base}",
        f"its configuration is not on this machine and the hub did not answer ({reason}); only "
        f"that of {known} is known without it. Layers, memory and time cannot be said",
    )


def _weights(recipe: Recipe, base: Base) -> list[Finding]:
    """Are the weights there, whole, and those of this configuration? By their headers."""
    local = checkpoint_folder() if recipe.base == TOONS else Path(recipe.base).expanduser()
    if not local.is_dir():
        return _hub_weights(recipe, base)
    try:
        folder = inspect_folder(local)
    except WeightsError as error:
        return [_base_mistake("base", recipe.base, error)]
    return _lacking(base, folder)


def _hub_weights(recipe: Recipe, base: Base) -> list[Finding]:
    from huggingface_hub import constants

    size = format_bytes(2 * base.num_parameters)
    folder = hub_folder(recipe.base, recipe.revision, "model_index.json")
    if folder is not None:
        try:
            return _lacking(base, inspect_folder(folder))
        except WeightsError as error:
            reason = str(error)
    else:
        reason = "nothing of it was fetched yet"
    if constants.HF_HUB_OFFLINE:
        todo = "unset HF_HUB_OFFLINE, or give the path of a downloaded copy"
        return [Mistake("base", f"{recipe.base} on this machine", reason, todo)]
    return [
        Unchecked(
            f"weights of {recipe.base}",
            f"not on this machine ({reason}); the first run fetches about {size} from the hub",
        )
    ]


def _lacking(base: Base, folder: CheckpointFolder) -> list[Finding]:
    """Tensors of the configuration that the files do not hold, or hold in another shape."""
    findings: list[Finding] = []
    for part, module in base.modules.items():
        stored = names_in_memory(folder.tensors.get(part, {}))
        state = module.state_dict(keep_vars=True)
        held = {id(state[name]) for name in stored if name in state}
        wrong = [
            name
            for name, tensor in state.items()
            if (name not in stored and id(tensor) not in held)  # tied to one that is there
            or (name in stored and stored[name].shape != tuple(tensor.shape))
        ]
        if stored and wrong:
            came = f"files without {len(wrong)} of them, or in other shapes, first {wrong[0]}"
            todo = "the weights do not belong to the configuration, get the checkpoint again"
            expected = f"{len(state)} tensors of its configuration in {part}"
            findings.append(Mistake("base", expected, came, todo))
    return findings


def _lora(recipe: Recipe, base: Base) -> list[Finding]:
    lora: LoraRecipe | None = recipe.lora
    if lora is None:
        return []
    findings: list[Finding] = []
    if lora.rank < 1:
        findings.append(Mistake("lora.rank", "1 or more", str(lora.rank), "UMO takes 512"))
    if recipe.training.train_text_encoder:
        came, todo = "a section [lora] too", "drop one; an adapter is for the denoiser only"
        findings.append(Mistake("training.train_text_encoder", "false", came, todo))
    if lora.under is not None:
        findings += _under(base, lora.under)
    try:
        layers = adapted_layers(base, lora.targets)
    except RequestError as error:
        return [*findings, mistake_of("lora.targets", repr(list(lora.targets)), error)]
    least = min(min(layer.in_features, layer.out_features) for layer in layers.values())
    if lora.rank > least:
        text = f"lora.rank {lora.rank} is more than the {least} that the smallest layer can use"
        findings.append(Remark(text))
    if lora.start is not None and lora.rank >= 1:
        findings += _start(lora, lora.start, layers)
    return findings


def _start(lora: LoraRecipe, start: str, layers: Mapping[str, nn.Linear]) -> list[Finding]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in layers.items():
        shapes[f"{name}.lora_A.weight"] = (lora.rank, layer.in_features)
        shapes[f"{name}.lora_B.weight"] = (layer.out_features, lora.rank)
    try:
        require_same_adapter(start, shapes, lora.scale)
    except WeightsError as error:
        return [mistake_of("lora.start", start, error, expected="a saved adapter")]
    return []


def _under(base: Base, under: str) -> list[Finding]:
    """An adapter that is put into the weights: of any rank, on any layers of this base."""
    try:
        layer_ranks(under, base.configs.family.denoiser, base.denoiser)
    except WeightsError as error:
        expected = "an adapter that was trained on this base, as save_lora writes it"
        return [mistake_of("lora.under", under, error, expected=expected)]
    return []
