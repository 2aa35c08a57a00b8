"""What a card says of use: what the weights are for, how to load them, how to say who is meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from personae.diffusion.load import TOONS
from personae.diffusion.lora import COMFY_FILE
from personae.diffusion.tokens import TOKENS_FILE
from personae.training.recipe import Recipe

__all__ = [
    "ADAPTER",
    "TOGETHER",
    "TOKENS",
    "Trained",
    "base_name",
    "how_to_use",
    "what_it_is",
]

ADAPTER, TOGETHER, TOKENS = "adapter", "together", "tokens"
"""Folders that lie beside each other; each has a card of its own."""
# Eyes after whose name a path may stand.
_EYES = {"arcface", "owlv2", "grounding-dino", "florence-2", "dinov2", "dino", "clip"}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of a run, as far as a card says it.

    Attributes:
        step: of these weights.
        seconds: of training.
        examples: how many were trained on.
        subject_words: how a prompt names a subject, from ``{noun}`` and ``{index}``.
        has_comfy: is there a file for ComfyUI?
        row: the last row of the log.
        validation_step: of ``validation``; None where nobody looked.
        validation: what it said there, by name.
        in_context: was it shown references?
        names: how a prompt names the subjects of a cast that it learned.
        reads_tokens: does diffusers read learned tokens as we do?
        here: name of the folder that the card lies in, where it is one beside the adapter.
    """

    step: int
    seconds: float
    examples: int
    subject_words: str
    has_comfy: bool = False
    row: Mapping[str, Any] = field(default_factory=dict)
    validation_step: int | None = None
    validation: Mapping[str, float] = field(default_factory=dict)
    in_context: bool = True
    names: tuple[str, ...] = ()
    reads_tokens: bool = False
    here: str | None = None


def base_name(text: str) -> str:
    """A base, or any path in a recipe, without the folders of the machine it lies on.

    >>> base_name("owner/model"), base_name("/home/ann/model"), base_name("arcface:/x/r50.onnx")
    ('owner/model', 'model', 'arcface:r50.onnx')
    """
    name, colon, path = text.partition(":")
    if colon and name in _EYES:
        return f"{name}:{base_name(path)}"
    if PureWindowsPath(text).drive:
        return PureWindowsPath(text).name
    is_foreign = text.startswith(("/", "~", ".."))
    return PurePosixPath(text).name if is_foreign else text


def what_it_is(recipe: Recipe, trained: Trained) -> str:
    """The first sentences: what these weights draw, and from what."""
    if trained.in_context:
        text = "Pictures that hold several given subjects, from one reference each."
    elif trained.names:
        count = len(trained.names)
        what = f"{count} subjects that it knows" if count > 1 else "a subject that it knows"
        text = f"Pictures of {what} by name; no reference picture is needed."
    else:
        text = "Pictures of what a prompt says; no reference picture is needed."
    if recipe.tokens is not None and recipe.tokens.alone:
        text += " These are the embeddings of new words; the model is as it was."
    return text + _how_it_lies(recipe, trained)


def _how_it_lies(recipe: Recipe, trained: Trained) -> str:
    """What belongs together, where there is more than one folder."""
    if trained.here == TOKENS:
        return (
            " These are the embeddings of new words, learned together with the adapter in the "
            f"folder `{ADAPTER}`, beside this one; neither is to be used without the other."
        )
    if trained.here == TOGETHER:
        return (
            f" This is the adapter in the folder `{ADAPTER}`, beside this one, and the one that it "
            "lies on top of, as one: what to load in their place."
        )
    if recipe.lora is not None and recipe.lora.under is not None:
        return (
            " This adapter lies on top of another and is not to be used without it: the folder "
            f"`{TOGETHER}`, beside this one, holds both as one and is what to load."
        )
    return ""


def how_to_use(recipe: Recipe, trained: Trained) -> Iterator[str]:
    """Loading, the words of a prompt, and where else it can be used."""
    yield "```python\n" + "\n".join(_loading(recipe, trained)) + "\n```\n"
    yield _prompts(trained)
    yield f"With Personae: `{_command(recipe, trained)}`.{_photos(trained)}\n"
    is_alone = recipe.lora is not None and recipe.lora.under is None and recipe.tokens is None
    if trained.has_comfy and is_alone:
        yield (
            f"In ComfyUI: copy `{COMFY_FILE}` into `models/loras` under a name of your own and put "
            "a node *LoraLoaderModelOnly* behind the model, strength 1.\n"
        )


