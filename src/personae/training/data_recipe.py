"""What a recipe trains on: its section [data]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from personae.data.cast_examples import CastRecipe
from personae.errors import RequestError

__all__ = ["DataRecipe", "ToonsRecipe"]


@dataclass(frozen=True, kw_only=True)
class ToonsRecipe:
    """Scenes of the drawn world to train on; see `ToonExamples`.

    Attributes:
        count: how many scenes.
        start: seed of the first.
        weights: shares of scenes with one, two, three ... toons.
        look_alike_share: share of scenes whose toons differ in one or two attributes.
        portrait_share: share of examples that are one toon redrawn, 64 pixels square.
    """

    count: int = 40_000
    start: int = 0
    weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    look_alike_share: float = 0.2
    portrait_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """What is trained on: toons, a file of examples, or a cast; one of the three.

    Attributes:
        toons: scenes of the drawn world.
        file: examples.jsonl.
        cast: a cast to learn by heart, each subject by its token.
        sizes: (width, height) that pictures of a file are brought to; empty: the model's own.
        folder: where latents are kept between runs; None: in the run's folder.
        cache_text: embed every prompt once, beside the latents, instead of in each step.
        workers: processes that make examples while this one encodes; 0 is one for each core.
    """

    toons: ToonsRecipe | None = None
    file: Path | None = None
    cast: CastRecipe | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    folder: Path | None = None
    cache_text: bool = False
    workers: int = 2

    def __post_init__(self) -> None:
        given = [name for name in ("toons", "file", "cast") if getattr(self, name) is not None]
        if len(given) != 1:
            raise RequestError(
                "data: expected one of a section [data.toons], data.file and a section "
                f"[data.cast]; got {' and '.join(given) or 'none'}"
            )
