"""The command ``personae merge``: adapters that were trained apart in, one adapter out."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import torch
import typer

from personae.cli.commands import Json
from personae.cli.generate import parse_size
from personae.cli.output import number, print_json, progress_bar, say
from personae.compute.device import choose_device
from personae.diffusion.backbone import Backbone
from personae.diffusion.fusing import Concept, Fusion, Sampling, fuse_adapters
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import DIFFUSERS_FILE, merge_lora, save_lora
from personae.diffusion.merging import MERGES, merge_adapters
from personae.diffusion.tokens import load_tokens
from personae.errors import RequestError
from personae.evaluation.single import parse_named

__all__ = ["merge"]

FUSION = "gradient-fusion"


def merge(  # noqa: PLR0913, PLR0917 - a command's flags are its face
    adapters: Annotated[list[str], typer.Argument(help="NAME=ADAPTER, two or more.")],
    model: Annotated[str, typer.Option("--model", help="toons, a diffusers folder, or a hub id.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the one adapter.")],
    how: Annotated[
        str, typer.Option("--how", help=f"{FUSION} (needs --prompt), {', '.join(MERGES)}.")
    ] = FUSION,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="NAME=TEXT that its subject is drawn from; again for more."),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option("--weight", help="NAME=NUMBER. Default: one over the number of adapters."),
    ] = None,
    rank: Annotated[
        int | None, typer.Option("--rank", help="Of the one adapter, for fusion and svd.")
    ] = None,
    density: Annotated[
        float, typer.Option("--density", help="Share of values kept: ties, dare, prune.")
    ] = 0.5,
    ridge: Annotated[float, typer.Option("--ridge", help="Of fusion: more is less change.")] = 1e-3,
    samples: Annotated[int, typer.Option("--samples", help="Pictures a prompt.")] = 1,
    steps: Annotated[int | None, typer.Option("--steps", help="Default: the model's own.")] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="WIDTHxHEIGHT of what fusion draws.")
    ] = None,
    layers_at_once: Annotated[
        int | None, typer.Option("--layers-at-once", help="Less memory, more drawing.")
    ] = None,
    tokens: Annotated[
        list[Path] | None, typer.Option("--tokens", help="Learned tokens the prompts use; again.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole-model", help="Write a model with the adapter in its weights.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the noise, and of dare.")] = 0,
    revision: Annotated[str | None, typer.Option("--revision", help="Of a hub id.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda ...")] = "auto",
    json: Json = False,
) -> None:
    """Merge adapters that were trained apart into one, for pictures with all their subjects."""
    sources = _single(adapters, "NAME=ADAPTER")
    weights = {name: _number(text) for name, text in _single(weight or [], "--weight").items()}
    prompts = parse_named(prompt or [], "--prompt")
    _check(sources, how, prompts, weights)
    _require_place(out, whole=whole and bool(tokens))
    sampling = Sampling(samples=samples, steps=steps, size=parse_size(size))
    backbone = load_backbone(model, device=choose_device(device), revision=revision)
    fusion = None
    if how == FUSION:
        for folder in tokens or []:
            load_tokens(backbone, folder)
        concepts = {
            name: Concept(adapter=source, prompts=prompts[name]) for name, source in sources.items()
        }
        fusion = _fuse(backbone, concepts, sampling, rank, ridge, layers_at_once, seed)
    else:
        merge_adapters(backbone, sources, how, weights, rank=rank, density=density, seed=seed)
    facts = {"base": model, "merge": jsonlib.dumps({"how": how, "of": list(sources)})}
    saved = _save(backbone, out, facts, whole=whole)
    _tell(saved, how, list(sources), fusion, json)


def _check(
    sources: Mapping[str, str],
    how: str,
    prompts: Mapping[str, Sequence[str]],
    weights: Mapping[str, float],
) -> None:
    """What can be wrong is said before a model is loaded."""
    if how not in (FUSION, *MERGES):
        (near,) = get_close_matches(how, [FUSION, *MERGES], 1, 0.0)
        raise RequestError(
            f"--how {how!r}: did you mean {near!r}? expected one of {FUSION}, {', '.join(MERGES)}"
        )
    if len(sources) < 2:
        raise RequestError(
            f"merge of {list(sources)}: expected at least two NAME=ADAPTER; one alone is used as "
            "it is, with --adapter and --adapter-scale of `personae generate`"
        )
    for flag, named in (("--prompt", prompts), ("--weight", weights)):
        strange = [name for name in named if name not in sources]
        if strange:
            raise RequestError(f"{flag} {strange[0]}=...: expected one of {', '.join(sources)}")
        if named and (flag == "--prompt") != (how == FUSION):
            raise RequestError(f"{flag}: means nothing for --how {how}; leave it out")
    mute = [name for name in sources if how == FUSION and name not in prompts]
    if mute:
        raise RequestError(
            f"--how {FUSION}: no --prompt {mute[0]}=TEXT; give a few that {mute[0]} was trained "
            "with, or use --how cat, which looks at no pictures"
        )


def _require_place(out: Path, *, whole: bool) -> None:
    if whole:
        raise RequestError("--whole-model --tokens: a model's table has no rows for learned tokens")
    held = [name for name in (DIFFUSERS_FILE, "model_index.json") if (out / name).exists()]
    if held:
        raise RequestError(f"--out {out}: holds {held[0]} already; give another folder")


def _fuse(
    backbone: Backbone,
    concepts: Mapping[str, Concept],
    sampling: Sampling,
    rank: int | None,
    ridge: float,
    layers_at_once: int | None,
    seed: int,
) -> Fusion:
    with progress_bar("drawing") as tell:
        return fuse_adapters(
            backbone,
            concepts,
            sampling=sampling,
            rank=rank,
            ridge=ridge,
            layers_at_once=layers_at_once,
            generator=torch.Generator().manual_seed(seed),
            progress=tell,
        )


def _save(backbone: Backbone, out: Path, facts: Mapping[str, str], *, whole: bool) -> Path:
    if not whole:
        return save_lora(backbone, out, facts)
    merge_lora(backbone)
    backbone.save(out)
    return out


def _tell(saved: Path, how: str, names: Sequence[str], fusion: Fusion | None, json: bool) -> None:
    if json:
        facts = {} if fusion is None else {"fusion": fusion.as_json()}
        print_json({"out": str(saved), "how": how, "adapters": list(names), **facts})
        return
    if fusion is not None:
        say(
            f"off the adapters' own work by {number(fusion.mean('unlike'))} of it, their average "
            f"by {number(fusion.mean('average_unlike'))}; lost with the rank "
            f"({fusion.rank}): {number(fusion.mean('lost'))}"
        )
    say(f"{' and '.join(names)} by {how}: {saved}")


def _single(pairs: Sequence[str], flag: str) -> dict[str, str]:
    named = parse_named(pairs, flag)
    twice = [name for name, values in named.items() if len(values) > 1]
    if twice:
        raise RequestError(f"{flag}: {twice[0]!r} is given {len(named[twice[0]])} times")
    return {name: values[0] for name, values in named.items()}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"--weight {text!r}: expected NAME=NUMBER, such as ann=0.7") from None
