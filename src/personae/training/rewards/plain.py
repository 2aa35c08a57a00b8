"""A reward as the simplest callable: pictures and references in, numbers or reasons out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.errors import DataError, RequestError
from personae.subjects.subject import Reference
from personae.training.rewards.asked import Asked, Reward, Rewards
from personae.training.rewards.photos import Photo, Picture, to_pixels, to_reference

__all__ = ["Answers", "PlainReward", "gather_references", "score_pictures"]

Photos = Sequence[Photo] | Photo
Nouns = Mapping[str, str]


@dataclass(frozen=True)
class Answers:
    """What a reward says of each picture, in Python's own numbers.

    Attributes:
        values: None where the picture could not be measured.
        reasons: why it could not; None where it could.
        parts: further numbers by name; None where there is none.
    """

    values: tuple[float | None, ...]
    reasons: tuple[str | None, ...]
    parts: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[float | None, str | None]]:
        """Value and reason of each picture: one of the two is None."""
        return iter(zip(self.values, self.reasons, strict=True))


class PlainReward:
    """A reward for programs that know nothing of this package.

    Args:
        reward: any `Reward`.
        device: where its pictures go.

    Example::

        score = PlainReward(make_reward(RewardsRecipe(), torch.device("cpu")))
        score([picture], [{"ada": [photo], "ben": [photo, other]}])  # [(0.41, None)]
    """

    def __init__(self, reward: Reward, device: torch.device | str = "cpu") -> None:
        self.reward = reward
        self.device = torch.device(device)

    def __call__(
        self,
        pictures: Sequence[Picture] | Tensor,
        references: Sequence[Mapping[str, Photos]],
        nouns: Sequence[Nouns] | Nouns | None = None,
    ) -> list[tuple[float | None, str | None]]:
        """A number, or why there is none, for each picture.

        Args:
            pictures: of any sizes; see `Picture`. A tensor is (B, 3, H, W).
            references: for each picture, the photos of each subject that it is to hold.
            nouns: subjects' classes in words, for each picture or for all of them.

        Raises:
            RequestError: not as many references as pictures.
            DataError: an array that is neither a picture nor a photo.
        """
        each = _nouns_of_each(nouns, len(references))
        if not len(pictures) == len(references) == len(each):
            raise RequestError(
                f"{len(pictures)} pictures, {len(references)} references, {len(each)} nouns: "
                "expected one mapping of references (and of nouns) for each picture"
            )
        asked = [
            _asked(held, words, f"picture {place}")
            for place, (held, words) in enumerate(zip(references, each, strict=True))
        ]
        pixels = [to_pixels(one, f"picture {place}") for place, one in enumerate(pictures)]
        return list(score_pictures(self.reward, pixels, asked, self.device))


def gather_references(
    references: Mapping[str, Photos], where: str
) -> dict[str, tuple[Reference, ...]]:
    """Photos by subject as references; a single photo counts as a list of one."""
    return {
        name: tuple(
            to_reference(photo, f"{where}, reference {place} of {name!r}")
            for place, photo in enumerate(
                [held] if isinstance(held, np.ndarray | Image.Image | Reference) else held
            )
        )
        for name, held in references.items()
    }


def score_pictures(
    reward: Reward, pictures: Sequence[Tensor], asked: Sequence[Asked], device: torch.device
) -> Answers:
    """Ask a reward about pictures (3, H, W) of any sizes; those of one size go together.

    A picture with pixels that are no numbers is unmeasured, as is one whose value is none.
    """
    values: list[float | None] = [None] * len(pictures)
    reasons: list[str | None] = [None] * len(pictures)
    parts: dict[str, list[float | None]] = {}
    for places in _alike(pictures, reasons):
        batch = torch.stack([_floats(pictures[place], device) for place in places])
        with torch.no_grad():
            said = reward(batch, [asked[place] for place in places])
        _check(said, len(places), reward.name)
        for place, value, reason in zip(places, said.values.tolist(), said.reasons, strict=True):
            values[place], reasons[place] = _settled(value, reason)
        for name, numbers in said.parts.items():
            held = parts.setdefault(name, [None] * len(pictures))
            for place, number in zip(places, numbers.tolist(), strict=True):
                held[place] = number if math.isfinite(number) else None
    return Answers(
        tuple(values), tuple(reasons), {name: tuple(held) for name, held in parts.items()}
    )


def _nouns_of_each(nouns: Sequence[Nouns] | Nouns | None, count: int) -> Sequence[Nouns]:
    if nouns is None:
        return [{}] * count
    return [nouns] * count if isinstance(nouns, Mapping) else nouns


def _asked(references: Mapping[str, Photos], nouns: Nouns, where: str) -> Asked:
    held = gather_references(references, where)
    return Asked(held, nouns={name: word for name, word in nouns.items() if name in held})


def _alike(pictures: Sequence[Tensor], reasons: list[str | None]) -> list[list[int]]:
    """Places of pictures of one size; one that cannot be looked at gets its reason instead."""
    sizes: dict[torch.Size, list[int]] = {}
    for place, picture in enumerate(pictures):
        if picture.is_floating_point() and not bool(torch.isfinite(picture).all()):
            reasons[place] = "the picture has pixels that are no finite numbers"
        else:
            sizes.setdefault(picture.shape, []).append(place)
    return list(sizes.values())


def _floats(picture: Tensor, device: torch.device) -> Tensor:
    moved = picture.to(device)
    return moved.float() if picture.is_floating_point() else moved.float() / 255


def _check(said: Rewards, expected: int, name: str) -> None:
    if len(said) != expected:
        raise DataError(f"reward {name!r}: {len(said)} values for {expected} pictures")


def _settled(value: float, reason: str | None) -> tuple[float | None, str | None]:
    """A number without a reason, or a reason without a number."""
    if reason is None and not math.isfinite(value):
        return None, f"the reward's value is {value}"
    return (value, None) if reason is None else (None, reason)
