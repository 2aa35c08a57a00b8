"""Are the eyes and models of a recipe's rewards and validation there? None of them is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from personae.diffusion.folder import read_safetensors_header
from personae.errors import RequestError, WeightsError
from personae.training.base_check import hub_folder
from personae.training.choose import reward_groups
from personae.training.grpo_recipe import window_of
from personae.training.recipe import Recipe
from personae.training.recipe_check import Finding, Mistake, Remark, Unchecked, mistake_of
from personae.training.rewards.matching import MATCHING
from personae.training.rewards.recipe import DIFFERENTIABLE, RewardsRecipe
from personae.vision.detectors import WORD_DETECTORS
from personae.vision.embedders.lite_network import LITE0_WEIGHTS
from personae.vision.embedders.transformers_models import CLIP_B16, DINO_S16, DINOV2_BASE
from personae.vision.faces.detect import CNN_WEIGHTS, LANDMARK_WEIGHTS
from personae.vision.faces.embed import DLIB_WEIGHTS
from personae.vision.toons.shipped import shipped_path
from personae.vision.weights import PackagedWeights

__all__ = ["check_method", "check_rewards"]

_TOONS = ("toon-centers", "toon-identity")
_EXAMINER = ("examiner-regions", "examiner-patches", "examiner-figures")
_IRESNET = ("conv1.weight", "layer1.0.bn3.weight", "fc.weight", "features.weight")
# Published models by the names that recipes give them; the package that one of them needs.
_EMBEDDERS = {
    "dinov2": str(DINOV2_BASE.source),
    "dino": str(DINO_S16.source),
    "clip": str(CLIP_B16.source),
}
_MODELS = {
    "alignment": "openai/clip-vit-large-patch14",
    "pickscore": "yuvalkirstain/PickScore_v1",
}
_PACKAGES = {"imagereward": ("ImageReward", "image-reward"), "hpsv3": ("hpsv3", "hpsv3")}


def check_method(recipe: Recipe) -> Iterator[Finding]:
    """Do method, rollout, rewards and validation fit each other?"""
    rerefl, steps = recipe.rerefl, recipe.rollout.steps
    if rerefl is not None:
        if rerefl.window[1] > steps:
            todo = "lower the window's end, or raise rollout.steps"
            came = f"{list(rerefl.window)} in rollouts of {steps} steps"
            yield Mistake("rerefl.window", f"an end of at most {steps}", came, todo)
        if rerefl.gradient_steps > steps:
            came = f"{rerefl.gradient_steps} in rollouts of {steps} steps"
            yield Mistake("rerefl.gradient_steps", f"at most {steps}", came, "lower it")
        if rerefl.penalty and recipe.lora is None:
            came, todo = "no adapter", "add a section [lora], or set it to 0"
            yield Mistake("rerefl.penalty", "an adapter, below which the model is", came, todo)
    if recipe.grpo is not None:
        try:
            window_of(recipe.grpo, steps, 0)
        except RequestError as error:
            yield mistake_of("grpo.window", str(recipe.grpo.window), error, "lower it")
    yield from _silent(recipe)


def _silent(recipe: Recipe) -> Iterator[Finding]:
    """Settings that do nothing because of others."""
    wanted, steps = recipe.validation, recipe.training.steps
    if wanted.patience and not (wanted.every and wanted.best_by):
        yield Remark("validation.patience does nothing without validation.every and best_by")
    if wanted.every > steps:
        yield Remark(f"validation.every {wanted.every} is more than all {steps} steps: no look")
    if recipe.samples.every > steps:
        yield Remark(f"samples.every {recipe.samples.every} is more than all {steps} steps")
    if wanted.examine_every and (wanted.examiner is None or recipe.rewards is None):
        yield Remark("validation.examine_every does nothing without an examiner and rewards")
    objective, cast = recipe.objective, recipe.data.cast
    if objective.soft_alpha < 1 and (cast is None or not cast.probability or cast.mix == "none"):
        yield Remark("objective.soft_alpha does nothing without a cast that is mixed: no masks")
    if objective.prior_weight not in (0, 1) and (cast is None or cast.prior is None):
        yield Remark("objective.prior_weight does nothing without data.cast.prior")


def check_rewards(recipe: Recipe) -> Iterator[Finding]:
    """Is everything there that looks at pictures?"""
    wanted, rewards = recipe.validation, recipe.rewards
    if rewards is not None:
        yield from _gradients(recipe, rewards)
        yield from _weights(recipe, rewards)
    if wanted.examiner is not None and (wanted.every or wanted.examine_every):
        yield from _faces("validation.examiner", wanted.examiner)
    if wanted.every and wanted.best_by == "features":
        yield from _packaged("validation.best_by", [LITE0_WEIGHTS])
        if rewards is None and recipe.data.toons is None:
            yield from _faces("validation.best_by", "dlib")


def _gradients(recipe: Recipe, rewards: RewardsRecipe) -> Iterator[Finding]:
    if not rewards.weights:
        yield Mistake("rewards.weights", "at least one reward", "none", "name one")
    if recipe.rerefl is None:
        return
    for name in rewards.weights:
        if name not in DIFFERENTIABLE:
            expected = f"rewards with a gradient for [rerefl]: {', '.join(DIFFERENTIABLE)}"
            yield Mistake(f"rewards.weights.{name}", expected, name, "leave it out, or take [grpo]")
    if rewards.faces.endswith(".onnx") and {*MATCHING} & {*rewards.weights}:
        expected = "ArcFace as safetensors for [rerefl], for ONNX has no gradient"
        yield Mistake("rewards.faces", expected, rewards.faces, "convert it, or take [grpo]")


def _weights(recipe: Recipe, rewards: RewardsRecipe) -> Iterator[Finding]:
    if {*MATCHING, "position"} & {*rewards.weights}:
        yield from _faces("rewards.faces", rewards.faces)
        if "thing" in reward_groups(recipe):
            yield from _detector(rewards.detector)
            yield from _embedder(rewards.embedder)
    for name in rewards.weights:
        if name in {*_MODELS, *_PACKAGES}:
            yield from _model(name, rewards.models.get(name))
    for name in set(rewards.models) - set(rewards.weights):
        yield Remark(f"rewards.models.{name} is not used: it has no weight")


def _faces(where: str, faces: str) -> Iterator[Finding]:
    name, _, path = faces.partition(":")
    if name == "arcface" and path:
        yield from _arcface(where, Path(path))
    elif faces in {"toons", "examiner"}:
        names = _TOONS if faces == "toons" else _EXAMINER
        yield from _found(where, faces, [partial(shipped_path, each) for each in names])
    elif faces == "dlib":
        yield from _packaged(where, [LANDMARK_WEIGHTS, CNN_WEIGHTS, DLIB_WEIGHTS])
    else:
        known = "dlib, toons, arcface:FILE.safetensors or arcface:FILE.onnx"
        yield Mistake(where, known, faces, "name one of these")


def _arcface(where: str, path: Path) -> Iterator[Finding]:
    """The file's header is read; an ONNX file is only looked for."""
    todo = "get weights that you may use, and give their path"
    if not path.is_file():
        yield Mistake(where, "a file with ArcFace weights", f"{path}: no such file", todo)
    elif path.suffix == ".onnx":
        if find_spec("onnxruntime") is None:
            install = "run `pip install personae[arcface]`"
            yield Mistake(where, "onnxruntime", "not installed", install)
        yield Unchecked(f"{where} {path}", "an ONNX file is looked into when it is loaded")
    else:
        try:
            held = read_safetensors_header(path)
        except WeightsError as error:
            yield mistake_of(where, str(path), error, todo)
            return
        lacking = [name for name in _IRESNET if name not in held]
        if lacking:
            came = f"{path} without {', '.join(lacking)}"
            yield Mistake(where, "an IResNet checkpoint", came, todo)


