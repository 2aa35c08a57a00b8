"""Pictures of identities that training never sees, scored on the way: curves, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from personae.data.examples import Example
from personae.data.latents import bucket_name
from personae.diffusion.backbone import Backbone
from personae.errors import RequestError
from personae.metrics.eyes import PeopleEyes
from personae.metrics.identity import strict_id_confusion, strict_id_similarity
from personae.metrics.presence import presence
from personae.training.asking import asked_of
from personae.training.features import Measure
from personae.training.rewards.asked import Asked, Reward
from personae.training.rewards.sight import Sight
from personae.training.rolling import masked, rollout_noise
from personae.training.rollout import Guides, roll_out

if TYPE_CHECKING:
    from personae.training.session import Session

__all__ = ["Examination", "Validation", "ValidationRecipe"]

_NOISE = 2  # a stream of random numbers of its own
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class ValidationRecipe:
    """What is looked at on the way.

    Attributes:
        every: steps between looks; 0 is none.
        file: examples of identities that are not trained on; toons have a split for it.
        count: examples.
        seeds: pictures of each.
        steps: sampling steps; None: the model's own.
        best_by: what says which checkpoint is the best one, kept in the folder ``best``:
            ``features`` is neither reward nor examiner; None keeps none.
        patience: stop after so many looks without a better one; 0 never stops.
        examiner: eyes that only tell the log how it goes: ``examiner`` for toons; None is nobody.
        examine_every: steps between the examiner's looks at what training itself draws; 0 is none.
    """

    every: int = 0
    file: Path | None = None
    count: int = 24
    seeds: int = 1
    steps: int | None = None
    best_by: Literal["features"] | None = "features"
    patience: int = 0
    examiner: str | None = None
    examine_every: int = 0

    def __post_init__(self) -> None:
        if min(self.count, self.seeds) < 1 or min(self.every, self.patience) < 0:
            raise RequestError(
                "validation: expected count and seeds of 1 or more, every and patience of 0 or more"
            )


class Examination:
    """What eyes say of pictures, for the log alone."""

    def __init__(self, eyes: PeopleEyes) -> None:
        self._sight, self._present = Sight(eyes), eyes.present

    @torch.no_grad()
    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> dict[str, Tensor]:
        """(B,) means over subjects: presence, strict similarity, strict confusion; NaN: nobody."""
        rows = []
        for seen in self._sight.see(pictures, asked):
            if seen is None or seen.blind or not seen.subjects:
                rows.append([torch.nan] * 3)
                continue
            there = torch.from_numpy(presence(seen.similarity, self._present).found).double()
            kept = strict_id_similarity(seen.similarity).cpu() * there
            told = strict_id_confusion(seen.similarity, self._present).cpu() * there
            rows.append([float(item.mean()) for item in (there, kept, told)])
        self._sight.forget()
        columns = torch.tensor(rows).T if rows else torch.zeros(3, 0)
        names = ("examiner_presence", "examiner_similarity", "examiner_confusion")
        return dict(zip(names, columns, strict=True))


class Validation:
    """The same examples with the same noise, drawn whenever asked for.

    Args:
        recipe: how many.
        examples: of identities that are not trained on.
        reward: what is trained for; None: nothing is.
        measure: the third measure.
        examination: for the log.
    """

    def __init__(
        self,
        recipe: ValidationRecipe,
        examples: Sequence[Example],
        reward: Reward | None,
        measure: Measure | None,
        examination: Examination | None,
    ) -> None:
        self.recipe, self.reward = recipe, reward
        self.measure, self.examination = measure, examination
        self._examples = list(examples)
        self._asked = [asked_of(example) for example in examples]

    def look(self, session: Session) -> dict[str, float | None]:
        """Draw and score them: means by name, ``validation.`` before each."""
        started = time.monotonic()
        told: dict[str, list[Tensor]] = {}
        for places, pictures in self.drawn(session.backbone, session.recipe.seed, session.guides):
            for name, numbers in self.scores(places, pictures).items():
                told.setdefault(name, []).append(numbers.cpu())
        row = {f"validation.{name}": _mean(torch.cat(held)) for name, held in told.items()}
        return {**row, "validation.seconds": round(time.monotonic() - started, 1)}

    def drawn(
        self, backbone: Backbone, seed: int, guides: Callable[[Sequence[Example]], Guides]
    ) -> Iterator[tuple[list[int], Tensor]]:
        """Places of a few examples and (B, 3, H, W) of them, until all are drawn with all seeds.

        Args:
            backbone: the model as it stands.
            seed: of the run.
            guides: what pictures of examples of one shape are drawn towards.
        """
        for again in range(self.recipe.seeds):
            for places in _batches(self._examples):
                examples = [self._examples[place] for place in places]
                seeds = [[seed, place, again, _NOISE] for place in places]
                yield places, self._draw(backbone, examples, seeds, guides(examples))

    def scores(self, places: Sequence[int], pictures: Tensor) -> Mapping[str, Tensor]:
        """(B,) of each of the reward, its parts, the third measure, the examiner; by name."""
        asked = [self._asked[place] for place in places]
        scores: dict[str, Tensor] = {}
        if self.reward is not None:
            with torch.no_grad():
                told = self.reward(pictures, asked)
            scores |= {"reward": masked(told), **told.parts}
        if self.measure is not None:
            scores[self.measure.name] = self.measure(pictures, asked)
        if self.examination is not None:
            scores |= self.examination(pictures, asked)
        return scores

    @torch.no_grad()
    def _draw(
        self,
        backbone: Backbone,
        examples: Sequence[Example],
        seeds: Sequence[Sequence[int]],
        guides: Guides,
    ) -> Tensor:
        """(B, 3, H, W) of examples of one shape."""
        height, width = examples[0].image.shape[:2]
        steps = self.recipe.steps or backbone.limits.steps
        times = backbone.times(steps, width, height)
        shape = (1, *backbone.latent_shape(width, height))
        noise = torch.cat([rollout_noise(each, torch.zeros(shape)) for each in seeds])
        stops = torch.full((len(examples),), steps)
        x = roll_out(backbone, noise.to(backbone.device), times, stops, guides)
        return backbone.decode(x).float().clamp(0, 1)


def _batches(examples: Sequence[Example]) -> list[list[int]]:
    """Places of examples of one shape, a few at a time."""
    by_shape: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        by_shape.setdefault(bucket_name(example), []).append(place)
    return [
        held[start : start + _BATCH]
        for held in by_shape.values()
        for start in range(0, len(held), _BATCH)
    ]


def _mean(numbers: Tensor) -> float | None:
    """Over what was measured."""
    held = numbers[torch.isfinite(numbers)].double()
    return round(float(held.mean()), 6) if len(held) else None
