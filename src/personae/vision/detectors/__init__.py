"""Detectors of animals and things: guided by references, or by words (open vocabulary)."""

from personae.vision.detectors.finds import GuidedConfig
from personae.vision.detectors.florence import Florence2
from personae.vision.detectors.guided import GuidedDetector
from personae.vision.detectors.open_vocabulary import GroundingDino, Owlv2
from personae.vision.detectors.thing_eyes import ThingEyes

__all__ = [
    "Florence2",
    "GroundingDino",
    "GuidedConfig",
    "GuidedDetector",
    "Owlv2",
    "ThingEyes",
]
