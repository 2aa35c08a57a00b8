"""The README.md beside every saved adapter or model: what, how to load it, what it is not for.

A Hugging Face model card. It names no folder of the machine that trained it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personae.compute.runs import write_atomic
from personae.config import as_data, as_toml
from personae.diffusion.load import TOONS
from personae.diffusion.lora import COMFY_FILE
from personae.toons import checkpoint_folder
from personae.training.card_use import (
    ADAPTER,
    TOGETHER,
    TOKENS,
    Trained,
    base_name,
    how_to_use,
    what_it_is,
)
from personae.training.history import read_history, validation_of
from personae.training.recipe import Recipe
from personae.training.rewards.recipe import REWARDS
from personae.training.sources import taught_names

if TYPE_CHECKING:
    from personae.training.session import Session

__all__ = ["card", "card_beside", "method_of", "write_card"]

_LICENSES = {
    "black-forest-labs/FLUX.2-klein-4B": "apache-2.0",
    "black-forest-labs/FLUX.2-klein-base-4B": "apache-2.0",
}
_HEAD = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_EYES = ("faces", "detector", "embedder")


def write_card(session: Session, folder: Path, look: Mapping[str, Any] | None = None) -> Path:
    """Write the card of weights that were just saved, and those of the folders beside them.

    Args:
        session: the run.
        folder: where the weights are.
        look: the row of the validation that found them the best; else what the log says of this
            step, or of the best one.
    """
    trained = _trained(session, folder, look)
    write_atomic(folder / "README.md", card(session.recipe, trained))
    for name in _beside(session.recipe):
        text = card_beside(session.recipe, replace(trained, here=name, has_comfy=False))
        write_atomic(folder.parent / name / "README.md", text)
    return folder / "README.md"


def _beside(recipe: Recipe) -> list[str]:
    """Folders that are saved beside an adapter."""
    if recipe.lora is None:
        return []
    tokens = [TOKENS] if recipe.tokens is not None else []
    return [*tokens, TOGETHER] if recipe.lora.under is not None else tokens


def _trained(session: Session, folder: Path, look: Mapping[str, Any] | None) -> Trained:
    log = read_history(session.out / "log.jsonl")
    is_seen = look is not None or bool(log.validation_at(session.step))
    step = session.step if is_seen else session.best.step
    return Trained(
        step=session.step,
        seconds=session.seconds,
        examples=len(session.store),
        subject_words=session.backbone.limits.subject_words,
        has_comfy=(folder / COMFY_FILE).is_file(),
        in_context=any(bucket.references for bucket in session.store.buckets.values()),
        names=taught_names(session.source),
        reads_tokens=_reads_tokens(session.backbone.pipeline),
        row=log.training[-1] if log.training else {},
        validation_step=step,
        validation=log.validation_at(step) if look is None else validation_of(look),
    )


def _reads_tokens(pipeline: Any) -> bool:
    """Can diffusers load learned tokens into it, and read them as we do?

    Not into two text encoders at once; and an old CLIP, whose pooled embedding SDXL and FLUX.1
    look at, takes a new word there for the end of the text.
    """
    one = getattr(pipeline, "tokenizer_2", None) is None
    return one and hasattr(pipeline, "load_textual_inversion")


def card(recipe: Recipe, trained: Trained) -> str:
    """The card's text."""
    parts = [
        _head(recipe, trained),
        f"# {_title(recipe, trained)}\n",
        f"{what_it_is(recipe, trained)} {_how_trained(recipe, trained)}\n",
        "## Use\n",
        *how_to_use(recipe, trained),
        _limits(recipe, trained),
        *_rewards(recipe),
        *_reached(trained),
        "## Recipe, in full\n",
        f"```toml\n{as_toml(_without_folders(as_data(recipe))).strip()}\n```\n",
    ]
    return "\n".join(parts)


def card_beside(recipe: Recipe, trained: Trained) -> str:
    """The short card of a folder beside an adapter: what it is, how it is loaded."""
    parts = [
        _head(recipe, trained),
        f"# {_title(recipe, trained)}\n",
        f"{what_it_is(recipe, trained)}\n",
        "## Use\n",
        *how_to_use(recipe, trained),
        _limits(recipe, trained),
        f"How it was trained, and what it reached, stands in the card of `{ADAPTER}`.\n",
    ]
    return "\n".join(parts)


def method_of(recipe: Recipe) -> str:
    """What the steps do, in words."""
    if recipe.rerefl is not None:
        return "ReReFL (UMO, arXiv 2509.06818)"
    if getattr(recipe, "grpo", None) is not None:
        return "GRPO (Flow-GRPO, arXiv 2505.05470)"
    return "flow matching"


