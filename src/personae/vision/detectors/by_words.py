"""Detectors that take words, by the names that flags and recipes give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from personae.vision.detectors.florence import FLORENCE2, Florence2
from personae.vision.detectors.open_vocabulary import GROUNDING_DINO, OWLV2, GroundingDino, Owlv2
from personae.vision.protocols import ThingDetector

__all__ = ["WORD_DETECTORS", "word_detector"]

WORD_DETECTORS: Mapping[str, str] = {
    "owlv2": OWLV2,
    "grounding-dino": GROUNDING_DINO,
    "florence-2": FLORENCE2,
}
"""Where each one's published weights are, if no path is told."""
_CLASSES: dict[str, Callable[..., ThingDetector]] = {
    "owlv2": Owlv2,
    "grounding-dino": GroundingDino,
    "florence-2": Florence2,
}


def word_detector(name: str, source: str | None, **settings: Any) -> ThingDetector:
    """One of `WORD_DETECTORS`, from a folder or hub id, or as it was published.

    Raises:
        WeightsError: weights that are not there.
    """
    return _CLASSES[name](source or WORD_DETECTORS[name], **settings)
