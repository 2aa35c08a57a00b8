"""What a recipe trains, counted on modules without weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from personae.data.cast_examples import read_whole_cast
from personae.training.base_check import Base, adapted_layers
from personae.training.optimizers import is_hidden_matrix
from personae.training.recipe import Recipe

__all__ = ["TrainedNumbers", "optimizer_bytes", "trained_numbers", "trained_words"]


@dataclass(frozen=True, kw_only=True)
class TrainedNumbers:
    """How many numbers a run trains, as `make_trainable` makes them; all are float32.

    Attributes:
        weights: of the model itself.
        adapter: of low-rank additions.
        tokens: of the embeddings of learned tokens.
        layers: that have an adapter.
        tensors: that an optimizer steps.
        words: how many tokens are learned.
        hidden: numbers in matrices that Muon may step.
    """

    weights: int = 0
    adapter: int = 0
    tokens: int = 0
    layers: int = 0
    tensors: int = 0
    words: int = 0
    hidden: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.adapter + self.tokens


def trained_numbers(recipe: Recipe, base: Base) -> TrainedNumbers:
    """How many numbers are trained, and of what.

    Raises:
        RequestError: an adapter's targets match no layer.
        DataError: tokens are to be learned of a cast that cannot be read.
    """
    if recipe.lora is None and recipe.tokens is None:
        return _all_weights(recipe, base)
    words = _learned_words(recipe)
    widths = [_text_width(encoder) for encoder in base.text_encoders] if words else []
    tokens = words * sum(widths)
    layers = {} if recipe.lora is None else adapted_layers(base, recipe.lora.targets)
    rank = 0 if recipe.lora is None else recipe.lora.rank
    sizes = {name: rank * (x.in_features + x.out_features) for name, x in layers.items()}
    inner = sum(size for name, size in sizes.items() if is_hidden_matrix(name, layers[name].weight))
    return TrainedNumbers(
        adapter=sum(sizes.values()),
        tokens=tokens,
        layers=len(layers),
        tensors=2 * len(layers) + len(widths),
        words=words,
        hidden=inner,
    )


def trained_words(recipe: Recipe, numbers: TrainedNumbers) -> str:
    """What is trained, in words.

    >>> from personae.training.recipe import DataRecipe, LoraRecipe, ToonsRecipe
    >>> recipe = Recipe(base="toons", data=DataRecipe(toons=ToonsRecipe()), lora=LoraRecipe())
    >>> trained_words(recipe, TrainedNumbers(words=1))
    'an adapter of rank 64 and 1 learned token'
    """
    parts = []
    if recipe.lora is not None:
        parts.append(f"an adapter of rank {recipe.lora.rank}")
    if numbers.words:
        parts.append(f"{numbers.words} learned token{'s' * (numbers.words > 1)}")
    if not parts:
        parts = ["all weights of the denoiser"]
        parts += ["the text encoder"] if recipe.training.train_text_encoder else []
    return " and ".join(parts)


def optimizer_bytes(recipe: Recipe, trained: TrainedNumbers) -> int:
    """Two moments of AdamW, in 32 or 8 bits; one of Muon, for the matrices that it steps."""
    if recipe.optimizer.name == "adamw8bit":
        return 2 * trained.total
    one = trained.hidden if recipe.optimizer.name == "muon" else 0
    return 8 * trained.total - 4 * one


def _all_weights(recipe: Recipe, base: Base) -> TrainedNumbers:
    named = list(_parameters(recipe, base))
    return TrainedNumbers(
        weights=sum(value.numel() for _, value in named),
        tensors=len(named),
        hidden=sum(value.numel() for name, value in named if is_hidden_matrix(name, value)),
    )


def _parameters(recipe: Recipe, base: Base) -> Iterator[tuple[str, Tensor]]:
    yield from base.denoiser.named_parameters()
    for encoder in base.text_encoders if recipe.training.train_text_encoder else ():
        yield from encoder.named_parameters()


def _learned_words(recipe: Recipe) -> int:
    """The tokens that `finetune` makes words of."""
    if recipe.tokens is None or recipe.data.cast is None:
        return 0
    subjects = read_whole_cast(recipe.data.cast.file)
    return len({subject.token for subject in subjects if subject.token is not None})


def _text_width(encoder: nn.Module) -> int:
    """Numbers of a token's embedding."""
    table: nn.Module = encoder.get_input_embeddings()  # type: ignore[operator]
    return int(next(table.parameters()).shape[-1])