def _without_folders(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _without_folders(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_without_folders(value) for value in data]
    return base_name(data) if isinstance(data, str) else data


def _head(recipe: Recipe, trained: Trained) -> str:
    """The metadata, as YAML; JSON texts are YAML texts."""
    tags = ["personae", "flow-matching", "multi-subject", "subject-driven"]
    tags += ["lora"] if recipe.lora is not None and trained.here != TOKENS else []
    tags += ["textual_inversion"] if recipe.tokens is not None else []
    tags += ["reinforcement-learning"] if recipe.rewards is not None else []
    is_whole = recipe.lora is None and recipe.tokens is None
    relation = "finetune" if is_whole else "adapter"
    facts = {
        "base_model": base_name(recipe.base),
        "base_model_relation": relation,
        "library_name": "diffusers",
        "license": _license(recipe.base),
        "pipeline_tag": "image-to-image" if trained.in_context else "text-to-image",
    }
    lines = [f"{name}: {json.dumps(value)}" for name, value in facts.items()]
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def _license(base: str) -> str:
    """Of the base: known by name, or said by the card in its folder; else ``other``."""
    if base in _LICENSES:
        return _LICENSES[base]
    folder = checkpoint_folder() if base == TOONS else Path(base)
    try:
        head = _HEAD.match((folder / "README.md").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return "other"
    told = re.search(r"^license:\s*[\"']?([\w.-]+)", head[1], re.M) if head else None
    return told[1] if told else "other"


def _title(recipe: Recipe, trained: Trained) -> str:
    base = base_name(recipe.base)
    if trained.here == TOGETHER:
        return f"Two adapters as one for {base}, by {method_of(recipe)}"
    if trained.here == TOKENS or (recipe.tokens is not None and recipe.tokens.alone):
        return f"Learned tokens for {base}, by {method_of(recipe)}"
    if recipe.lora is None:
        return f"{base}, trained further by {method_of(recipe)}"
    also = " and learned tokens" if recipe.tokens is not None else ""
    place = ", on top of another" if recipe.lora.under is not None else ""
    return f"LoRA of rank {recipe.lora.rank}{also} for {base}{place}, by {method_of(recipe)}"


def _how_trained(recipe: Recipe, trained: Trained) -> str:
    if recipe.data.toons is not None:
        source = "drawn scenes of toons (`personae.toons`, training identities)"
    elif recipe.data.cast is not None:
        mix = recipe.data.cast.mix
        mixed = "" if mix == "none" else f", mixed by {mix}"
        source = f"examples made of the photographs of a cast{mixed}"
    else:
        source = f"examples of `{base_name(str(recipe.data.file))}`"
    batch = recipe.training.batch_size * recipe.training.accumulate
    mean = recipe.training.ema_decay
    kept = f" These are the running mean of the weights (decay {mean:g})." if mean else ""
    return (
        f"Trained with Personae on {trained.examples:,} {source}, {batch} a step, for "
        f"{trained.step:,} of {recipe.training.steps:,} steps in {trained.seconds:,.0f} "
        f"seconds.{kept}"
    )


def _limits(recipe: Recipe, trained: Trained) -> str:
    given = "nobody's face may be given as a reference" if trained.in_context else "draw nobody"
    text = (
        "## What it must not be used for\n\n"
        f"Pictures of real people without their consent: {given} who has not agreed to it. Nor to "
        "deceive about who did or said what, nor to recognize people. A picture that it draws is "
        "no evidence of anything.\n"
    )
    if recipe.rewards is not None and recipe.rewards.faces.startswith("arcface"):
        text += (
            "\nIts reward looked with ArcFace weights, which are, as a rule, for non-commercial "
            "research: look at their license before any other use.\n"
        )
    return text


def _rewards(recipe: Recipe) -> Iterator[str]:
    yield f"## Method\n\n{method_of(recipe)}; all settings stand below.\n"
    if recipe.rewards is None:
        return
    rows = [
        f"| {name} | {weight:g} | {REWARDS[name]} |"
        for name, weight in recipe.rewards.weights.items()
    ]
    eyes = [f"{name}: `{base_name(getattr(recipe.rewards, name))}`" for name in _EYES]
    yield "\n".join(["| reward | weight | what it says |", "| --- | --- | --- |", *rows, ""])
    yield f"Eyes of the rewards: {', '.join(eyes)}.\n"


def _reached(trained: Trained) -> Iterator[str]:
    """The last row of the log, and validation at the best step."""
    yield "## What it reached\n"
    last = {k: v for k, v in trained.row.items() if isinstance(v, int | float) and k != "step"}
    if last:
        yield f"At step {trained.row['step']:,}, on what it is trained on:\n\n{_table(last)}"
    if trained.validation:
        yield (
            f"At step {trained.validation_step:,}, on identities that it was not trained on (the "
            "examiner's numbers chose nothing and trained nothing):\n\n"
            + _table(trained.validation)
        )
    elif not last:
        yield "Nothing was measured.\n"


def _table(numbers: Mapping[str, float]) -> str:
    rows = [f"| {name} | {value:.6g} |" for name, value in numbers.items()]
    return "\n".join(["| what | value |", "| --- | --- |", *rows, ""])
