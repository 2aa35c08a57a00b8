"""The traits that toon embedders are made of: what there is to see about a toon."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from personae.toons.identity import TRAITS

__all__ = ["TRAIT_CHOICES", "TRAIT_SIZES"]


def _choices() -> dict[str, tuple[str, ...]]:
    seen: dict[str, set[str]] = {"sort": set(TRAITS)}
    for traits in TRAITS.values():
        for name, choices in traits.items():
            seen.setdefault(name, set()).update(choices)
    return {name: tuple(sorted(choices)) for name, choices in seen.items()}


TRAIT_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(_choices())
"""Every trait of any sort of toon, and its choices in the order of their codes."""

TRAIT_SIZES: tuple[int, ...] = tuple(len(choices) + 1 for choices in TRAIT_CHOICES.values())
"""How many answers there are to each trait: its choices, and that it cannot be seen."""