@dataclass(frozen=True)
class _Folders:
    """What to load, said as seen from the folder that the card lies in."""

    adapter: str
    tokens: str
    here: str = "THIS FOLDER"


def _folders(recipe: Recipe, trained: Trained) -> _Folders:
    lora = recipe.lora
    adapter = TOGETHER if lora is not None and lora.under is not None else ADAPTER
    here = trained.here or (TOKENS if lora is None else ADAPTER)

    def said(name: str) -> str:
        return _Folders.here if name == here else f"THE FOLDER {name} BESIDE THIS ONE"

    return _Folders(said(adapter), said(TOKENS))


def _loading(recipe: Recipe, trained: Trained) -> list[str]:
    """Python that makes a pipeline with these weights."""
    folders = _folders(recipe, trained)
    if recipe.tokens is not None and not trained.reads_tokens:
        return _loading_by_personae(recipe, folders)
    base, number = base_name(recipe.base), "dtype=torch.bfloat16"
    lines = ["import torch", "from diffusers import DiffusionPipeline"]
    if recipe.tokens is not None:
        lines += ["from safetensors.torch import load_file"]
    if recipe.lora is None and recipe.tokens is None:
        loading = f'pipeline = DiffusionPipeline.from_pretrained("{folders.here}", {number})'
        return [*lines, "", loading]
    if base == TOONS:
        lines = ["from personae.diffusion.load import load_backbone", ""]
        lines += [f'pipeline = load_backbone("{base}").pipeline']
    else:
        lines += ["", f'pipeline = DiffusionPipeline.from_pretrained("{base}", {number})']
    if recipe.lora is not None:
        lines += [f'pipeline.load_lora_weights("{folders.adapter}")']
    if recipe.tokens is not None:
        lines += [f'learned = load_file("{folders.tokens}/{TOKENS_FILE}")']
        lines += ["for token, row in learned.items():"]
        lines += ["    pipeline.load_textual_inversion({token: row})"]
    return lines


def _loading_by_personae(recipe: Recipe, folders: _Folders) -> list[str]:
    lines = ["from personae.diffusion.load import load_backbone"]
    loading = ["", f'backbone = load_backbone("{base_name(recipe.base)}")']
    if recipe.lora is not None:
        lines += ["from personae.diffusion.lora import load_lora"]
        loading += [f'load_lora(backbone, "{folders.adapter}")']
    lines += ["from personae.diffusion.tokens import load_tokens"]
    loading += [f'load_tokens(backbone, "{folders.tokens}")']
    return [*lines, *loading, "pipeline = backbone.pipeline"]


def _prompts(trained: Trained) -> str:
    """How a prompt says who is meant, with an example."""
    names = [" ".join(name.split()) for name in trained.names]
    if trained.in_context:
        nouns = (names or ["girl"]) * 2 if len(names) < 2 else names
        words = [
            trained.subject_words.format(noun=noun, index=number)
            for number, noun in enumerate(nouns[:2], start=1)
        ]
        return (
            "One reference picture a subject, in the order of their numbers in the prompt, such as "
            f'"{words[0]} left of {words[1]}".\n'
        )
    if not names:
        return "A prompt is all that it is given.\n"
    example = f"{names[0]} left of {names[1]}" if len(names) > 1 else f"{names[0]} in a park"
    said = "\n".join(f'- "{name}"' for name in names)
    return f'A prompt names each subject by these words, such as "{example}":\n\n{said}\n'


def _command(recipe: Recipe, trained: Trained) -> str:
    folders, is_whole = _folders(recipe, trained), recipe.lora is None and recipe.tokens is None
    words = ["personae generate SCENES.jsonl --model"]
    words += [f'"{folders.here}"' if is_whole else base_name(recipe.base)]
    if recipe.lora is not None:
        words += [f'--adapter "{folders.adapter}"']
    if recipe.tokens is not None:
        words += [f'--tokens "{folders.tokens}"']
    if not trained.in_context:
        words += ["--no-context"]
    if not trained.in_context and trained.names:
        words += ["--init mean-shift --gamma 1 --layout planned"]
    return " ".join([*words, "--out drawn"])


def _photos(trained: Trained) -> str:
    """What scenes are to say of subjects that are known by name."""
    if trained.in_context or not trained.names:
        return ""
    return (
        " Scenes give each subject its token and noun, and a photo: not for the model to look at, "
        "but for the noise, which begins as their cut-outs (MuDI)."
    )
