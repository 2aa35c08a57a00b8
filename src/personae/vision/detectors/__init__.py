"""Detectors of animals and things: guided by references, or by words (open vocabulary)."""

from personae.vision.detectors.by_words import WORD_DETECTORS, word_detector
from personae.vision.detectors.finds import GuidedConfig
from personae.vision.detectors.florence import Florence2
from personae.vision.detectors.guided import GuidedDetector
from personae.vision.detectors.open_vocabulary import GroundingDino, Owlv2
from personae.vision.detectors.thing_eyes import ThingEyes

__all__ = [
    "WORD_DETECTORS",
    "Florence2",
    "GroundingDino",
    "GuidedConfig",
    "GuidedDetector",
    "Owlv2",
    "ThingEyes",
    "word_detector",
]
