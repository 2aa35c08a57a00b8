"""Segmenters: a subject's mask, from a box or a rough map of where it is."""

from personae.vision.segmenters.grabcut import GrabCut, GrabCutConfig
from personae.vision.segmenters.sam2 import Sam2
from personae.vision.segmenters.together import TogetherConfig, segmented_together

__all__ = ["GrabCut", "GrabCutConfig", "Sam2", "TogetherConfig", "segmented_together"]
