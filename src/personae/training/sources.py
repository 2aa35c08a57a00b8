"""What a recipe trains on, and what its sample sheets show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from personae.data.cast_check import cast_oddities
from personae.data.cast_examples import CastExamples, read_whole_cast
from personae.data.examples import (
    Example,
    ExampleFile,
    ExampleSource,
    ToonExamples,
)
from personae.diffusion.backbone import Backbone
from personae.diffusion.tokens import token_pieces
from personae.errors import RequestError
from personae.training.recipe import Recipe

__all__ = [
    "WithoutReferences",
    "cast_notes",
    "example_source",
    "prior_source",
    "sample_examples",
    "taught_names",
    "validation_examples",
]

_AFTER_SAMPLES = 500


@dataclass(frozen=True)
class WithoutReferences:
    """The examples of a source for a model that takes no references in context."""

    source: ExampleSource

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        return self.bare(self.source[index])

    @staticmethod
    def bare(example: Example) -> Example:
        """The example without references, and without what is said of them."""
        return Example(example.id, example.prompt, example.image, (), mask=example.mask)

    @property
    def problems(self) -> tuple[str, ...]:
        """Of the source."""
        return tuple(getattr(self.source, "problems", ()))

    def settings(self) -> Mapping[str, Any]:
        """See `ExampleSource`; stores that lost their masks are made anew."""
        masks = {"masks": "kept"} if getattr(self.source, "has_masks", False) else {}
        return {**self.source.settings(), "references": "none", **masks}


def example_source(recipe: Recipe, backbone: Backbone) -> ExampleSource:
    """The examples that a recipe trains on."""
    source = _source(recipe, backbone)
    return source if backbone.limits.reference_px else WithoutReferences(source)


def _source(recipe: Recipe, backbone: Backbone) -> ExampleSource:
    limits, data = backbone.limits, recipe.data
    if data.cast is not None:
        return CastExamples(data.cast, data.sizes or limits.sizes, recipe.seed, limits=limits)
    if data.file is not None:
        sizes = data.sizes or limits.sizes
        return ExampleFile(data.file, sizes, limits.reference_px)
    toons = data.toons
    assert toons is not None
    if len(toons.weights) > limits.max_subjects:
        raise RequestError(
            f"data.toons.weights: scenes with up to {len(toons.weights)} toons, but "
            f"{backbone.name} takes {limits.max_subjects} references at most"
        )
    return ToonExamples(
        count=toons.count,
        start=toons.start,
        weights=toons.weights,
        look_alike_share=toons.look_alike_share,
        portrait_share=toons.portrait_share,
        subject_words=limits.subject_words,
    )


def prior_source(recipe: Recipe, backbone: Backbone) -> ExampleSource | None:
    """The priors that a recipe holds on to; None where it names none, or gives them no weight."""
    data, limits = recipe.data, backbone.limits
    if data.cast is None or not recipe.has_prior:
        return None
    sizes = data.sizes or limits.sizes
    return CastExamples(data.cast, sizes, recipe.seed, limits=limits, prior=True)


def taught_names(source: ExampleSource) -> tuple[str, ...]:
    """How the examples of a source name the subjects of a cast; none where it is no cast."""
    if isinstance(source, WithoutReferences):
        return taught_names(source.source)
    return tuple(source.names.values()) if isinstance(source, CastExamples) else ()


def cast_notes(recipe: Recipe, backbone: Backbone) -> list[str]:
    """What is odd about the cast of a recipe, and about its tokens to this model's tokenizer."""
    if recipe.data.cast is None:
        return []
    # A token that is made a word of its own is one piece, whatever it was.
    split = None if recipe.tokens is not None else partial(token_pieces, backbone)
    return list(cast_oddities(read_whole_cast(recipe.data.cast.file), split))


def sample_examples(recipe: Recipe, source: ExampleSource) -> list[Example]:
    """What sample sheets show: toons of the validation split, or a file's first examples."""
    count = recipe.samples.count
    if isinstance(source, WithoutReferences):
        return [source.bare(one) for one in sample_examples(recipe, source.source)]
    if isinstance(source, ToonExamples):
        source = replace(source, count=count, start=0, split="validation")
    return [source[number] for number in range(min(count, len(source)))]


def validation_examples(recipe: Recipe, backbone: Backbone) -> list[Example]:
    """What validation draws: toons of the validation split, or ``validation.file``.

    Their seeds follow those of the sample sheets, and look-alikes are left to the benchmarks.

    Raises:
        RequestError: the data are a file, and no file for validation is named.
    """
    wanted, source = recipe.validation, _source(recipe, backbone)
    if isinstance(source, ToonExamples):
        kept = replace(source, count=wanted.count, start=_AFTER_SAMPLES, split="validation")
        return [kept[number] for number in range(wanted.count)]
    if wanted.file is None:
        raise RequestError(
            "validation.file: expected examples of identities that are not trained on; name a "
            "file, or set validation.every to 0"
        )
    limits = backbone.limits
    held = ExampleFile(wanted.file, recipe.data.sizes or limits.sizes, limits.reference_px)
    return [held[number] for number in range(min(wanted.count, len(held)))]