def _detector(text: str) -> Iterator[Finding]:
    name, _, path = text.partition(":")
    if text == "guided":
        yield from _packaged("rewards.detector", [LITE0_WEIGHTS])
    elif name in WORD_DETECTORS:
        yield from _pretrained("rewards.detector", path or WORD_DETECTORS[name])
    else:
        known = "guided, owlv2[:PATH], grounding-dino[:PATH] or florence-2[:PATH]"
        yield Mistake("rewards.detector", known, text, "name one of these")


def _embedder(text: str) -> Iterator[Finding]:
    name, _, path = text.partition(":")
    if text == "efficientnet-lite0":
        yield from _packaged("rewards.embedder", [LITE0_WEIGHTS])
    elif text == "dreamsim":
        if find_spec("dreamsim") is None:
            install = "run `pip install personae[dreamsim]`"
            yield Mistake("rewards.embedder", "the package dreamsim", "not installed", install)
        else:
            yield Unchecked("rewards.embedder dreamsim", "its package fetches its weights itself")
    elif name in _EMBEDDERS:
        yield from _pretrained("rewards.embedder", path or _EMBEDDERS[name])
    else:
        known = "efficientnet-lite0, dreamsim, or clip, dino, dinov2 with an optional :PATH"
        yield Mistake("rewards.embedder", known, text, "name one of these")


def _model(name: str, source: str | None) -> Iterator[Finding]:
    where = f"rewards.models.{name}"
    module, package = _PACKAGES.get(name, (None, ""))
    if module is not None and find_spec(module) is None:
        yield Mistake(where, f"the package {package}", "not installed", f"`pip install {package}`")
    if source is not None or name in _MODELS:
        yield from _pretrained(where, source or _MODELS[name])
    else:
        yield Unchecked(where, "its package fetches its weights itself")


def _pretrained(where: str, source: str) -> Iterator[Finding]:
    """A folder or file that is there, or a hub id."""
    path = Path(source).expanduser()
    if path.exists():
        if path.is_dir() and not any(path.iterdir()):
            yield Mistake(where, "a model", f"the empty folder {path}", "give another folder")
        return
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        yield Mistake(where, "a folder or a hub id", f"{source}: not there", "check the path")
    elif hub_folder(source, None, "config.json") is None:
        why = "not on this machine; the first run fetches it from the hub"
        yield Unchecked(f"{where} {source}", why)


def _packaged(where: str, weights: Sequence[PackagedWeights]) -> Iterator[Finding]:
    yield from _found(where, "", [item.path for item in weights])


def _found(where: str, came: str, finders: Sequence[Callable[[], Path]]) -> Iterator[Finding]:
    """Files that packages carry: there, and those that were tested."""
    for find in finders:
        try:
            find()
        except WeightsError as error:
            reason, _, todo = str(error).partition("; ")
            yield Mistake(where, f"the weights of {came or 'these eyes'}", reason, todo)
            return
