"""What a picture was asked to hold, what a reward says of it, and what a reward is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from personae.errors import DataError
from personae.subjects.scene import Relation
from personae.subjects.subject import Kind, Reference

__all__ = ["Asked", "Reward", "Rewards"]


@dataclass(frozen=True, eq=False)
class Asked:
    """What one picture was to hold.

    Attributes:
        subjects: by id, one or more references each; at least one subject.
        nouns: a subject's class, for detectors that go by words; the id where none is given.
        kinds: a subject's kind; a person where none is given.
        prompt: the words that the picture was drawn from.
        relation: how one subject is to lie to another.
    """

    subjects: Mapping[str, tuple[Reference, ...]]
    nouns: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    prompt: str = ""
    relation: Relation | None = None

    def __post_init__(self) -> None:
        if not self.subjects or not all(self.subjects.values()):
            raise DataError(
                "asked: expected at least one subject, each with at least one reference; got "
                f"{ {name: len(held) for name, held in self.subjects.items()} }"
            )
        named = {*self.nouns, *self.kinds}
        if self.relation is not None:
            named |= {self.relation.first, self.relation.second}
        if named - set(self.subjects):
            raise DataError(
                f"asked: {sorted(named - set(self.subjects))} are no subjects; "
                f"they are {list(self.subjects)}"
            )

    def noun(self, name: str) -> str:
        """A subject's class in words."""
        return self.nouns.get(name, name)

    def of_kind(self, *kinds: Kind) -> dict[str, tuple[Reference, ...]]:
        """The subjects of these kinds, in order."""
        return {
            name: held
            for name, held in self.subjects.items()
            if self.kinds.get(name, "person") in kinds
        }


@dataclass(frozen=True, eq=False)
class Rewards:
    """What a reward says of B pictures.

    Attributes:
        values: (B,) float32; 0, and without a gradient, where it could not be measured.
        reasons: why a picture could not be measured; None where it was.
        parts: (B,) further numbers for the log, by name; NaN where there is none.
    """

    values: Tensor
    reasons: tuple[str | None, ...]
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.reasons),):
            raise DataError(
                f"rewards {tuple(self.values.shape)} with {len(self.reasons)} reasons: "
                "expected a value and a reason (or None) for each picture"
            )

    @classmethod
    def of(
        cls, values: Sequence[Tensor | str], device: torch.device, **parts: Sequence[float]
    ) -> Rewards:
        """From a number a picture, or the reason why there is none."""
        numbers = [
            torch.zeros((), device=device)
            if isinstance(value, str)
            else value.to(device, torch.float32)
            for value in values
        ]
        return cls(
            torch.stack(numbers) if numbers else torch.zeros(0, device=device),
            tuple(value if isinstance(value, str) else None for value in values),
            {name: torch.tensor(list(held)) for name, held in parts.items()},
        )

    def __len__(self) -> int:
        return len(self.reasons)

    @property
    def measured(self) -> Tensor:
        """(B,) bool on the values' device."""
        return torch.tensor(
            [reason is None for reason in self.reasons],
            dtype=torch.bool,
            device=self.values.device,
        )

    @property
    def mean(self) -> float | None:
        """Over the pictures that were measured; None where none was."""
        measured = self.measured
        return float(self.values.detach()[measured].mean()) if bool(measured.any()) else None

    def detach(self) -> Rewards:
        """The same without a gradient."""
        return replace(self, values=self.values.detach())


class Reward(Protocol):
    """How good pictures are; higher is better.

    A plain callable: it needs nothing else of this package, and may be any function of this form
    with these two attributes.

    Attributes:
        name: in recipes and logs.
        differentiable: do gradients reach the pixels?
    """

    name: str
    differentiable: bool

    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> Rewards:
        """(B, 3, H, W) in [0, 1] (values beyond are allowed, and clipped for looking).

        An absent subject is a finding, and counts; what could not be looked at has a reason and
        no number.
        """
        ...
